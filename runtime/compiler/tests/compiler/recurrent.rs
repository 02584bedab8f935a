//! RNN, GRU and LSTM in all their forms, against the evaluator.

use dunlin_abi::Simd;
use dunlin_compiler::{CompileError, Options, compile};

use crate::agree::{SUMS, agree};
use crate::builder::{D, Model, float, floats, int, ints, numbers, string, strings};
use crate::evaluator::Array;
use crate::run::Running;

/// A node and its surroundings.
#[derive(Clone, Debug)]
struct Form {
    op: &'static str,
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    direction: &'static str,
    layout: usize,
    bias: bool,
    /// Initial states: not given, constants, or inputs of the model.
    initial: Initial,
    peepholes: bool,
    clip: Option<f32>,
    /// Functions for all directions.
    activations: Vec<&'static str>,
    alpha: Vec<f32>,
    beta: Vec<f32>,
    input_forget: bool,
    linear_before_reset: bool,
    length: Option<usize>,
    symbolic: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Initial {
    None,
    Constant,
    Computed,
}

fn form(op: &'static str, steps: usize, inputs: usize, hidden: usize) -> Form {
    Form {
        op,
        steps,
        batch: 1,
        inputs,
        hidden,
        direction: "forward",
        layout: 0,
        bias: true,
        initial: Initial::None,
        peepholes: false,
        clip: None,
        activations: Vec::new(),
        alpha: Vec::new(),
        beta: Vec::new(),
        input_forget: false,
        linear_before_reset: false,
        length: None,
        symbolic: false,
    }
}

/// All numbers of a model with this form.
struct Data {
    x: Vec<f32>,
    w: Vec<f32>,
    r: Vec<f32>,
    b: Vec<f32>,
    h: Vec<f32>,
    c: Vec<f32>,
    p: Vec<f32>,
}

impl Form {
    fn gates(&self) -> usize {
        match self.op {
            "RNN" => 1,
            "GRU" => 3,
            _ => 4,
        }
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.direction == "bidirectional")
    }

    fn data(&self) -> Data {
        let (d, g, h) = (self.directions(), self.gates(), self.hidden);
        let scaled = |seed: u64, count: usize, factor: f32| {
            numbers(seed, count).iter().map(|v| v * factor).collect::<Vec<_>>()
        };
        let narrow = 1.5 / (h as f32).sqrt();
        Data {
            x: numbers(1, self.steps * self.batch * self.inputs),
            w: scaled(2, d * g * h * self.inputs, 1.5 / (self.inputs as f32).sqrt()),
            r: scaled(3, d * g * h * h, narrow),
            b: scaled(4, d * 2 * g * h, 0.5),
            h: numbers(5, d * self.batch * h),
            c: numbers(6, d * self.batch * h),
            p: numbers(7, d * 3 * h),
        }
    }

    /// Data `[axes before, batch, behind]` with the batch first; `front` is the product of the axes before.
    fn batch_first<T: Copy>(&self, data: &[T], front: usize) -> Vec<T> {
        let inner = data.len() / front / self.batch;
        let place = |n: usize, f: usize, i: usize| (f * self.batch + n) * inner + i;
        (0..self.batch)
            .flat_map(|n| (0..front).flat_map(move |f| (0..inner).map(move |i| (n, f, i))))
            .map(|(n, f, i)| data[place(n, f, i)])
            .collect()
    }

