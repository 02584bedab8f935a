//! LSTM, GRU and RNN, step by step, sample by sample.

use super::activation::{elu, hard_sigmoid, leaky_relu, relu, sigmoid, softplus, softsign};
use super::array::Array;
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let (gates, functions): (usize, &[&str]) = match node.op() {
        "LSTM" => (4, &["Sigmoid", "Tanh", "Tanh"]),
        "GRU" => (3, &["Sigmoid", "Tanh"]),
        "RNN" => (1, &["Tanh"]),
        _ => return None,
    };
    let layout = node.int("layout", 0) == 1;
    let (x, w, r) = (node.x(0), node.x(1), node.x(2));
    let (steps, samples) = if layout { (x.shape[1], x.shape[0]) } else { (x.shape[0], x.shape[1]) };
    let (directions, hidden) = (w.shape[0], r.shape[2]);
    assert_eq!(w.shape[1], gates * hidden);
    let lstm = node.op() == "LSTM";
    let initial = |index: usize, direction: usize, sample: usize| -> Vec<f64> {
        let place = |i| if layout { [sample, direction, i] } else { [direction, sample, i] };
        (0..hidden).map(|i| node.optional(index).map_or(0.0, |state| state.at(&place(i)))).collect()
    };
    let functions = chosen(node, functions, directions);
    // By direction, sample and step; what lies behind the end of a sequence is 0.
    let mut y = vec![vec![vec![vec![0.0; hidden]; steps]; samples]; directions];
    let mut last = vec![vec![(vec![], vec![]); samples]; directions];
    for direction in 0..directions {
        let reverse = direction == 1 || node.string("direction", "forward") == "reverse";
        for sample in 0..samples {
            let length = node.optional(4).map_or(steps, |lengths| lengths.at(&[sample]) as usize);
            let mut h = initial(5, direction, sample);
            let mut c = if lstm { initial(6, direction, sample) } else { vec![] };
            for step in 0..length {
                let t = if reverse { length - 1 - step } else { step };
                let place = |i| if layout { [sample, t, i] } else { [t, sample, i] };
                let now: Vec<f64> = (0..w.shape[2]).map(|i| x.at(&place(i))).collect();
                let cell = Cell { node, direction, hidden, functions: &functions[direction], now: &now };
                (h, c) = match node.op() {
                    "LSTM" => cell.lstm(&h, &c),
                    "GRU" => (cell.gru(&h), vec![]),
                    _ => (cell.rnn(&h), vec![]),
                };
                y[direction][sample][t].clone_from(&h);
            }
            last[direction][sample] = (h, c);
        }
    }
    let shape =
        if layout { [samples, steps, directions, hidden] } else { [steps, directions, samples, hidden] };
    let all = Array::of(x.kind, &shape, |c| {
        let [t, d, s] = if layout { [c[1], c[2], c[0]] } else { [c[0], c[1], c[2]] };
        y[d][s][t][c[3]]
    });
    let shape = if layout { [samples, directions, hidden] } else { [directions, samples, hidden] };
    let state = |cell: bool| {
        Array::of(x.kind, &shape, |c| {
            let (h, memory) = if layout { &last[c[1]][c[0]] } else { &last[c[0]][c[1]] };
            if cell { memory[c[2]] } else { h[c[2]] }
        })
    };
    let mut results = vec![all, state(false)];
    results.extend(lstm.then(|| state(true)));
    Some(results)
}

type Function = Box<dyn Fn(f64) -> f64>;

/// The activations of each direction; alpha and beta are handed out in order to those that have one.
fn chosen(node: &Node<'_>, defaults: &[&str], directions: usize) -> Vec<Vec<Function>> {
    let named = node.attribute("activations").map(|a| a.strings.clone());
    let named: Option<Vec<String>> =
        named.map(|names| names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect());
    let repeated = (0..directions).flat_map(|_| defaults.iter().map(|name| (*name).to_string()));
    let names = named.unwrap_or_else(|| repeated.collect());
    let (alphas, betas) = (node.floats("activation_alpha"), node.floats("activation_beta"));
    let (mut alphas, mut betas) = (alphas.into_iter(), betas.into_iter());
    let mut alpha = |default: f32| alphas.next().unwrap_or(f64::from(default));
    let mut beta = |default: f32| betas.next().unwrap_or(f64::from(default));
    let mut functions: Vec<Function> = vec![];
    for name in &names {
        functions.push(match name.as_str() {
            "Relu" => Box::new(relu),
            "Tanh" => Box::new(f64::tanh),
            "Sigmoid" => Box::new(sigmoid),
            "Softsign" => Box::new(softsign),
            "Softplus" => Box::new(softplus),
            "Affine" => {
                let (alpha, beta) = (alpha(1.0), beta(0.0));
                Box::new(move |x| alpha * x + beta)
            }
            "LeakyRelu" => {
                let alpha = alpha(0.01);
                Box::new(move |x| leaky_relu(x, alpha))
            }
            "ThresholdedRelu" => {
                let alpha = alpha(1.0);
                // At the threshold itself unlike the operator of this name.
                Box::new(move |x| if x >= alpha { x } else { 0.0 })
            }
            "ScaledTanh" => {
                let (alpha, beta) = (alpha(1.0), beta(1.0));
                Box::new(move |x| alpha * (beta * x).tanh())
            }
            "HardSigmoid" => {
                let (alpha, beta) = (alpha(0.2), beta(0.5));
                Box::new(move |x| hard_sigmoid(x, alpha, beta))
            }
            "Elu" => {
                let alpha = alpha(1.0);
                Box::new(move |x| elu(x, alpha))
            }
            other => panic!("the evaluator does not know the activation {other}"),
        });
    }
    let mut rest = functions.into_iter();
    (0..directions).map(|_| rest.by_ref().take(defaults.len()).collect()).collect()
}

