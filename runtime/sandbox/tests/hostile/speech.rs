//! What a model says through the host's functions.

use std::time::Instant;

use dunlin_sandbox::{LogLine, Metric};

use crate::guest::Guest;

const IMPORTS: &str = r#"(import "dunlin" "log" (func $log (param i32 i32 i32)))
    (import "dunlin" "metric" (func $metric (param i32 i32 f64)))
    (import "dunlin" "clock" (func $clock (result i64)))
    (data (i32.const 8192) "a \1b[31mline\ff") (data (i32.const 8448) "queue-length")"#;

fn saying(infer: &str) -> Guest {
    Guest { imports: IMPORTS.into(), ..Guest::inferring(&format!("{infer} (i32.const 0)")) }
}

#[test]
fn lines_and_metrics_come_out_clean() {
    let guest = saying(
        "(call $log (i32.const 2) (i32.const 8192) (i32.const 12))
         (call $metric (i32.const 8448) (i32.const 12) (f64.const 2.5))
         (call $metric (i32.const 8192) (i32.const 12) (f64.const 1))
         (call $metric (i32.const 8448) (i32.const 12) (f64.const inf))",
    );
    let mut instance = guest.instance().unwrap();
    instance.infer(1).unwrap();
    let text = "a \\u{1b}[31mline\u{fffd}".to_string();
    assert_eq!(instance.take_logs().lines, [LogLine { level: 2, text }]);
    let metrics = instance.take_metrics();
    assert_eq!(metrics.values, [Metric { name: "queue-length".into(), value: 2.5 }]);
    assert_eq!(metrics.suppressed, 2);
    assert!(instance.take_logs().lines.is_empty());
}

#[test]
fn a_flood_of_lines_is_counted_and_not_kept() {
    let guest = saying(
        "(local $i i32)
         (loop $flood
            (call $log (i32.const 0) (i32.const 0) (i32.const 65536))
            (br_if $flood (i32.lt_u
                (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000))))",
    );
    let mut instance = guest.instance().unwrap();
    let start = Instant::now();
    instance.infer(1).unwrap();
    let logs = instance.take_logs();
    let most = 10 * (2 + usize::try_from(start.elapsed().as_secs()).unwrap());
    assert!((10..=most).contains(&logs.lines.len()), "{}", logs.lines.len());
    assert_eq!(logs.lines.len() as u64 + logs.suppressed, 20_000);
    assert!(logs.lines.iter().all(|line| line.text.len() <= 256 * 8));
}

#[test]
fn the_clock_is_the_hosts() {
    let guest =
        saying("(f32.store (i32.const 2048) (f32.convert_i64_s (i64.sub (call $clock) (i64.const 1000))))");
    let mut instance = guest.instance().unwrap();
    for (now_ms, seen) in [(1000, 0f32), (1005, 5.0), (900, -100.0)] {
        instance.set_clock_ms(now_ms);
        instance.infer(1).unwrap();
        assert_eq!(instance.output(0, 1).unwrap(), seen.to_le_bytes());
    }
}