    fn model(&self, data: &Data) -> Model {
        let (t, n, i) = (self.steps as i64, self.batch as i64, self.inputs as i64);
        let (d, g, h) = (self.directions() as i64, self.gates() as i64, self.hidden as i64);
        let batch = if self.symbolic { D::Symbol("n") } else { D::Fixed(n) };
        let mut model = Model::new(17);
        let first = self.layout == 1 || self.symbolic;
        model = if first {
            model.input("x", &[batch.clone(), D::Fixed(t), D::Fixed(i)])
        } else {
            model.input("x", &[D::Fixed(t), batch.clone(), D::Fixed(i)])
        };
        let perm = |order: &[i64]| ints("perm", order);
        let mut x = "x";
        if self.layout == 0 && self.symbolic {
            model = model.node("Transpose", &["x"], "xt", &[perm(&[1, 0, 2])]);
            x = "xt";
        }
        model = model.f32("w", &[d, g * h, i], &data.w).f32("r", &[d, g * h, h], &data.r);
        let mut names = vec![x, "w", "r", "", "", "", "", ""];
        if self.bias {
            model = model.f32("b", &[d, 2 * g * h], &data.b);
            names[3] = "b";
        }
        if let Some(length) = self.length {
            model = model.i64("lens", &[n], &vec![length as i64; n as usize]);
            names[4] = "lens";
        }
        let states = [("h", &data.h), ("c", &data.c)];
        for ((name, values), place) in states.into_iter().zip(5..).take(1 + usize::from(self.op == "LSTM")) {
            match self.initial {
                Initial::None => continue,
                Initial::Constant if self.layout == 1 => {
                    model = model.f32(name, &[n, d, h], &self.batch_first(values, self.directions()));
                }
                Initial::Constant => model = model.f32(name, &[d, n, h], values),
                Initial::Computed if self.layout == 1 || self.symbolic => {
                    model = model.input(name, &[batch.clone(), D::Fixed(d), D::Fixed(h)]);
                }
                Initial::Computed => model = model.input(name, &[D::Fixed(d), batch.clone(), D::Fixed(h)]),
            }
            names[place] = name;
            if self.initial == Initial::Computed && self.symbolic && self.layout == 0 {
                let moved = if name == "h" { "ht" } else { "ct" };
                model = model.node("Transpose", &[name], moved, &[perm(&[1, 0, 2])]);
                names[place] = moved;
            }
        }
        if self.peepholes {
            model = model.f32("p", &[d, 3 * h], &data.p);
            names[7] = "p";
        }
        while names.last() == Some(&"") {
            names.pop();
        }
        let mut attributes = vec![int("hidden_size", h), string("direction", self.direction)];
        if self.layout == 1 {
            attributes.push(int("layout", 1));
        }
        attributes.extend(self.clip.map(|clip| float("clip", clip)));
        if !self.activations.is_empty() {
            attributes.push(strings("activations", &self.activations));
        }
        for (name, list) in [("activation_alpha", &self.alpha), ("activation_beta", &self.beta)] {
            if !list.is_empty() {
                attributes.push(floats(name, list));
            }
        }
        if self.input_forget {
            attributes.push(int("input_forget", 1));
        }
        if self.linear_before_reset {
            attributes.push(int("linear_before_reset", 1));
        }
        let outputs: &[&str] = if self.op == "LSTM" { &["y", "y_h", "y_c"] } else { &["y", "y_h"] };
        model = model.nodes(self.op, &names, outputs, &attributes);
        if self.symbolic && self.layout == 0 {
            model = model.node("Transpose", &["y"], "yt", &[perm(&[2, 0, 1, 3])]).output("yt");
            for (from, to) in [("y_h", "yt_h"), ("y_c", "yt_c")].into_iter().take(outputs.len() - 1) {
                model = model.node("Transpose", &[from], to, &[perm(&[1, 0, 2])]).output(to);
            }
            return model;
        }
        outputs.iter().fold(model, |model, name| model.output(name))
    }

    /// Compares the model with the evaluator at every SIMD level.
    fn check(&self) {
        let data = self.data();
        let model = self.model(&data);
        let first = self.layout == 1 || self.symbolic;
        let (n, d, h) = (self.batch, self.directions(), self.hidden);
        let array = |values: &[f32], front: usize, inner: usize| {
            let shape = if first { [n, front, inner] } else { [front, n, inner] };
            let values = if first { self.batch_first(values, front) } else { values.to_vec() };
            Array::new(&shape, values.iter().map(|v| f64::from(*v)).collect())
        };
        let mut inputs = vec![("x", array(&data.x, self.steps, self.inputs))];
        if self.initial == Initial::Computed {
            inputs.push(("h", array(&data.h, d, h)));
            if self.op == "LSTM" {
                inputs.push(("c", array(&data.c, d, h)));
            }
        }
        let max_batch = if self.symbolic { n as u32 } else { 1 };
        for simd in [Simd::Relaxed, Simd::Deterministic, Simd::None] {
            agree(&model, &inputs, &Options { simd, max_batch, ..Options::default() }, SUMS);
        }
    }
}

