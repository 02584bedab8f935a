//! Numbers in the guides for guests are those of the toolchain.

use dunlin_sandbox::{ShadowStack, inspect};

use crate::mistakes::{FLAGS, MODEL, built};
use crate::toolchain::{build_guest, root};

fn says(file: &str, text: &str) {
    let page = std::fs::read_to_string(root().join(file)).unwrap();
    // Lines are wrapped, and comments begin with a star.
    let words: Vec<&str> = page.split_whitespace().filter(|word| *word != "*").collect();
    assert!(words.join(" ").contains(text), "{file} does not say {text:?}");
}

fn stack(module: &[u8]) -> ShadowStack {
    inspect(module).unwrap().shadow_stack.unwrap()
}

#[test]
fn the_stack_that_clang_gives_by_itself() {
    let flags = FLAGS.replace("-Wl,--stack-first", "").replace("-Wl,-z,stack-size=16384", "");
    // Room for the card's 16 KiB is there all the same.
    let Some(folder) = built(MODEL, &flags) else { return };
    let behind = stack(&std::fs::read(folder.path().join("model.wasm")).unwrap());
    let first = built(MODEL, &format!("{flags} -Wl,--stack-first")).unwrap();
    let first = stack(&std::fs::read(first.path().join("model.wasm")).unwrap());
    assert_eq!((first.top, first.lies_first), (64 * 1024, true));
    assert!(behind.top > first.top, "behind the data: {behind:?}");
    says("guest-sdk/c/dunlin.h", "the linker's default is 64 KiB");
    says("guest-sdk/README.md", "clang's is 64 KiB behind the data");
}

#[test]
fn the_stack_that_rustc_gives_by_itself() {
    let Some(modules) =
        build_guest("examples/threshold", &[], "guests-default-stack", Some("-Ctarget-feature=+simd128"))
    else {
        return;
    };
    let stack = stack(&std::fs::read(modules.join("threshold.wasm")).unwrap());
    assert_eq!((stack.top, stack.lies_first), (1 << 20, true));
    says("guest-sdk/README.md", "rustc's own default is 1 MiB, first in memory");
}

/// The sizes of modules that READMEs name, to the digits that they have.
#[test]
fn modules_are_as_large_as_their_guides_say() {
    for (folder, name, file, text) in [
        ("examples/threshold", "threshold", "examples/threshold/README.md", "about {} KB"),
        ("examples/vibration", "vibration", "examples/vibration/README.md", "# {} KB"),
    ] {
        let Some(modules) = build_guest(folder, &[], "guests", None) else { return };
        let bytes = std::fs::metadata(modules.join(format!("{name}.wasm"))).unwrap().len();
        says(file, &text.replace("{}", &format!("{:.0}", bytes as f64 / 1000.0)));
    }
}
