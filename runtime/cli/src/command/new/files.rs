//! The files of a new project, from `guest-sdk/templates` and the SDK's own sources.

use super::{Language, Template};

/// A path in the project, and what is there.
type File = (String, Vec<u8>);

/// Sources of a crate below `guest-sdk`, by their path in its `src`: a test holds each list to the folder.
macro_rules! sources {
    ($name:ident, $folder:literal, $($path:literal),+ $(,)?) => {
        const $name: &[(&str, &str)] =
            &[$(($path, include_str!(concat!("../../../../../guest-sdk/", $folder, $path)))),+];
    };
}
sources!(
    SDK,
    "src/",
    "card.rs",
    "failure.rs",
    "host.rs",
    "json.rs",
    "lib.rs",
    "memory.rs",
    "message.rs",
    "model.rs",
    "panic.rs",
    "recording.rs",
    "rows.rs",
);
sources!(
    BLOCKS,
    "blocks/src/",
    "cluster.rs",
    "detect.rs",
    "fft.rs",
    "fft/bands.rs",
    "fft/tests.rs",
    "filter.rs",
    "filter/biquad.rs",
    "filter/fir.rs",
    "fixed.rs",
    "fixed/tests.rs",
    "lanes.rs",
    "lanes/portable.rs",
    "lanes/vector.rs",
    "lanes/wide.rs",
    "lanes/wide/portable.rs",
    "lanes/wide/vector.rs",
    "layer.rs",
    "lib.rs",
    "mel.rs",
    "scale.rs",
    "series.rs",
    "stats.rs",
    "stats/p2.rs",
    "stats/running.rs",
    "tree.rs",
    "window.rs",
);

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../../guest-sdk/templates/", $path))
    };
}

const LICENSE: &str = include_str!("../../../../../LICENSE");
const HEADER: &str = include_str!("../../../../../guest-sdk/c/dunlin.h");
const HEADER_Q15: &str = include_str!("../../../../../guest-sdk/c/dunlin_q15.h");

/// Every file of a project whose model has this name, with the signal blocks or without.
pub(super) fn project(language: Language, template: Template, name: &str, blocks: bool) -> Vec<File> {
    let own =
        |text: &str| text.replace("my-model", name).replace("my_model", &name.replace('-', "_")).into_bytes();
    let file = |path: &str, text: &str| (path.to_string(), own(text));
    let mut files = match language {
        Language::Rust => vec![
            file("Cargo.toml", template!("rust/Cargo.toml")),
            file(".cargo/config.toml", template!("rust/cargo-config.toml")),
            file("rust-toolchain.toml", template!("rust/rust-toolchain.toml")),
            file(".gitignore", template!("rust/gitignore")),
            file("README.md", template!("rust/README.md")),
            file(
                "src/lib.rs",
                match template {
                    Template::Classifier => template!("rust/classifier.rs"),
                    Template::Anomaly => template!("rust/anomaly.rs"),
                    Template::Filter => template!("rust/filter.rs"),
                },
            ),
        ],
        Language::C => {
            let (model, test) = match template {
                Template::Classifier => (template!("c/classifier.c"), template!("c/classifier_test.c")),
                Template::Anomaly => (template!("c/anomaly.c"), template!("c/anomaly_test.c")),
                Template::Filter => (template!("c/filter.c"), template!("c/filter_test.c")),
            };
            vec![
                file(".gitignore", template!("c/gitignore")),
                file("README.md", template!("c/README.md")),
                file("model.c", model),
                file("test.c", test),
            ]
        }
    };
    let golden: &[u8] = match template {
        Template::Classifier => include_bytes!("../../../../../guest-sdk/templates/golden/classifier.npz"),
        Template::Anomaly => include_bytes!("../../../../../guest-sdk/templates/golden/anomaly.npz"),
        Template::Filter => include_bytes!("../../../../../guest-sdk/templates/golden/filter.npz"),
    };
    files.push(("golden.npz".to_string(), golden.to_vec()));
    if blocks {
        add_blocks(language, &mut files);
    }
    files.extend(match language {
        Language::Rust => vendored_crate("dunlin-guest", template!("dunlin-guest.toml"), SDK),
        Language::C => vec![
            ("vendor/dunlin.h".to_string(), HEADER.as_bytes().to_vec()),
            ("vendor/LICENSE".to_string(), LICENSE.as_bytes().to_vec()),
        ],
    });
    files
}

