//! How `dunlind` is linked where a panic ends the process (the profile `small`): without the tables by which a
//! stack is unwound, 0.7 MB that nobody reads then. A panic still says its message and its place; it lacks the
//! list of calls. A static binary also has its relocations packed; others would ask for a C library of 2022.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_PANIC", "abort") || !is("CARGO_CFG_TARGET_OS", "linux") {
        return;
    }
    // A linker that is called by itself takes its options bare.
    let bare = env::var("RUSTC_LINKER").is_ok_and(|linker| linker.ends_with("lld"));
    let option = |words: &[&str]| match bare {
        true => words.iter().for_each(|word| println!("cargo::rustc-link-arg-bins={word}")),
        false => println!("cargo::rustc-link-arg-bins=-Wl,{}", words.join(",")),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("link/no-unwind-tables.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    println!("cargo::rustc-link-arg-bins={}", script.display());
    option(&["--no-eh-frame-hdr"]);
    if is("CARGO_CFG_TARGET_ENV", "musl") {
        option(&["-z", "pack-relative-relocs"]);
    }
}
