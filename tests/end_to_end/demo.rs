//! The quick start of the README, whole.

use crate::world::run;

#[test]
fn the_demo_shows_everything_and_leaves_nothing() {
    let output = run(&["demo"]);
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for expected in [
        "both devices serve 1.0.0",
        "accuracy on 360 held-out images: 97.5 % and 97.5 %",
        "refused: signature-threshold",
        "refused: chunk-digest",
        "refused: deployment-replayed",
        "beta serves 1.1.0 from its own disk",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing");
    }
    assert!(!text.contains("FAILED"));
}
