//! The rules of the house that no compiler checks: who may import whom, that every file says what it
//! promises, and where the clock, the file system, trust in local files and `unsafe` may appear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Which of our crates each crate may depend on. Imports run one way.
const IMPORTS: [(&str, &[&str]); 10] = [
    ("dunlin-abi", &[]),
    ("dunlin-blocks", &[]),
    ("dunlin-guest", &["dunlin-abi"]),
    ("dunlin-core", &["dunlin-abi"]),
    ("dunlin-compiler", &["dunlin-abi", "dunlin-core"]),
    ("dunlin-sandbox", &["dunlin-abi", "dunlin-core"]),
    ("dunlin-mqtt", &["dunlin-core"]),
    ("dunlin-agent", &["dunlin-abi", "dunlin-core", "dunlin-mqtt", "dunlin-sandbox"]),
    ("dunlin-fleet", &["dunlin-abi", "dunlin-core", "dunlin-mqtt", "dunlin-sandbox"]),
    (
        "dunlin",
        &[
            "dunlin-abi",
            "dunlin-agent",
            "dunlin-compiler",
            "dunlin-core",
            "dunlin-fleet",
            "dunlin-mqtt",
            "dunlin-sandbox",
        ],
    ),
];

/// Libraries that only these crates may name.
const HOMES: [(&str, &[&str]); 6] = [
    ("rumqttc", &["dunlin-mqtt"]),
    ("mqtt5", &["dunlin"]),
    ("wasmtime", &["dunlin-sandbox"]),
    ("wasm-encoder", &["dunlin-compiler", "dunlin-sandbox"]),
    ("ed25519-dalek", &["dunlin-core"]),
    ("axum", &["dunlin-agent"]),
];

#[test]
fn imports_run_one_way() {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.into_iter().collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let ours = allowed.get(name).unwrap_or_else(|| panic!("{name} has no place in the import order"));
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if dependency.name.starts_with("dunlin") {
                assert!(
                    ours.contains(&dependency.name.as_str()),
                    "{name} must not import {}",
                    dependency.name
                );
            }
            if let Some((library, homes)) = HOMES.iter().find(|(library, _)| *library == dependency.name) {
                assert!(homes.contains(&name), "{name} imports {library}, only {homes:?} may");
            }
        }
    }
    assert_eq!(metadata.packages.len(), IMPORTS.len(), "a crate of the import order is gone");
}

#[test]
fn every_file_opens_with_its_promise() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "{} must open with a `//!` line that says what it promises",
            path.display()
        );
    }
}

/// A word, and the files that may hold it. A path that ends in `/` stands for what is below it.
fn only_in(word: &str, homes: &[&str]) {
    let mut found = false;
    for (path, text) in sources() {
        let name = path.to_string_lossy();
        let in_tests = name.contains("/tests/") || name.ends_with("tests.rs") || name.starts_with("tests/");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        if in_tests || !lines.into_iter().any(|line| line.contains(word)) {
            continue;
        }
        let home =
            homes.iter().any(|home| if home.ends_with('/') { name.starts_with(home) } else { name == *home });
        assert!(home, "{name} must not hold `{word}`; it belongs in {homes:?}");
        found = true;
    }
    assert!(found || homes.is_empty(), "`{word}` is nowhere any more: shorten its list");
}

#[test]
fn the_clock_is_read_in_shells_only() {
    only_in(
        "Instant::now",
        &[
            "examples/embedded-host/src/",
            "runtime/agent/src/",
            "runtime/cli/src/",
            "runtime/compiler/examples/",
            "runtime/agent/examples/",
            "runtime/core/examples/",
            "runtime/fleet/src/doctor.rs",
            "runtime/mqtt/src/",
            "runtime/sandbox/",
        ],
    );
    only_in("SystemTime::now", &["runtime/agent/src/", "runtime/cli/src/", "runtime/mqtt/src/tls.rs"]);
}

#[test]
fn files_are_touched_in_shells_only() {
    for word in ["std::fs", "File::open"] {
        only_in(
            word,
            &[
                "examples/embedded-host/src/",
                "runtime/agent/examples/",
                "runtime/agent/src/",
                "runtime/cli/src/",
                "runtime/compiler/examples/",
                "runtime/fleet/src/",
                // Maps a file that it is handed.
                "runtime/sandbox/src/native.rs",
            ],
        );
    }
}

#[test]
fn the_terminal_is_written_to_in_one_place() {
    // What is printed goes through the escaping of `terminal`; the agent has a program of its own, and examples are for
    // developers.
    let printing = [
        "runtime/agent/src/command.rs",
        "runtime/cli/src/terminal.rs",
        "runtime/compiler/examples/conformance.rs",
    ];
    only_in("io::stdout()", &printing);
    let cli = ["runtime/agent/src/command.rs", "runtime/cli/src/main.rs", "runtime/cli/src/terminal.rs"];
    only_in("io::stderr()", &cli);
}