const OPERATORS: [&str; 3] = ["RNN", "GRU", "LSTM"];

#[test]
fn every_width_of_hidden_units() {
    for op in OPERATORS {
        for hidden in [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 24, 31, 32, 33, 40, 64] {
            form(op, 3, 5, hidden).check();
            Form { linear_before_reset: op == "GRU", ..form(op, 2, 3, hidden) }.check();
        }
    }
}

#[test]
fn directions_and_layouts_with_one_row_and_with_several() {
    for op in OPERATORS {
        for direction in ["forward", "reverse", "bidirectional"] {
            for (layout, batch) in [(0, 1), (0, 3), (1, 1), (1, 3)] {
                for initial in [Initial::None, Initial::Constant, Initial::Computed] {
                    Form { direction, layout, batch, initial, ..form(op, 4, 6, 10) }.check();
                }
            }
        }
    }
}

#[test]
fn a_symbolic_batch_is_samples_that_do_not_see_each_other() {
    for op in OPERATORS {
        for direction in ["reverse", "bidirectional"] {
            for layout in [0, 1] {
                for initial in [Initial::None, Initial::Computed] {
                    let symbolic = Form { symbolic: true, batch: 3, ..form(op, 5, 4, 9) };
                    Form { direction, layout, initial, ..symbolic }.check();
                }
            }
        }
    }
}

#[test]
fn one_step_and_many() {
    for op in OPERATORS {
        for direction in ["forward", "bidirectional"] {
            Form { direction, ..form(op, 1, 1, 6) }.check();
            Form { direction, ..form(op, 100, 3, 20) }.check();
        }
    }
}

#[test]
fn without_biases() {
    for op in OPERATORS {
        Form { bias: false, direction: "bidirectional", ..form(op, 4, 5, 11) }.check();
    }
    Form { bias: false, linear_before_reset: true, ..form("GRU", 4, 5, 11) }.check();
}

#[test]
fn peepholes_and_coupled_gates() {
    for (peepholes, input_forget) in [(true, false), (false, true), (true, true)] {
        for direction in ["forward", "bidirectional"] {
            let batch = 2;
            let initial = Initial::Constant;
            Form { peepholes, input_forget, direction, batch, initial, ..form("LSTM", 5, 4, 10) }.check();
        }
    }
}

#[test]
fn both_places_of_the_reset() {
    for linear_before_reset in [false, true] {
        for direction in ["forward", "reverse", "bidirectional"] {
            let initial = Initial::Constant;
            Form { linear_before_reset, direction, initial, batch: 2, ..form("GRU", 6, 7, 18) }.check();
        }
    }
}

#[test]
fn inputs_of_functions_are_clipped() {
    for op in OPERATORS {
        for initial in [Initial::None, Initial::Constant] {
            let peepholes = op == "LSTM";
            Form { clip: Some(0.25), initial, peepholes, ..form(op, 5, 8, 12) }.check();
        }
    }
}

#[test]
fn functions_with_and_without_parameters() {
    let rnn = |name: &'static str, alpha: &[f32], beta: &[f32]| {
        let (alpha, beta) = (alpha.to_vec(), beta.to_vec());
        Form { activations: vec![name], alpha, beta, ..form("RNN", 4, 5, 6) }.check();
    };
    rnn("Relu", &[], &[]);
    rnn("Softsign", &[], &[]);
    rnn("Affine", &[0.5], &[0.25]);
    rnn("HardSigmoid", &[], &[]);
    rnn("HardSigmoid", &[0.3], &[0.4]);
    rnn("ScaledTanh", &[1.5], &[0.5]);
}

