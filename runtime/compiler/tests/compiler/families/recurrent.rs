//! LSTM, GRU and RNN.

use proptest::prelude::*;

use crate::agree::{Case, SUMS, Tolerance, whole};
use crate::builder::{float, floats, i32_tensor, int, ints, string, strings};
use crate::choices::{Batch, Choices, Spread, cases, choices};
use crate::evaluator::Array;

/// Activations, and how many alphas and betas each takes; first those that are bounded. ThresholdedRelu
/// is missing: it jumps, and rounding would decide where.
const FUNCTIONS: [(&str, usize, usize); 10] = [
    ("Sigmoid", 0, 0),
    ("Tanh", 0, 0),
    ("Softsign", 0, 0),
    ("HardSigmoid", 1, 1),
    ("ScaledTanh", 1, 1),
    ("Relu", 0, 0),
    ("Softplus", 0, 0),
    ("Affine", 1, 1),
    ("LeakyRelu", 1, 0),
    ("Elu", 1, 0),
];

fn recurrent(c: &mut Choices, operator: &str) {
    let (gates, functions) = match operator {
        "LSTM" => (4, 3),
        "GRU" => (3, 2),
        _ => (1, 1),
    };
    let batch = c.batch();
    let open = batch.max.is_some();
    let opset = c.one_of(&[14, 11, 22]);
    let layout = opset >= 14 && c.pick(3) == 0;
    let direction = c.one_of(&["forward", "reverse", "bidirectional"]);
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let (steps, inputs) = (c.between(1, 6), c.extent().min(17));
    let hidden = c.one_of(&[1, 2, 3, 4, 5, 8, 16, 17]);
    let mut case = Case::new(c, opset, batch, SUMS);
    let mut attributes = vec![int("hidden_size", hidden as i64)];
    if direction != "forward" || c.flag() {
        attributes.push(string("direction", direction));
    }
    if layout {
        attributes.push(int("layout", 1));
    }
    // A batch in front, which exporters move to its place; or the layout of ONNX itself.
    let moved = !layout && (open || c.flag());
    let sequence = [steps, inputs];
    if moved || layout {
        case.input(c, if moved { "front" } else { "x" }, batch, &sequence, Spread::Small);
    } else {
        whole(&mut case, c, "x", &[steps, batch.samples, inputs], Spread::Small);
    }
    if moved {
        case.node("Transpose", &["front"], "x", &[ints("perm", &[1, 0, 2])]);
    }
    let scaled = |x: Array, width: usize| x.map(|v| v / (width as f64).sqrt());
    let w = c.floats(&[directions, gates * hidden, inputs], Spread::Unit);
    case.values("w", &scaled(w, inputs));
    let r = c.floats(&[directions, gates * hidden, hidden], Spread::Unit);
    case.values("r", &scaled(r, hidden));
    let mut operands = ["x", "w", "r", "", "", "", "", ""];
    if c.flag() {
        case.weights(c, "b", &[directions, 2 * gates * hidden], Spread::Unit);
        operands[3] = "b";
    }
    if !open && c.pick(3) == 0 {
        let length = c.between(1, steps) as i32;
        let lengths: Vec<i32> = vec![length; batch.samples];
        case.constant(i32_tensor("lengths", &[batch.samples as i64], &lengths));
        operands[4] = "lengths";
    }
    for (place, name) in [(5, "h"), (6, "c")] {
        if (place == 6 && operator != "LSTM") || c.flag() {
            continue;
        }
        operands[place] = name;
        initial(c, &mut case, batch, name, (layout, directions, hidden));
    }
    if operator == "LSTM" && c.pick(4) == 0 {
        case.weights(c, "p", &[directions, 3 * hidden], Spread::Unit);
        operands[7] = "p";
    }
    if c.pick(3) == 0 {
        attributes.push(float("clip", c.one_of(&[0.5, 1.0, 3.0])));
    }
    if operator == "GRU" && c.flag() {
        attributes.push(int("linear_before_reset", 1));
    }
    if c.pick(3) == 0 {
        // Gates are bounded, or states would grow beyond what f32 can follow.
        let gate = |place: usize| functions > 1 && place.is_multiple_of(functions);
        let chosen: Vec<_> = (0..functions * directions)
            .map(|place| c.one_of(&FUNCTIONS[..if gate(place) { 5 } else { FUNCTIONS.len() }]))
            .collect();
        let names: Vec<&str> = chosen.iter().map(|(name, ..)| *name).collect();
        let (alphas, betas) = chosen.iter().fold((0, 0), |(a, b), (_, x, y)| (a + x, b + y));
        attributes.push(strings("activations", &names));
        let numbers = |c: &mut Choices, count: usize| -> Vec<f32> {
            (0..count).map(|_| c.one_of(&[0.3, 0.6, 0.8])).collect()
        };
        if alphas > 0 {
            attributes.push(floats("activation_alpha", &numbers(c, alphas)));
        }
        if betas > 0 {
            attributes.push(floats("activation_beta", &numbers(c, betas)));
        }
    }
    let used = operands.iter().rposition(|name| !name.is_empty()).unwrap();
    let results = results(c, operator);
    let names: Vec<&str> = results.iter().map(String::as_str).collect();
    case.nodes(operator, &operands[..=used], &names, &attributes);
    for name in names.iter().filter(|name| !name.is_empty()) {
        let perm: &[i64] = if *name == "y" { &[2, 0, 1, 3] } else { &[1, 0, 2] };
        let out = format!("{name}_out");
        if moved {
            case.node("Transpose", &[name], &out, &[ints("perm", perm)]);
        }
        case.outputs(&[if moved { &out } else { name }]);
    }
    case.agree();
}