#[test]
fn sockets_are_opened_in_shells_only() {
    only_in("TcpListener", &["runtime/agent/examples/", "runtime/agent/src/", "runtime/cli/src/"]);
    only_in("TcpStream", &["runtime/agent/src/", "runtime/mqtt/src/"]);
}

#[test]
fn local_files_are_trusted_by_the_operator_only() {
    only_in(
        "trust_local",
        &[
            "examples/embedded-host/src/",
            "runtime/core/src/artifact.rs",
            "runtime/cli/src/",
            "runtime/fleet/src/run.rs",
            "runtime/sandbox/examples/",
        ],
    );
}

/// Row 26 of SECURITY.md: what comes over the network is never unpacked, because nothing on a device can.
#[test]
fn no_decoder_is_linked_into_the_agent() {
    // Of this platform only: the build has fetched these crates, and cargo would have to fetch those of others.
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked", "--filter-platform", "host-tuple"].map(String::from).to_vec())
        .exec()
        .unwrap();
    let resolve = metadata.resolve.unwrap();
    let name = |id: &cargo_metadata::PackageId| {
        metadata.packages.iter().find(|p| p.id == *id).unwrap().name.to_string()
    };
    let mut waiting: Vec<_> = resolve
        .nodes
        .iter()
        .filter(|node| name(&node.id) == "dunlin-agent")
        .map(|node| node.id.clone())
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(name(&id)) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == id).unwrap();
        let normal = node.deps.iter().filter(|dependency| {
            dependency.dep_kinds.iter().any(|kind| kind.kind == cargo_metadata::DependencyKind::Normal)
        });
        waiting.extend(normal.map(|dependency| dependency.pkg.clone()));
    }
    assert!(seen.contains("wasmtime") && seen.contains("rustls"), "{seen:?}");
    let decoders = [
        "flate2",
        "miniz_oxide",
        "zstd",
        "zstd-safe",
        "brotli",
        "lz4",
        "lz4_flex",
        "xz2",
        "bzip2",
        "snap",
        "zip",
        "tar",
    ];
    let found: Vec<_> = decoders.iter().filter(|decoder| seen.contains(**decoder)).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// The debug information of a module is read on a developer's machine, and never on a device.
#[test]
fn debug_information_is_read_in_one_place() {
    only_in("addr2line::", &["runtime/cli/src/trap.rs"]);
    let manifests = ["core", "sandbox", "mqtt", "agent", "fleet", "compiler"];
    for name in manifests {
        let manifest = std::fs::read_to_string(root().join("runtime").join(name).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("addr2line") && !manifest.contains("gimli"), "{name}");
    }
}

#[test]
fn unsafe_code_has_few_homes() {
    only_in(
        "allow(unsafe_code)",
        &[
            "guest-sdk/src/",
            "runtime/agent/src/data/load.rs",
            "runtime/agent/src/worker/inherited.rs",
            "runtime/sandbox/src/native.rs",
        ],
    );
}

/// SECURITY.md names tests in back quotes, with the threat's row: a name that no source has proves nothing.
#[test]
fn every_threat_has_its_row_and_every_test_that_it_names_exists() {
    let page = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows: Vec<(usize, &str)> = page
        .lines()
        .filter_map(|line| Some((line.strip_prefix("| ")?.split(' ').next()?.parse().ok()?, line)))
        .collect();
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=74).collect::<Vec<_>>(), "one row a threat, in order");
    let code: String = sources().into_iter().map(|(_, text)| text).collect();
    let mut named = 0;
    for (number, row) in rows {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(!proof.trim().is_empty(), "row {number} says neither test nor why not");
        for test in proof.split('`').skip(1).step_by(2) {
            assert!(code.contains(&format!("fn {test}(")), "row {number}: no test is called {test}");
            named += 1;
        }
    }
    assert!(named > 74, "only {named} tests are named");
}

#[test]
fn the_table_of_error_codes_is_true() {
    let path = root().join("docs/errors.md");
    let expected = dunlin_core::code::to_markdown();
    if std::env::var_os("DUNLIN_UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let actual = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == expected, "docs/errors.md is stale: DUNLIN_UPDATE=1 cargo test -p dunlin --test tidy");
}

/// Every Rust file of ours, by its path from the root, with its text. Generated code is left out.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for folder in ["runtime", "guest-sdk", "tests", "examples"] {
        collect(&root().join(folder), &mut files);
    }
    assert!(files.len() > 50, "the sources were not found");
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push((path.strip_prefix(root()).unwrap().to_path_buf(), text));
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
