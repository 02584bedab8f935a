//! Toolchains that tests need beside the Rust that builds them. A WebAssembly target that is missing is added by
//! rustup; programs such as clang are not installed by a test.
//!
//! Where a toolchain is missing all the same, a test is skipped: it passes, and a line `NOT TESTED` on standard
//! error names the test, what is missing and what to run. With `DUNLIN_REQUIRE_TOOLCHAINS` set, as in CI, it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// The target of guests in Rust.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Set where a toolchain that is missing fails the tests that need it.
pub const REQUIRE_TOOLCHAINS: &str = "DUNLIN_REQUIRE_TOOLCHAINS";

/// The root of the repository; the tests belong to the package in `runtime/cli`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Which toolchain a test means where rustup chooses among several.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// The one that runs this test.
    OfThisTest,
    /// The one that the folder's own `rust-toolchain.toml` names.
    OfTheFolder,
}

impl Toolchain {
    /// Prepares a command to be run with this toolchain.
    pub fn choose(self, command: &mut Command) -> &mut Command {
        match self {
            Toolchain::OfThisTest => command,
            // `cargo test` sets it, and it overrules the file.
            Toolchain::OfTheFolder => command.env_remove("RUSTUP_TOOLCHAIN"),
        }
    }
}

/// Builds a guest in Rust, in a folder of the repository, as its README says: for [`WASM_TARGET`] and in release,
/// into `target/<output>`. `flags` replace those of the guest's own configuration. Returns the folder with the
/// modules, or nothing where the target is missing.
pub fn build_guest(folder: &str, arguments: &[&str], output: &str, flags: Option<&str>) -> Option<PathBuf> {
    let (folder, target) = (root().join(folder), root().join("target").join(output));
    if !has_wasm_target(&folder, Toolchain::OfThisTest) {
        return None;
    }
    // As a reader of the README runs it: not the `cargo` of this test, which leaves rustup out.
    let mut build = Command::new("cargo");
    build
        .current_dir(&folder)
        .args(["build", "--locked", "--release", "--target", WASM_TARGET, "--target-dir"])
        .arg(&target)
        .args(arguments)
        // Flags for the host would replace those of the guest's own configuration.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if let Some(flags) = flags {
        build.env("RUSTFLAGS", flags);
    }
    let built = build.output().expect("cargo is on the path");
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the guest in {} does not build:\n{errors}", folder.display());
    Some(target.join(WASM_TARGET).join("release"))
}

/// Whether the toolchain that is used in `folder` has [`WASM_TARGET`]; adds it where rustup can.
pub fn has_wasm_target(folder: &Path, toolchain: Toolchain) -> bool {
    available(REQUIRE_TOOLCHAINS, wasm_target(folder, toolchain))
}

/// The same, or why not. Asked once for each toolchain in a process.
fn wasm_target(folder: &Path, toolchain: Toolchain) -> Result<(), String> {
    /// What was found, by the folder of the target's libraries.
    static FOUND: Mutex<BTreeMap<PathBuf, Result<(), String>>> = Mutex::new(BTreeMap::new());

    let run = |program: &str, arguments: &[&str]| -> Result<Output, String> {
        let what = || format!("`{program} {}` in {}", arguments.join(" "), folder.display());
        let mut command = Command::new(program);
        // rustup's errors without stack traces, and on one line.
        command.current_dir(folder).args(arguments).env("RUST_BACKTRACE", "0");
        let output = toolchain.choose(&mut command).output();
        let output = output.map_err(|error| format!("{} does not run: {error}", what()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = || said.lines().filter(|line| !line.starts_with("info:")).collect::<Vec<_>>().join(" ");
        output
            .status
            .success()
            .then(|| output.clone())
            .ok_or_else(|| format!("{} failed: {}", what(), said()))
    };
    let add = ["target", "add", WASM_TARGET];
    let libraries = run("rustc", &["--print", "target-libdir", "--target", WASM_TARGET])?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&libraries.stdout).trim());
    // A test that fails while it holds this leaves nothing half done in it.
    let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let ask = || {
        // `lib/rustlib`: where rustup puts the target.
        let targets = libraries.ancestors().nth(2).unwrap();
        locked(targets, || {
            if !holds_core(&libraries) {
                let missing = |why| format!("the target {WASM_TARGET} is missing and cannot be added: {why}");
                run("rustup", &add).map_err(missing)?;
                assert!(holds_core(&libraries), "rustup added no library to {}", libraries.display());
            }
            Ok(())
        })
    };
    found.entry(libraries.clone()).or_insert_with(ask).clone()
}

/// Whether the libraries of a target are in this folder.
fn holds_core(libraries: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(libraries) else { return false };
    files.filter_map(Result::ok).any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

/// Does something while no other thread and no other process does the like in the same folder: what is installed
/// there is whole or absent for each of them.
pub fn locked<T>(folder: &Path, action: impl FnOnce() -> T) -> T {
    let lock = File::open(folder).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.unwrap_or_else(|error| panic!("cannot lock {}: {error}", folder.display()));
    action()
}

/// Whether clang and its linker are there, which build guests in C.
pub fn has_clang() -> bool {
    has("clang", "apt-get install clang lld") && has("wasm-ld", "apt-get install clang lld")
}

/// Whether a program is there; `remedy` is the command that installs it.
pub fn has(program: &str, remedy: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let missing = || format!("{program} is not installed; run `{remedy}`");
    available(REQUIRE_TOOLCHAINS, found.then_some(()).ok_or_else(missing))
}

/// Says what is not tested because something is missing, or fails where the variable demands it.
pub fn available(variable: &str, found: Result<(), String>) -> bool {
    /// Each line once.
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

    let Err(missing) = found else { return true };
    assert!(std::env::var_os(variable).is_none(), "{variable} is set, and {missing}");
    let thread = std::thread::current();
    let line = format!("NOT TESTED: {}: {missing}\n", thread.name().unwrap_or("a test"));
    if SAID.lock().unwrap().insert(line.clone()) {
        // Not `println!`, whose lines are shown for tests that fail and for no others.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    false
}
