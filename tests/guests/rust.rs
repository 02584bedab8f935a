//! Guests in Rust, `examples/threshold` and the SDK's `smoother`, and the module in WebAssembly text at the
//! end of `docs/abi.md`. Expected values are computed by hand.

use dunlin_abi::{Card, Dim, Import, Simd, State};
use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, AdmissionError, CallError, Instance, Summary, admit, inspect};

use crate::sandbox::{build, read, start, write};
use crate::toolchain::root;

pub fn threshold() -> Option<Vec<u8>> {
    build("examples/threshold", &[], "threshold.wasm")
}

fn smoother() -> Option<Vec<u8>> {
    build("guest-sdk", &["--example", "smoother"], "examples/smoother.wasm")
}

fn peaks() -> Option<Vec<u8>> {
    build("guest-sdk", &["--example", "peaks"], "examples/peaks.wasm")
}

/// The linker's stack is the one that the card tells, below everything that an overflow could overwrite.
pub fn has_a_small_stack_that_lies_first(summary: &Summary) {
    let stack = summary.shadow_stack.as_ref().unwrap();
    assert_eq!((stack.top, stack.lies_first), (16 * 1024, true));
    assert_eq!(summary.card.stack_bytes, stack.top);
}

#[test]
fn threshold_is_small_needs_nothing_and_says_what_it_is() {
    let Some(threshold) = threshold() else { return };
    let summary = inspect(&threshold).unwrap();
    assert_eq!(summary.imports, []);
    assert_eq!(summary.memory_min_bytes, 1 << 16, "one page: the stack of 16 KiB is the linker's");
    has_a_small_stack_that_lies_first(&summary);
    assert!(threshold.len() < 4096, "{} bytes", threshold.len());

    let card = &summary.card;
    assert_eq!((card.max_batch, card.state, card.simd), (16, State::None, Simd::Deterministic));
    assert_eq!(card.inputs[0].name, "acceleration");
    assert_eq!(card.inputs[0].unit.as_deref(), Some("m/s^2"));
    let outputs: Vec<&str> = card.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(outputs, ["rms", "peak", "crest", "alarm"]);
}

#[test]
fn threshold_computes_what_its_formula_says() {
    let Some(threshold) = threshold() else { return };
    let mut running = start(&threshold, &[]);
    let instance = &mut running.instance;
    let gravity = [9.75; 64];
    let square: [f32; 64] = std::array::from_fn(|i| if i % 2 == 0 { 17.75 } else { 1.75 });
    let knock: [f32; 64] = std::array::from_fn(|i| [16.0, -16.0].get(i).copied().unwrap_or(0.0));
    write(instance, 0, &[gravity, square, knock].concat());
    instance.infer(3).unwrap();

    let root_of_8 = 8f32.sqrt();
    assert_eq!(read(instance, 0, 3), [0.0, 8.0, root_of_8], "rms");
    assert_eq!(read(instance, 1, 3), [0.0, 8.0, 16.0], "peak");
    assert_eq!(read(instance, 2, 3), [0.0, 1.0, 16.0 / root_of_8], "crest");
    assert_eq!(read(instance, 3, 3), [0.0, 0.5, (16.0 / root_of_8 - 4.0) / 4.0], "alarm");
}

#[test]
fn threshold_refuses_a_hole_with_its_status_and_goes_on() {
    let Some(threshold) = threshold() else { return };
    let mut running = start(&threshold, &[]);
    let instance = &mut running.instance;
    let mut window = [0.0; 64];
    window[63] = f32::NAN;
    write(instance, 0, &window);
    let refusal = instance.infer(1).unwrap_err();
    assert!(matches!(refusal, CallError::Model { status: 1 }), "{refusal:?}");
    write(instance, 0, &[1.0; 64]);
    instance.infer(1).unwrap();
    assert_eq!(read(instance, 3, 1), [0.0]);
}

#[test]
fn smoother_imports_what_it_calls_and_runs_only_where_that_is_granted() {
    let Some(smoother) = smoother() else { return };
    let summary = inspect(&smoother).unwrap();
    assert_eq!((&summary.imports[..], summary.memory_min_bytes), (&Import::ALL[..], 1 << 16));
    has_a_small_stack_that_lies_first(&summary);
    assert!(smoother.len() < 20 * 1024, "{} bytes", smoother.len());
    let refused = admit(VerifiedArtifact::trust_local(smoother), &Admission::default());
    assert_eq!(refused.unwrap_err(), AdmissionError::ImportNotGranted(Import::Log));
}

/// One temperature of one channel, smoothed.
fn smooth(instance: &mut Instance, channel: u8, celsius: f32) -> f32 {
    instance.input_mut(0).unwrap()[0] = channel;
    write(instance, 1, &[celsius]);
    instance.infer(1).unwrap();
    read(instance, 0, 1)[0]
}

