//! The files of a new project, from `guest-sdk/templates` and the SDK's own sources.

use super::{Language, Template};

/// A path in the project, and what is there.
type File = (String, Vec<u8>);

macro_rules! sdk {
    ($($name:literal),+ $(,)?) => {
        /// The sources of `dunlin-guest`: a test holds the list to the folder.
        const SDK: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../../../../guest-sdk/src/", $name)))),+];
    };
}
sdk!(
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

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../../guest-sdk/templates/", $path))
    };
}

const LICENSE: &str = include_str!("../../../../../LICENSE");
const HEADER: &str = include_str!("../../../../../guest-sdk/c/dunlin.h");

/// Every file of a project whose model has this name.
pub(super) fn project(language: Language, template: Template, name: &str) -> Vec<File> {
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
    files.extend(match language {
        Language::Rust => vendored_crate(),
        Language::C => vec![
            ("vendor/dunlin.h".to_string(), HEADER.as_bytes().to_vec()),
            ("vendor/LICENSE".to_string(), LICENSE.as_bytes().to_vec()),
        ],
    });
    files
}

/// `dunlin-guest` as a package of its own.
fn vendored_crate() -> Vec<File> {
    let manifest = template!("dunlin-guest.toml").replace("0.0.0", env!("CARGO_PKG_VERSION"));
    let file = |path: String, text: &str| (format!("vendor/dunlin-guest/{path}"), text.as_bytes().to_vec());
    let mut files = vec![file("Cargo.toml".into(), &manifest), file("LICENSE".into(), LICENSE)];
    files.extend(SDK.iter().map(|(name, text)| file(format!("src/{name}"), text)));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_whole_sdk_is_carried() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk/src");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        there.sort();
        assert_eq!(SDK.iter().map(|(name, _)| *name).collect::<Vec<_>>(), there);
    }

    #[test]
    fn the_manifests_ask_for_the_compiler_that_the_sdk_needs() {
        let wanted = concat!("rust-version = \"", env!("CARGO_PKG_RUST_VERSION"), "\"");
        assert!(
            template!("dunlin-guest.toml").contains(wanted) && template!("rust/Cargo.toml").contains(wanted)
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
                for (path, content) in project(language, template, "press-alarm") {
                    let text = String::from_utf8_lossy(&content);
                    assert!(!text.contains("my-model") && !text.contains("my_model"), "{path}");
                }
            }
        }
    }
}
