//! `guest-sdk/c/building.md`: its Makefile, its file for CMake and its commands of zig build a model that runs.

use std::path::Path;
use std::process::Command;

use dunlin_sandbox::inspect;

use crate::rust::has_a_small_stack_that_lies_first;
use crate::sandbox::start;
use crate::toolchain::{available, has_clang, root};

/// Set where a test fails without CMake, make and zig; nothing else needs them.
const REQUIRE_BUILD_TOOLS: &str = "DUNLIN_REQUIRE_BUILD_TOOLS";

/// Writes the block of the page in this language into a folder with a model, runs the commands, and tries what they
/// make.
fn builds(language: &str, file: &str, program: &str, version: &str, commands: &str) {
    let found = Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    let missing = || format!("{program} is not installed");
    if !has_clang() || !available(REQUIRE_BUILD_TOOLS, found.then_some(()).ok_or_else(missing)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sdk = |name: &str| root().join("guest-sdk").join(name);
    std::fs::create_dir(path("vendor")).unwrap();
    std::fs::copy(sdk("c/dunlin.h"), path("vendor/dunlin.h")).unwrap();
    std::fs::copy(sdk("templates/c/filter.c"), path("model.c")).unwrap();
    let page = std::fs::read_to_string(sdk("c/building.md")).unwrap();
    let (_, block) = page.split_once(&format!("```{language}\n")).unwrap();
    std::fs::write(path(file), block.split("```").next().unwrap()).unwrap();
    run(folder.path(), commands);
    let module =
        std::fs::read(path("model.wasm")).or_else(|_| std::fs::read(path("build/model.wasm"))).unwrap();
    has_a_small_stack_that_lies_first(&inspect(&module).unwrap());
    start(&module, &[]).instance.infer(1).unwrap();
}

fn run(folder: &Path, commands: &str) {
    let output = Command::new("sh").current_dir(folder).args(["-ec", commands]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{commands}:\n{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_makefile_builds_a_model() {
    builds("make", "Makefile", "make", "--version", "make");
}

#[test]
fn cmake_builds_a_model() {
    builds("cmake", "CMakeLists.txt", "cmake", "--version", "cmake -S . -B build && cmake --build build");
}

#[test]
fn zig_builds_a_model() {
    builds("sh", "build.sh", "zig", "version", "sh -e build.sh");
}