#[test]
fn functions_that_choose() {
    for name in ["Elu", "LeakyRelu", "ThresholdedRelu", "Softplus"] {
        for alpha in [vec![], vec![0.3]] {
            let alpha = if name == "Softplus" { vec![] } else { alpha };
            Form { activations: vec![name], alpha, ..form("RNN", 4, 5, 6) }.check();
        }
    }
}

#[test]
fn parameters_go_to_the_functions_that_have_them_in_order() {
    let activations = vec!["HardSigmoid", "Relu", "ScaledTanh", "Sigmoid", "Affine", "HardSigmoid"];
    let (alpha, beta) = (vec![0.25, 1.5, 0.75, 0.3], vec![0.5, 0.5, 0.125, 0.25]);
    let direction = "bidirectional";
    Form { activations, alpha, beta, direction, ..form("LSTM", 4, 5, 6) }.check();
}

#[test]
fn sequences_that_are_shorter_than_the_tensor_end_in_zeros() {
    for op in OPERATORS {
        for direction in ["forward", "bidirectional"] {
            for length in [2, 6] {
                for layout in [0, 1] {
                    let length = Some(length);
                    Form { length, direction, layout, batch: 2, ..form(op, 6, 3, 5) }.check();
                }
            }
        }
    }
}

#[test]
fn a_state_that_decays_to_nothing_stays_right() {
    // All gates are 1/2 and nothing comes in: c halves each step, through the smallest normal number to
    // 0, and h is half its tanh.
    let steps = 160;
    let model = Model::new(17)
        .input("x", &[D::Fixed(steps), D::Fixed(1), D::Fixed(1)])
        .f32("w", &[1, 16, 1], &[0.0; 16])
        .f32("r", &[1, 16, 4], &[0.0; 64])
        .f32("h", &[1, 1, 4], &[0.0; 4])
        .f32("c", &[1, 1, 4], &[1.0, 0.75, -1.0, 1e-3]);
    let mut model = model.node("LSTM", &["x", "w", "r", "", "", "h", "c"], "y", &[int("hidden_size", 4)]);
    model.graph().node[0].output = ["y", "y_h", "y_c"].map(String::from).to_vec();
    let model = model.output("y").output("y_c");
    for simd in [Simd::Relaxed, Simd::Deterministic, Simd::None] {
        let mut running = Running::new(&model.bytes(), &Options { simd, ..Options::default() });
        running.write(0, &vec![1.0; steps as usize]);
        assert_eq!(running.status(1), 0);
        for (unit, first) in [1.0f64, 0.75, -1.0, 1e-3].into_iter().enumerate() {
            for (step, h) in running.read(0, 1).iter().skip(unit).step_by(4).enumerate() {
                let exact = 0.5 * (f64::from(first as f32) / 2f64.powi(step as i32 + 1)).tanh();
                let error = (f64::from(*h) - exact).abs();
                assert!(error <= exact.abs() * 1e-6 + 2e-45, "{simd:?} {unit} {step}: {h} {exact}");
            }
        }
        assert_eq!(running.read(1, 1), [0.0, 0.0, 0.0, 0.0]);
    }
}