#[test]
fn smoother_remembers_until_it_is_reset() {
    let Some(smoother) = smoother() else { return };
    let mut running = start(&smoother, &Import::ALL);
    let instance = &mut running.instance;
    assert_eq!(smooth(instance, 0, 16.0), 16.0);
    assert_eq!(smooth(instance, 0, 32.0), 17.0);
    assert_eq!(smooth(instance, 1, 5.0), 5.0);
    instance.reset().unwrap();
    assert_eq!(smooth(instance, 0, 32.0), 32.0);
}

#[test]
fn smoother_logs_measures_and_reads_the_clock() {
    let Some(smoother) = smoother() else { return };
    let mut running = start(&smoother, &Import::ALL);
    let instance = &mut running.instance;
    instance.set_clock_ms(1234);
    smooth(instance, 2, 20.0);
    smooth(instance, 2, 20.0);
    let logs = instance.take_logs().lines;
    let [line] = &logs[..] else { panic!("one line: {logs:?}") };
    assert_eq!((line.level, line.text.as_str()), (3, "channel 2 begins at 1234 ms"));
    let metrics = instance.take_metrics().values;
    let seen: Vec<(&str, f64)> = metrics.iter().map(|metric| (metric.name.as_str(), metric.value)).collect();
    assert_eq!(seen, [("seen", 1.0), ("seen", 2.0)]);
}

#[test]
fn a_panic_is_a_trap_whose_message_names_the_line() {
    let Some(smoother) = smoother() else { return };
    let mut running = start(&smoother, &Import::ALL);
    running.instance.input_mut(0).unwrap()[0] = 4;
    let text = running.instance.infer(1).unwrap_err().to_string();
    assert!(text.contains("the len is 4 but the index is 4"), "{text}");
    let source = std::fs::read_to_string(root().join("guest-sdk/examples/smoother.rs")).unwrap();
    let line = 1 + source.lines().position(|line| line.contains("self.mean[channel]")).unwrap();
    assert!(text.contains(&format!("guest-sdk/examples/smoother.rs:{line}")), "{text}");
}

#[test]
fn peaks_are_as_many_as_there_are_and_weighted_by_the_prepared_table() {
    let Some(peaks) = peaks() else { return };
    let summary = inspect(&peaks).unwrap();
    assert_eq!(summary.card.outputs[0].shape, [Dim::AtMost(8), Dim::Fixed(2)]);
    assert_eq!((summary.card.stack_bytes, summary.memory_min_bytes), (16_384, 1 << 16));
    has_a_small_stack_that_lies_first(&summary);
    assert!(peaks.len() < 20 * 1024, "{} bytes", peaks.len());
    let mut running = start(&peaks, &[]);
    let mut window = [0.0; 32];
    for (call, expected) in [vec![], vec![[16.0, 2.0]], vec![[8.0, 3.0], [16.0, 2.0]]].into_iter().enumerate()
    {
        window[16] = if call > 0 { 2.0 } else { 0.0 };
        window[8] = if call > 1 { 4.0 } else { 0.0 };
        write(&mut running.instance, 0, &window);
        running.instance.infer(1).unwrap();
        assert_eq!(running.instance.output_shape(0, 1).unwrap(), [expected.len() as u32, 2]);
        assert_eq!(read(&running.instance, 0, 1), expected.concat());
    }
    let crowd: Vec<f32> = (0..32).map(|i| if i % 2 == 0 { 10.0 } else { 0.0 }).collect();
    write(&mut running.instance, 0, &crowd);
    assert!(matches!(running.instance.infer(1), Err(CallError::Model { status: 1 })));
}

#[test]
fn the_module_of_the_abi_document_runs() {
    let module = wat::parse_str(block("wat")).unwrap();
    let mut running = start(&module, &[]);
    write(&mut running.instance, 0, &[1.0, -2.5, 0.0, 1e6]);
    running.instance.infer(1).unwrap();
    assert_eq!(read(&running.instance, 0, 1), [2.0, -5.0, 0.0, 2e6]);
}

#[test]
fn the_card_of_the_abi_document_is_one() {
    let card = Card::parse(block("json").as_bytes()).unwrap();
    assert_eq!((card.max_batch, card.stack_bytes, card.arena_bytes), (16, 16_384, 4352));
}

/// The one code block of `docs/abi.md` in this language.
fn block(language: &str) -> String {
    let document = std::fs::read_to_string(root().join("docs/abi.md")).unwrap();
    let fence = format!("```{language}\n");
    let (_, rest) = document.split_once(&fence).unwrap();
    let (block, rest) = rest.split_once("```").unwrap();
    assert!(!rest.contains(&fence), "one block of {language}");
    block.to_string()
}