/// The signal blocks: for Rust a crate, on which the project depends; for C a header.
fn add_blocks(language: Language, files: &mut Vec<File>) {
    match language {
        Language::Rust => {
            for (_, content) in files.iter_mut().filter(|(path, _)| path == "Cargo.toml") {
                let depends = "\n# Windows, spectra, filters, detectors and small layers.\n\
                               dunlin-blocks = { path = \"vendor/dunlin-blocks\" }\n\n[profile.release]";
                *content =
                    String::from_utf8_lossy(content).replace("\n[profile.release]", depends).into_bytes();
            }
            files.extend(vendored_crate("dunlin-blocks", template!("dunlin-blocks.toml"), BLOCKS));
        }
        Language::C => files.push(("vendor/dunlin_q15.h".to_string(), HEADER_Q15.as_bytes().to_vec())),
    }
}

/// A crate as a package of its own.
fn vendored_crate(name: &str, manifest: &str, sources: &[(&str, &str)]) -> Vec<File> {
    let manifest = manifest.replace("0.0.0", env!("CARGO_PKG_VERSION"));
    let file = |path: String, text: &str| (format!("vendor/{name}/{path}"), text.as_bytes().to_vec());
    let mut files = vec![file("Cargo.toml".into(), &manifest), file("LICENSE".into(), LICENSE)];
    files.extend(sources.iter().map(|(name, text)| file(format!("src/{name}"), text)));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_whole_sdk_is_carried() {
        for (folder, carried) in [("src", SDK), ("blocks/src", BLOCKS)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk").join(folder);
            let mut there = Vec::new();
            paths(&folder, "", &mut there);
            there.sort();
            assert_eq!(carried.iter().map(|(name, _)| *name).collect::<Vec<_>>(), there);
        }
    }

    /// The files below a folder, by their path in it.
    fn paths(folder: &Path, parent: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = format!("{parent}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => paths(&entry.path(), &format!("{path}/"), found),
                false => found.push(path),
            }
        }
    }

    #[test]
    fn blocks_ask_for_the_libm_of_this_repository() {
        let own = include_str!("../../../../../Cargo.toml");
        let version = own.lines().find(|line| line.starts_with("libm = ")).unwrap();
        assert!(template!("dunlin-blocks.toml").lines().any(|line| line == version), "{version}");
    }

    #[test]
    fn the_manifests_ask_for_the_compiler_that_the_sdk_needs() {
        let wanted = concat!("rust-version = \"", env!("CARGO_PKG_RUST_VERSION"), "\"");
        assert!(
            [template!("dunlin-guest.toml"), template!("dunlin-blocks.toml"), template!("rust/Cargo.toml")]
                .iter()
                .all(|manifest| manifest.contains(wanted))
        );
    }

    /// A project builds with the compiler that this repository is tested with, whose target the tests add.
    #[test]
    fn projects_name_the_compiler_of_this_repository() {
        let own = include_str!("../../../../../rust-toolchain.toml");
        let channel = own.lines().find(|line| line.starts_with("channel = ")).unwrap();
        assert!(template!("rust/rust-toolchain.toml").lines().any(|line| line == channel), "{channel}");
    }

    #[test]
    fn no_placeholder_is_left() {
        for language in [Language::Rust, Language::C] {
            for template in [Template::Classifier, Template::Anomaly, Template::Filter] {
                for (path, content) in project(language, template, "press-alarm", true) {
                    let text = String::from_utf8_lossy(&content);
                    assert!(!text.contains("my-model") && !text.contains("my_model"), "{path}");
                }
            }
        }
    }
}