#[test]
fn two_bidirectional_layers_with_a_symbolic_batch() {
    // As PyTorch writes them with `batch_first`.
    let perm = |order: &[i64]| ints("perm", order);
    for (op, gates) in [("GRU", 3), ("LSTM", 4)] {
        let (steps, inputs, hidden, batch) = (5i64, 3i64, 6i64, 2usize);
        let rows = gates * hidden;
        let mut model = Model::new(17)
            .input("x", &[D::Symbol("batch"), D::Fixed(steps), D::Fixed(inputs)])
            .i64("joined", &[3], &[0, 0, -1])
            .node("Transpose", &["x"], "t0", &[perm(&[1, 0, 2])]);
        for layer in 0..2 {
            let columns = if layer == 0 { inputs } else { 2 * hidden };
            let name = |kind: &str| format!("{kind}{layer}");
            let values = |seed: u64, count: i64| -> Vec<f32> {
                numbers(seed + 10 * layer, count as usize)
                    .iter()
                    .map(|v| v / (hidden as f32).sqrt())
                    .collect()
            };
            let reset = (op == "GRU").then(|| int("linear_before_reset", 1));
            let attributes = [string("direction", "bidirectional"), int("hidden_size", hidden)];
            let attributes: Vec<_> = attributes.into_iter().chain(reset).collect();
            let [y, y_h, y_c, s] = [name("y"), name("y_h"), name("y_c"), name("s")];
            let outputs = [y.as_str(), &y_h, &y_c];
            model = model
                .f32(&name("w"), &[2, rows, columns], &values(1, 2 * rows * columns))
                .f32(&name("r"), &[2, rows, hidden], &values(2, 2 * rows * hidden))
                .f32(&name("b"), &[2, 2 * rows], &values(3, 4 * rows))
                .nodes(
                    op,
                    &[&name("t"), &name("w"), &name("r"), &name("b")],
                    &outputs[..if op == "LSTM" { 3 } else { 2 }],
                    &attributes,
                )
                .node("Transpose", &[&y], &s, &[perm(&[0, 2, 1, 3])])
                .node("Reshape", &[&s, "joined"], &format!("t{}", layer + 1), &[]);
        }
        let model = model
            .node("Transpose", &["t2"], "y", &[perm(&[1, 0, 2])])
            .node("Concat", &["y_h0", "y_h1"], "states", &[int("axis", 0)])
            .node("Transpose", &["states"], "h", &[perm(&[1, 0, 2])])
            .output("y")
            .output("h");
        let x = numbers(77, batch * (steps * inputs) as usize).iter().map(|v| f64::from(*v)).collect();
        let x = Array::new(&[batch, steps as usize, inputs as usize], x);
        agree(&model, &[("x", x)], &Options { max_batch: 2, ..Options::default() }, SUMS);
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_a_remedy() {
    let refused = |model: Model, part: &str| {
        let error = compile(&model.bytes(), &Options::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{error} should contain {part}");
        error
    };
    let small = form("LSTM", 3, 2, 4);
    let data = small.data();
    // Weights that are computed.
    let mut model = small.model(&data);
    model.graph().initializer.retain(|tensor| tensor.name() != "r");
    let model = model.input("r", &[D::Fixed(1), D::Fixed(16), D::Fixed(4)]);
    assert!(matches!(refused(model, "R is computed"), CompileError::Unsupported(_)));
    // Lengths that differ.
    let rows = Form { batch: 2, length: Some(3), ..small.clone() };
    let mut model = rows.model(&rows.data());
    model.graph().initializer.retain(|tensor| tensor.name() != "lens");
    refused(model.i64("lens", &[2], &[3, 2]), "differ in length");
    // Steps over the batch.
    let model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(3), D::Fixed(2)]);
    let mut steps = model.f32("w", &[1, 16, 2], &data.w).f32("r", &[1, 16, 4], &data.r);
    steps = steps.node("LSTM", &["x", "w", "r"], "y", &[]).output("y");
    refused(steps, "steps through the batch axis");
    // Attributes that do not fit.
    for (name, value) in [("hidden_size", 5), ("layout", 2), ("input_forget", 3)] {
        let mut model = small.model(&data);
        let attributes = &mut model.graph().node[0].attribute;
        attributes.retain(|attribute| attribute.name() != name);
        attributes.push(int(name, value));
        refused(model, name);
    }
    for activations in [vec!["Tanh"], vec!["Sigmoid", "Tanh", "Sinh"], vec!["ScaledTanh", "Tanh", "Tanh"]] {
        let model = Form { activations, ..small.clone() }.model(&data);
        refused(model, "activation");
    }
    refused(Form { clip: Some(-1.0), ..small.clone() }.model(&data), "clip");
    refused(Form { direction: "backward", ..small.clone() }.model(&data), "backward");
    let mut model = small.model(&data);
    model.graph().initializer.retain(|tensor| tensor.name() != "w");
    refused(model.f32("w", &[1, 16, 3], &[0.0; 48]), "W has the shape");
}
