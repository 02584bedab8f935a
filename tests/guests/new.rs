//! `dunlin new`: every project builds, passes its tests, runs and is released by the very commands of its README.

use std::path::Path;
use std::process::{Command, Output};

use dunlin_sandbox::inspect;

use crate::rust::has_a_small_stack_that_lies_first;
use crate::toolchain::{Toolchain, has_clang, has_wasm_target};

fn dunlin(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dunlin")).current_dir(folder).args(arguments).output().unwrap()
}

/// Makes a project, runs the README's blocks of `sh` one after the other, and checks what they leave.
fn follow_the_readme(language: &str, template: &str, options: &[&str], change: impl Fn(&Path)) {
    let parent = tempfile::tempdir().unwrap();
    let name = format!("press-{template}");
    let new = ["new", &name, "--lang", language, "--template", template];
    let made = dunlin(parent.path(), &[&new, options].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let project = parent.path().join(&name);
    if language == "rust" && !has_wasm_target(&project, Toolchain::OfTheFolder) {
        return;
    }
    change(&project);
    let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 3, "the README has {} blocks", blocks.len());
    let programs = Path::new(env!("CARGO_BIN_EXE_dunlin")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    for block in blocks {
        let output = Toolchain::OfTheFolder
            .choose(&mut Command::new("sh"))
            .current_dir(&project)
            .args(["-euc", block])
            .env("PATH", &path)
            // Nothing is fetched, and the folders are those that the README names.
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{language} {template}:\n{block}\n{out}\n{err}");
        let mut warnings =
            err.lines().filter(|line| line.contains("warning") && !line.contains("fleet/keys"));
        assert_eq!(warnings.next(), None, "{language} {template}:\n{block}\n{err}");
    }
    let module = match language {
        "rust" => format!("target/wasm32-unknown-unknown/release/press_{template}.wasm"),
        _ => "model.wasm".to_string(),
    };
    let module = std::fs::read(project.join(module)).unwrap();
    let summary = inspect(&module).unwrap();
    assert!(module.len() < 20 * 1024, "{} bytes", module.len());
    assert_eq!((summary.imports.len(), summary.memory_min_bytes), (0, 1 << 16), "{language} {template}");
    has_a_small_stack_that_lies_first(&summary);
    assert!(project.join("fleet/releases").join(&name).is_dir(), "it is released");
    assert!(std::fs::read_dir(project.join("out")).unwrap().next().is_some(), "outputs are written");
}

#[test]
fn every_project_in_rust_works_by_its_readme() {
    for template in ["classifier", "anomaly", "filter"] {
        follow_the_readme("rust", template, &[], |_| {});
    }
}

/// Puts a line that uses the blocks at the end of the model.
fn use_blocks(project: &Path, file: &str, code: &str) {
    let path = project.join(file);
    let source = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{source}\n{code}\n")).unwrap();
}

#[test]
fn a_project_may_carry_the_blocks() {
    follow_the_readme("rust", "filter", &["--blocks"], |project| {
        let code = "/// For the test.\npub fn hann() -> [f32; 8] {\n    \
                    dunlin_blocks::window::hann(dunlin_blocks::window::Symmetry::Periodic)\n}";
        use_blocks(project, "src/lib.rs", code);
    });
    if has_clang() {
        follow_the_readme("c", "filter", &["--blocks"], |project| {
            use_blocks(
                project,
                "model.c",
                "#include \"dunlin_q15.h\"\nconst int16_t half = DUNLIN_Q15(0.5);",
            );
        });
    }
}

#[test]
fn every_project_in_c_works_by_its_readme() {
    if has_clang() {
        for template in ["classifier", "anomaly", "filter"] {
            follow_the_readme("c", template, &[], |_| {});
        }
    }
}

#[test]
fn a_folder_that_is_not_empty_and_a_bad_name_are_refused_and_nothing_is_written() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(parent.path().join("full/sub")).unwrap();
    std::fs::create_dir_all(parent.path().join("empty")).unwrap();
    let refused = |arguments: &[&str], code: &str| {
        let all = [&["new"], arguments, &["--lang", "c", "--template", "filter"]].concat();
        let output = dunlin(parent.path(), &all);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(&format!("error[{code}]")), "{message}");
    };
    refused(&["full"], "output-exists");
    for name in ["Model", "7up", "a_b", "-x", "a b", "../x", "fn", "dunlin-guest", "", "é"] {
        refused(&["fresh", &format!("--name={name}")], "name-invalid");
    }
    refused(&["Press"], "name-invalid");
    refused(&["..", "--name=x"], "output-exists");
    assert!(!parent.path().join("fresh").exists() && !parent.path().join("Press").exists());
    let made =
        dunlin(parent.path(), &["new", "empty", "--lang=c", "--template=filter", "--name=x", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(said["files"].as_array().unwrap().contains(&"vendor/dunlin.h".into()), "{said}");
    for odd in [["--lang", "java"], ["--template", "poem"]] {
        let all = [&["new", "odd", "--lang=c", "--template=filter"][..2], &odd].concat();
        assert_eq!(dunlin(parent.path(), &all).status.code(), Some(2));
    }
}