/// An initial state: of the host where the batch is open, else a constant.
fn initial(
    c: &mut Choices,
    case: &mut Case,
    batch: Batch,
    name: &str,
    (layout, directions, hidden): (bool, usize, usize),
) {
    if batch.max.is_none() {
        let shape =
            if layout { [batch.samples, directions, hidden] } else { [directions, batch.samples, hidden] };
        return case.weights(c, name, &shape, Spread::Unit);
    }
    let front = format!("{name}_front");
    case.input(c, if layout { name } else { &front }, batch, &[directions, hidden], Spread::Unit);
    if !layout {
        case.node("Transpose", &[&front], name, &[ints("perm", &[1, 0, 2])]);
    }
}

/// The names of the results, at least one of them there.
fn results(c: &mut Choices, operator: &str) -> Vec<String> {
    let all: &[&str] = if operator == "LSTM" { &["y", "y_h", "y_c"] } else { &["y", "y_h"] };
    let kept = c.pick(all.len() + 1);
    let name = |(index, name): (usize, &&str)| {
        if kept == all.len() || kept == index { (*name).to_string() } else { String::new() }
    };
    let mut names: Vec<String> = all.iter().enumerate().map(name).collect();
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    names
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn long_short_term_memories_agree(mut c in choices()) {
        recurrent(&mut c, "LSTM");
    }

    #[test]
    fn gated_recurrent_units_agree(mut c in choices()) {
        recurrent(&mut c, "GRU");
    }

    #[test]
    fn plain_recurrent_networks_agree(mut c in choices()) {
        recurrent(&mut c, "RNN");
    }
}

/// A state that halves and halves, until it is subnormal and then 0: right, at every level.
#[test]
fn a_state_that_decays_into_subnormal_numbers_agrees() {
    use dunlin_abi::Simd;
    let (hidden, steps) = (5, 220);
    for simd in [Simd::Relaxed, Simd::Deterministic, Simd::None] {
        let options = dunlin_compiler::Options { simd, ..Default::default() };
        // In f32 every step may round away half of the smallest number there is.
        let tolerance = Tolerance { each: 2e-4, whole: 0.0, floor: 1e-43 };
        let model = crate::builder::Model::new(14);
        let mut case = Case { model, inputs: vec![], options, tolerance };
        let x = Array::new(&[steps, 1, 1], vec![0.0; steps]);
        case.given("x", &crate::choices::fixed(&[steps, 1, 1]), x);
        case.values("w", &Array::new(&[1, 4 * hidden, 1], vec![0.0; 4 * hidden]));
        case.values("r", &Array::new(&[1, 4 * hidden, hidden], vec![0.0; 4 * hidden * hidden]));
        // Gates i, o, f, c: nothing comes in, everything goes out, some is forgotten.
        let forget = [-0.5, 0.0, 0.3, -2.0, 0.5];
        let bias = |row: usize| match (row / hidden, row % hidden) {
            (1, _) => 2.0,
            (2, i) => forget[i],
            _ => 0.0,
        };
        case.values("b", &Array::new(&[1, 8 * hidden], (0..8 * hidden).map(bias).collect()));
        case.values("h", &Array::new(&[1, 1, hidden], vec![0.0; hidden]));
        case.values("c", &Array::new(&[1, 1, hidden], vec![1.0, -1.0, 0.5, 0.25, -3.0]));
        let operands = ["x", "w", "r", "b", "", "h", "c"];
        case.nodes("LSTM", &operands, &["y", "y_h", "y_c"], &[int("hidden_size", hidden as i64)]);
        case.outputs(&["y", "y_h", "y_c"]);
        case.agree();
    }
}
