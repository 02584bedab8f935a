//! Models that run, and what they may do to their host: nothing but fail.

use std::time::{Duration, Instant};

use dunlin_core::code::Coded as _;
use dunlin_sandbox::{Admission, CallError, Limits, Work};
use proptest::prelude::*;

use crate::guest::{CARD, ENGINE, Guest, bytes_of, terms};

#[test]
fn a_batch_goes_in_and_its_sums_come_out() {
    let mut instance = Guest::default().instance().unwrap();
    let input = bytes_of(&[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0, 0.5, 0.5, 0.0, 0.0]);
    instance.input_mut(0).unwrap().copy_from_slice(&input);
    instance.infer(3).unwrap();
    assert_eq!(instance.output(0, 3).unwrap(), bytes_of(&[10.0, 100.0, 1.0]));
    assert_eq!(instance.output(0, 1).unwrap(), bytes_of(&[10.0]));
    assert_eq!(instance.output_shape(0, 2).unwrap(), [2, 1]);
    assert_eq!(instance.input(0).unwrap(), input);
    assert_eq!(instance.memory_bytes(), 65_536);
    // One sample: the others' outputs are old, and not to be had.
    instance.infer(1).unwrap();
    assert_eq!(instance.output(0, 2), Err(CallError::Batch { samples: 2, most: 1 }));
}

#[test]
fn what_is_not_there_is_an_error() {
    let mut instance = Guest::default().instance().unwrap();
    for samples in [0, 4, u32::MAX] {
        assert_eq!(instance.infer(samples), Err(CallError::Batch { samples, most: 3 }));
    }
    assert_eq!(instance.output(0, 1), Err(CallError::Batch { samples: 1, most: 0 }));
    instance.infer(1).unwrap();
    let missing = |kind| Err(CallError::TensorIndex { kind, index: 1, count: 1 });
    assert_eq!(instance.output(1, 1), missing("output"));
    assert_eq!(instance.input(1), missing("input"));
    assert!(instance.input_mut(1).is_err());
}

