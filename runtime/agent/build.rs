//! How `dunlind` is linked by the profile `small`, where a panic ends the process: without the tables by which a
//! stack is unwound, 0.7 MB that nobody reads then. A panic still says its message and its place; it lacks the
//! list of calls. A static binary also has its relocations packed; others would ask for a C library of 2022.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // A linker that is called by itself takes its options bare.
    let bare = env::var("RUSTC_LINKER").is_ok_and(|linker| linker.ends_with("lld"));
    // GNU's linker would keep the tables; Rust's own is called by itself, or where nothing else is said for this
    // target. 32-bit ARM has tables of another kind.
    let here = is("CARGO_CFG_TARGET_ARCH", "aarch64") || is("CARGO_CFG_TARGET_ARCH", "x86_64");
    if !is_small() || !here || !(bare || is("TARGET", "x86_64-unknown-linux-gnu")) {
        return;
    }
    let option = |words: &[&str]| match bare {
        true => words.iter().for_each(|word| println!("cargo::rustc-link-arg-bins={word}")),
        false => println!("cargo::rustc-link-arg-bins=-Wl,{}", words.join(",")),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("link/no-unwind-tables.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    option(&["-T", &script.display().to_string()]);
    option(&["--no-eh-frame-hdr"]);
    if is("CARGO_CFG_TARGET_ENV", "musl") {
        option(&["-z", "pack-relative-relocs"]);
    }
}

/// Cargo tells a build script neither the profile nor what a panic does; the folder that it gives is
/// `…/small/build/dunlin-agent-…/out`.
fn is_small() -> bool {
    let folder = env::var("OUT_DIR").unwrap_or_default();
    Path::new(&folder).ancestors().nth(3).is_some_and(|profile| profile.ends_with("small"))
}