/// One step of one direction of one sample.
struct Cell<'a> {
    node: &'a Node<'a>,
    direction: usize,
    hidden: usize,
    functions: &'a [Function],
    now: &'a [f64],
}

impl Cell<'_> {
    /// A bias: those of W first, then those of R, gate by gate.
    fn bias(&self, gate: usize, i: usize) -> f64 {
        self.node.optional(3).map_or(0.0, |b| b.at(&[self.direction, gate * self.hidden + i]))
    }

    fn of_input(&self, gate: usize, i: usize) -> f64 {
        let row = gate * self.hidden + i;
        self.now.iter().enumerate().map(|(j, v)| v * self.node.x(1).at(&[self.direction, row, j])).sum()
    }

    fn of_state(&self, gate: usize, i: usize, h: &[f64]) -> f64 {
        let row = gate * self.hidden + i;
        h.iter().enumerate().map(|(j, v)| v * self.node.x(2).at(&[self.direction, row, j])).sum()
    }

    fn peephole(&self, gate: usize, i: usize) -> f64 {
        self.node.optional(7).map_or(0.0, |p| p.at(&[self.direction, gate * self.hidden + i]))
    }

    /// An activation of what a gate sums up, clipped. The memory of an LSTM is not clipped before its own
    /// activation: ONNX leaves that open, and onnxruntime does not.
    fn f(&self, function: usize, x: f64) -> f64 {
        let clip = self.node.attribute("clip").map_or(f64::INFINITY, |a| f64::from(a.f()));
        self.functions[function](x.clamp(-clip, clip))
    }

    fn each(&self, f: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..self.hidden).map(f).collect()
    }

    fn rnn(&self, h: &[f64]) -> Vec<f64> {
        self.each(|i| {
            self.f(0, self.of_input(0, i) + self.of_state(0, i, h) + self.bias(0, i) + self.bias(1, i))
        })
    }

    /// Gates z, r, h.
    fn gru(&self, h: &[f64]) -> Vec<f64> {
        let gate = |g: usize, i: usize| {
            self.f(0, self.of_input(g, i) + self.of_state(g, i, h) + self.bias(g, i) + self.bias(g + 3, i))
        };
        let reset = self.each(|i| gate(1, i));
        let shown: Vec<f64> = reset.iter().zip(h).map(|(r, h)| r * h).collect();
        let before = self.node.int("linear_before_reset", 0) != 0;
        self.each(|i| {
            let state = if before {
                reset[i] * (self.of_state(2, i, h) + self.bias(5, i))
            } else {
                self.of_state(2, i, &shown) + self.bias(5, i)
            };
            let new = self.f(1, self.of_input(2, i) + state + self.bias(2, i));
            let z = gate(0, i);
            (1.0 - z) * new + z * h[i]
        })
    }

    /// Gates i, o, f, c and peepholes i, o, f; gives the state and the memory.
    fn lstm(&self, h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let linear = |g: usize, i: usize| {
            self.of_input(g, i) + self.of_state(g, i, h) + self.bias(g, i) + self.bias(g + 4, i)
        };
        let coupled = self.node.int("input_forget", 0) != 0;
        let memory = self.each(|i| {
            let input = self.f(0, linear(0, i) + self.peephole(0, i) * c[i]);
            let forget = self.f(0, linear(2, i) + self.peephole(2, i) * c[i]);
            let forget = if coupled { 1.0 - input } else { forget };
            forget * c[i] + input * self.f(1, linear(3, i))
        });
        let state = self.each(|i| {
            let output = self.f(0, linear(1, i) + self.peephole(1, i) * memory[i]);
            output * self.functions[2](memory[i])
        });
        (state, memory)
    }
}