#[test]
fn an_export_can_be_timed_within_the_limits_of_a_call() {
    let extra = r#"(func (export "spin") (param i32)
            (loop $on (br_if $on (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "other") (param i64))"#;
    let deadline = Duration::from_millis(100);
    let mut instance = Guest::with(extra).compiled_within(deadline).instantiate().unwrap();
    assert!(instance.time("spin", 100_000).unwrap() > instance.time("spin", 1).unwrap());
    for name in ["nothing", "other", "memory", "dunlin_infer"] {
        let error = instance.time(name, 1).unwrap_err();
        assert!(matches!(&error, CallError::Engine(what) if what.contains(name)), "{error}");
    }
    instance.infer(1).unwrap();
    // 2^32 turns.
    assert_eq!(instance.time("spin", 0), Err(CallError::Deadline { deadline }));
    assert!(instance.is_poisoned());
}

#[test]
fn instances_share_nothing() {
    let model = Guest::default().compiled();
    let (mut a, b) = (model.instantiate().unwrap(), model.instantiate().unwrap());
    a.input_mut(0).unwrap().fill(7);
    assert!(b.input(0).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn instances_move_between_threads() {
    let model = Guest::default().compiled();
    let mut instance = model.instantiate().unwrap();
    instance.input_mut(0).unwrap()[..16].copy_from_slice(&bytes_of(&[1.0; 4]));
    let mut instance =
        std::thread::spawn(move || instance.infer(1).map(|()| instance)).join().unwrap().unwrap();
    assert_eq!(instance.output(0, 1).unwrap(), bytes_of(&[4.0]));
    instance.reset().unwrap();
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&model);
}

#[test]
fn an_infinite_loop_is_stopped_and_the_next_instance_works() {
    let deadline = Duration::from_millis(300);
    // Input 0 decides: 1 loops for ever.
    let model = Guest::inferring(
        "(loop $l (br_if $l (f32.eq (f32.load (i32.const 1024)) (f32.const 1)))) (i32.const 0)",
    )
    .compiled_within(deadline);
    let mut instance = model.instantiate().unwrap();
    instance.infer(1).unwrap();
    instance.input_mut(0).unwrap()[..4].copy_from_slice(&1f32.to_le_bytes());
    let start = Instant::now();
    assert_eq!(instance.infer(1), Err(CallError::Deadline { deadline }));
    assert!(start.elapsed() >= deadline);
    assert!(instance.is_poisoned());
    assert_eq!(instance.infer(1), Err(CallError::Poisoned));
    assert_eq!(instance.reset(), Err(CallError::Poisoned));
    assert_eq!(instance.input(0), Err(CallError::Poisoned));
    assert_eq!(instance.output(0, 1), Err(CallError::Poisoned));
    model.instantiate().unwrap().infer(1).unwrap();
}

/// The body of an inference that goes round `turns` times, in the form that can be proven.
fn counting(turns: u32) -> String {
    format!(
        "(local $i i32)
         i32.const {turns} local.set $i
         loop local.get $i i32.const 1 i32.sub local.tee $i br_if 0 end
         i32.const 0"
    )
}

#[test]
fn bounded_work_runs_without_checks() {
    let guest = |turns: u32, deadline_ms: u64| {
        Guest { infer: counting(turns), ..Guest::default() }
            .compiled_within(Duration::from_millis(deadline_ms))
    };
    let bounded = guest(50_000, 1);
    assert!(!bounded.is_interruptible());
    bounded.instantiate().unwrap().infer(3).unwrap();
    // Both kinds are at home in one engine, and models without a bound are told why.
    let Work::Unbounded { reason } = &Guest::default().compiled().facts().work.clone() else {
        panic!("the loops of the default guest count up");
    };
    assert!(reason.starts_with("a loop does not count down from a constant in function"), "{reason}");
}

/// What goes on for longer than its deadline by far, with few of the engine's checks or none.
fn long_guests() -> Vec<(&'static str, Guest)> {
    let nested = |inner: &str| {
        format!(
            "(local $i i32) (local $j i32)
             i32.const 1000000000 local.set $j
             loop
               i32.const 1000 local.set $i
               loop {inner} local.get $i i32.const 1 i32.sub local.tee $i br_if 0 end
               local.get $j i32.const 1 i32.sub local.tee $j br_if 0
             end
             i32.const 0"
        )
    };
    // A tower of functions, each of which calls the one below a thousand times in a row.
    let calls = |callee: usize| format!("call $f{callee} ").repeat(1000);
    let tower: String = (0..6)
        .map(|level| match level {
            0 => "(func $f0 i32.const 64 i32.const 64 i32.load i32.store)".to_string(),
            level => format!("(func $f{level} {})", calls(level - 1)),
        })
        .collect();
    let skipped = "block local.get $n br_if 0 ".to_string()
        + &"i32.const 64 i32.const 64 i32.load i32.store ".repeat(2000)
        + "end ";
    vec![
        ("a flat loop", Guest { infer: counting(u32::MAX), ..Guest::default() }),
        ("nested loops", Guest { infer: nested("nop"), ..Guest::default() }),
        (
            "vectors and memory",
            Guest {
                infer: nested("i32.const 64 (f32x4.sqrt (v128.load (i32.const 64))) v128.store"),
                card: CARD.replacen('{', r#"{"simd": "deterministic", "#, 1),
                ..Guest::default()
            },
        ),
        (
            "calls without loops",
            Guest { infer: "call $f5 i32.const 0".into(), extra: tower, ..Guest::default() },
        ),
        ("work beside skipped code", Guest { infer: nested(&skipped), ..Guest::default() }),
        (
            "fills of all memory in a row",
            Guest {
                memory: r#"(memory (export "memory") 4096)"#.into(),
                infer: "i32.const 0 i32.const 7 i32.const 268435456 memory.fill ".repeat(20_000)
                    + "i32.const 0",
                ..Guest::default()
            },
        ),
        (
            "copies of unknown length in a row",
            Guest {
                memory: r#"(memory (export "memory") 4096)"#.into(),
                infer: "i32.const 1 i32.const 0 (i32.sub (i32.const 268435456) (local.get $n)) memory.copy "
                    .repeat(20_000)
                    + "i32.const 0",
                ..Guest::default()
            },
        ),
        (
            "segments in a row",
            Guest {
                memory: r#"(memory (export "memory") 4096)"#.into(),
                infer: "i32.const 0 i32.const 0 i32.const 4000000 memory.init $d ".repeat(2_000)
                    + "i32.const 0",
                extra: format!("(data $d \"{}\")", "x".repeat(4_000_000)),
                ..Guest::default()
            },
        ),
    ]
}

/// However its code goes on, a call is stopped at its deadline. How soon is not held to here, because tests share
/// the machine: it is printed.
#[test]
fn long_calls_stop_at_the_deadline() {
    let deadline = Duration::from_millis(20);
    for (name, guest) in long_guests() {
        let limits = Limits { deadline, memory_bytes: 1 << 28, ..terms().limits };
        let admitted = guest
            .admitted(&Admission { limits, ..terms() })
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut instance = ENGINE.compile(admitted).unwrap().instantiate().unwrap();
        let started = Instant::now();
        assert_eq!(instance.infer(1), Err(CallError::Deadline { deadline }), "{name}");
        let took = started.elapsed();
        assert!(took >= deadline, "{name} took {took:?}");
        eprintln!("{name}: stopped after {took:?}");
    }
}

/// The functions that are added to a module are none of its own, and are not named in errors.
#[test]
fn bulk_trap_names_the_guests_function() {
    let guest = Guest::inferring(
        "i32.const 0 i32.const 7 (i32.add (local.get $n) (i32.const 0x7000000)) memory.fill i32.const 0",
    );
    let error = guest.instance().unwrap().infer(1).unwrap_err().to_string();
    assert!(
        error.contains("in function") && error.contains("\"infer\"") && error.contains("out of bounds"),
        "{error}"
    );
}

#[test]
fn memory_grows_to_the_limit_and_not_beyond() {
    // From 1 page to 16 works, the 17th does not, and the model lives on.
    let guest = Guest::inferring(
        "(if (i32.ne (memory.grow (i32.const 15)) (i32.const 1)) (then unreachable))
         (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
         (i32.const 0)",
    );
    let mut instance = guest.instance().unwrap();
    instance.infer(1).unwrap();
    assert_eq!(instance.memory_bytes(), 1 << 20);
    assert_eq!(instance.output(0, 1).unwrap().len(), 4);
}

#[test]
fn statuses_are_told_apart() {
    for (status, expected) in [
        (0, Ok(())),
        (1, Err(CallError::Model { status: 1 })),
        (255, Err(CallError::Model { status: 255 })),
        (256, Err(CallError::ReservedStatus { status: 256 })),
        (-1, Err(CallError::ReservedStatus { status: -1 })),
        (i32::MIN, Err(CallError::ReservedStatus { status: i32::MIN })),
    ] {
        let mut instance = Guest::inferring(&format!("(i32.const {status})")).instance().unwrap();
        assert_eq!(instance.infer(1), expected);
        assert!(!instance.is_poisoned());
        assert_eq!(instance.output(0, 1).is_ok(), expected.is_ok());
        let init = format!(r#"(func (export "dunlin_init") (result i32) (i32.const {status}))"#);
        assert_eq!(Guest::with(&init).instance().map(|_| ()), expected);
    }
}

#[test]
fn start_up_runs_once_and_in_order() {
    let extra = r#"(global $steps (mut i32) (i32.const 0))
        (func $step (param i32)
            (global.set $steps (i32.add (i32.mul (global.get $steps) (i32.const 10)) (local.get 0))))
        (func (export "_initialize") (call $step (i32.const 1)))
        (func (export "dunlin_init") (result i32) (call $step (i32.const 2)) (i32.const 0))
        (func (export "dunlin_reset") (call $step (i32.const 5)))"#;
    let guest = Guest {
        input: "(call $step (i32.const 3)) (i32.const 1024)".into(),
        output: "(call $step (i32.const 4)) (i32.const 2048)".into(),
        infer: "(i32.store (i32.const 2048) (global.get $steps)) (i32.const 0)".into(),
        ..Guest::with(extra)
    };
    let mut instance = guest.instance().unwrap();
    for steps in [1234i32, 12345] {
        instance.infer(1).unwrap();
        assert_eq!(instance.output(0, 1).unwrap(), steps.to_le_bytes());
        instance.reset().unwrap();
    }
}

#[test]
fn a_trap_tells_kind_place_and_the_models_own_words() {
    let say = |address: u32, data: &str| Guest {
        infer: "unreachable".into(),
        ..Guest::with(&format!(r#"(func (export "dunlin_error") (result i32) (i32.const {address})) {data}"#))
    };
    let message = |guest: Guest| match guest.instance().unwrap().infer(1).unwrap_err() {
        CallError::Trap { kind, place, message, .. } => {
            assert!(kind.contains("unreachable"), "{kind}");
            assert!(place.contains(r#""infer""#), "{place}");
            message
        }
        other => panic!("{other}"),
    };
    let text = |length: &str, text: &str| format!(r#"(data (i32.const 4096) "{length}{text}")"#);
    let good = say(4096, &text(r"\07\00\00\00", r"bad \1b[m..."));
    assert_eq!(message(good).as_deref(), Some(r"bad \u{1b}[m"));
    assert_eq!(message(say(4096, &text(r"\00\01\00\00", &"x".repeat(256)))), Some("x".repeat(256)));
    assert_eq!(message(say(4096, &text(r"\01\01\00\00", &"x".repeat(257)))), None, "too long");
    assert_eq!(message(say(4096, &text(r"\ff\ff\ff\ff", ""))), None, "too long by far");
    let reach = r#"(data (i32.const 65528) "\05\00\00\00abcd")"#;
    assert_eq!(message(say(65_528, reach)), None, "the text leads outside of memory");
    for outside in [65_533, 65_536, u32::MAX] {
        assert_eq!(message(say(outside, "")), None);
    }
    assert_eq!(message(Guest::inferring("unreachable")), None);
}

#[test]
fn data_dependent_axes_are_read_and_checked() {
    let guest = |dim: &str| Guest {
        card: CARD
            .replace(r#"["n", 1]"#, r#"[{"max": 4}, 2]"#)
            .replace(r#""max_batch": 3"#, r#""max_batch": 1"#),
        infer: "(f32.store (i32.const 2052) (f32.const 7)) (i32.const 0)".into(),
        ..Guest::with(&format!(
            r#"(func (export "dunlin_dim") (param $output i32) (param $axis i32) (result i32) {dim})"#
        ))
    };
    // Output 0, axis 0: 3 + 0 + 0.
    let mut instance =
        guest("(i32.add (i32.const 3) (i32.add (local.get $output) (local.get $axis)))").instance().unwrap();
    instance.infer(1).unwrap();
    assert_eq!(instance.output_shape(0, 1).unwrap(), [3, 2]);
    assert_eq!(instance.output(0, 1).unwrap(), bytes_of(&[0.0, 7.0, 0.0, 0.0, 0.0, 0.0]));
    let mut none = guest("(i32.const 0)").instance().unwrap();
    none.infer(1).unwrap();
    assert!(none.output(0, 1).unwrap().is_empty());
    for extent in [5, -1] {
        let error = guest(&format!("(i32.const {extent})")).instance().unwrap().infer(1).unwrap_err();
        assert_eq!(error, CallError::Dim { output: "sum".into(), axis: 0, extent, max: 4 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_address_reaches_outside(
        input in prop_oneof![any::<u32>(), 0u32..70_000, (0u32..4200).prop_map(|n| n * 16)],
        output in prop_oneof![any::<u32>(), 0u32..70_000, (0u32..4200).prop_map(|n| n * 16)],
    ) {
        let guest = Guest {
            input: format!("(i32.const {input})"),
            output: format!("(i32.const {output})"),
            infer: "(i32.const 0)".into(),
            ..Guest::default()
        };
        let good = |at: u32, bytes: u64| at.is_multiple_of(16) && u64::from(at) + bytes <= 65_536;
        let (i, o) = (u64::from(input), u64::from(output));
        let expected = good(input, 48) && good(output, 12) && (i + 48 <= o || o + 12 <= i);
        match guest.instance() {
            Ok(mut instance) => {
                prop_assert!(expected);
                instance.input_mut(0).unwrap().fill(1);
                instance.infer(3).unwrap();
                prop_assert_eq!(instance.output(0, 3).unwrap(), [0u8; 12]);
            }
            Err(error) => {
                prop_assert!(!expected);
                prop_assert_eq!(error.code().id, "model-pointer");
            }
        }
    }
}

#[test]
fn relaxed_simd_and_calls_through_the_table_run() {
    let guest = Guest {
        card: CARD.replacen('{', r#"{"simd": "relaxed", "#, 1),
        infer: "(f32.store (i32.const 2048) (f32x4.extract_lane 0
                (call_indirect (param v128) (result v128) (v128.load (i32.const 1024)) (i32.const 1))))
            (i32.const 0)"
            .into(),
        ..Guest::with(
            "(table 2 2 funcref) (elem (i32.const 1) $twice)
             (func $twice (param v128) (result v128)
                (f32x4.relaxed_madd (local.get 0) (f32x4.splat (f32.const 2)) (f32x4.splat (f32.const 1))))",
        )
    };
    let mut instance = guest.instance().unwrap();
    instance.input_mut(0).unwrap()[..4].copy_from_slice(&20f32.to_le_bytes());
    instance.infer(1).unwrap();
    assert_eq!(instance.output(0, 1).unwrap(), bytes_of(&[41.0]));
}
