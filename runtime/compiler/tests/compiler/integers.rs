//! Arithmetic of int32 and int64 that are known only when the model runs, against the definitions in Rust:
//! wrapping sums and products, division towards zero, both remainders, casts.

use dunlin_abi::DType;
use dunlin_compiler::Options;

use crate::builder::{D, Model, int, ints};
use crate::onnx::tensor_proto::DataType;
use crate::run::Running;

/// Pairs in which everything happens that integers can do: signs, zeros, extremes, more than 32 bits.
fn pairs(wide: bool) -> Vec<(i64, i64)> {
    let (least, most) = if wide { (i64::MIN, i64::MAX) } else { (i32::MIN.into(), i32::MAX.into()) };
    let mut interesting =
        vec![0, 1, -1, 2, -2, 3, -3, 7, -7, 100, 65_536, 16_777_217, least, least + 1, most];
    if wide {
        interesting.extend([1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 32, -(1 << 40), (1 << 53) + 1]);
    }
    interesting.iter().flat_map(|a| interesting.iter().map(move |b| (*a, *b))).collect()
}

fn bytes(values: &[i64], dtype: DataType) -> Vec<u8> {
    values
        .iter()
        .flat_map(|v| {
            if dtype == DataType::Int64 {
                v.to_le_bytes().to_vec()
            } else {
                (*v as i32).to_le_bytes().to_vec()
            }
        })
        .collect()
}

/// Runs a model with operands `a` and `b`, as rows of a symbolic batch, and gives its output as it lies.
fn run(
    operator: &str,
    dtype: DataType,
    pairs: &[(i64, i64)],
    attributes: &[(&str, i64)],
    inputs: &[&str],
) -> (DType, Vec<u8>) {
    let columns = pairs.len() as i64;
    let attributes: Vec<_> = attributes.iter().map(|(name, value)| int(name, *value)).collect();
    let model = Model::new(17)
        .typed_input("a", &[D::Symbol("n"), D::Fixed(columns)], dtype)
        .typed_input("b", &[D::Symbol("n"), D::Fixed(columns)], dtype)
        .node(operator, inputs, "y", &attributes)
        .output("y");
    let mut running = Running::new(&model.bytes(), &Options { max_batch: 2, ..Options::default() });
    let (a, b): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
    running.write_bytes(0, &bytes(&[a.clone(), a].concat(), dtype));
    running.write_bytes(1, &bytes(&[b.clone(), b].concat(), dtype));
    assert_eq!(running.status(2), 0);
    let output = running.compiled.report.card.outputs[0].dtype;
    (output, running.read_bytes(0, pairs.len() * output.size() as usize * 2))
}

/// Checks both samples of an operator of two integers, for both types.
fn check(operator: &str, attributes: &[(&str, i64)], expected: impl Fn(i64, i64) -> i64) {
    for (dtype, wide) in [(DataType::Int32, false), (DataType::Int64, true)] {
        let pairs = pairs(wide);
        let wanted: Vec<i64> = pairs.iter().map(|(a, b)| expected(*a, *b)).collect();
        let wanted = bytes(&[wanted.clone(), wanted].concat(), dtype);
        let (_, actual) = run(operator, dtype, &pairs, attributes, &["a", "b"]);
        assert_eq!(actual, wanted, "{operator} {dtype:?}");
    }
}

#[test]
fn sums_and_products_wrap() {
    check("Add", &[], i64::wrapping_add);
    check("Sub", &[], i64::wrapping_sub);
    check("Mul", &[], i64::wrapping_mul);
    check("Min", &[], i64::min);
    check("Max", &[], i64::max);
}

#[test]
fn division_rounds_towards_zero() {
    check("Div", &[], |a, b| if b == 0 { 0 } else { a.wrapping_div(b) });
}

#[test]
fn remainders_have_the_sign_of_their_attribute() {
    let of_dividend = |a: i64, b: i64| if b == 0 { a } else { a.wrapping_rem(b) };
    check("Mod", &[("fmod", 1)], of_dividend);
    check("Mod", &[], |a, b| {
        let rest = of_dividend(a, b);
        if rest != 0 && (rest < 0) != (b < 0) { rest.wrapping_add(b) } else { rest }
    });
}

#[test]
fn functions_of_one_integer() {
    for (operator, expected) in [
        ("Neg", i64::wrapping_neg as fn(i64) -> i64),
        ("Abs", i64::wrapping_abs),
        ("Sign", i64::signum),
        ("Relu", |a| a.max(0)),
    ] {
        for (dtype, wide) in [(DataType::Int32, false), (DataType::Int64, true)] {
            let pairs = pairs(wide);
            let wanted: Vec<i64> = pairs.iter().map(|(a, _)| expected(*a)).collect();
            let (_, actual) = run(operator, dtype, &pairs, &[], &["a"]);
            assert_eq!(actual, bytes(&[wanted.clone(), wanted].concat(), dtype), "{operator} {dtype:?}");
        }
    }
}

#[test]
fn comparisons_give_truth_values() {
    for (operator, expected) in [
        ("Equal", (|a, b| a == b) as fn(i64, i64) -> bool),
        ("Less", |a, b| a < b),
        ("LessOrEqual", |a, b| a <= b),
        ("Greater", |a, b| a > b),
        ("GreaterOrEqual", |a, b| a >= b),
    ] {
        for (dtype, wide) in [(DataType::Int32, false), (DataType::Int64, true)] {
            let pairs = pairs(wide);
            let wanted: Vec<u8> = pairs.iter().map(|(a, b)| expected(*a, *b).into()).collect();
            let (output, actual) = run(operator, dtype, &pairs, &[], &["a", "b"]);
            assert_eq!(
                (output, actual),
                (DType::Bool, [wanted.clone(), wanted].concat()),
                "{operator} {dtype:?}"
            );
        }
    }
}

#[test]
fn integers_are_cast_and_chosen() {
    // y = where(x > 2^33, int64(x as float32), x), z = float32(x), w = int32(x)
    let model = Model::new(17)
        .typed_input("x", &[D::Fixed(5)], DataType::Int64)
        .i64("limit", &[], &[1 << 33])
        .node("Greater", &["x", "limit"], "large", &[])
        .node("Cast", &["x"], "z", &[int("to", DataType::Float as i64)])
        .node("Cast", &["z"], "rounded", &[int("to", DataType::Int64 as i64)])
        .node("Where", &["large", "rounded", "x"], "y", &[])
        .node("Cast", &["x"], "w", &[int("to", DataType::Int32 as i64)])
        .output("y")
        .output("z")
        .output("w");
    let x = [(1i64 << 40) + 1, 3_000_000_000, -3_000_000_001, (1 << 33) + 1, 7];
    let mut running = Running::new(&model.bytes(), &Options::default());
    running.write_bytes(0, &bytes(&x, DataType::Int64));
    assert_eq!(running.status(1), 0);
    let y = [1i64 << 40, 3_000_000_000, -3_000_000_001, 1 << 33, 7];
    assert_eq!(running.read_bytes(0, 40), bytes(&y, DataType::Int64));
    assert_eq!(running.read(1, 1), x.map(|v| v as f32));
    let w: Vec<u8> = x.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect();
    assert_eq!(running.read_bytes(2, 20), w);
}

#[test]
fn integers_are_moved_and_reduced() {
    // A transposed, padded by Concat, gathered and summed tensor of integers beyond 32 bits.
    let model = Model::new(18)
        .typed_input("x", &[D::Fixed(2), D::Fixed(3)], DataType::Int64)
        .i64("more", &[3, 1], &[5, 6, 7 << 40])
        .i64("axis", &[1], &[1])
        .node("Transpose", &["x"], "t", &[])
        .node("Concat", &["t", "more"], "c", &[int("axis", 1)])
        .node("ReduceSum", &["c", "axis"], "sum", &[int("keepdims", 0)])
        .node("ReduceMax", &["c", "axis"], "max", &[int("keepdims", 0)])
        .node("ArgMin", &["c"], "least", &[int("axis", 0), int("keepdims", 0)])
        .output("c")
        .output("sum")
        .output("max")
        .output("least");
    let x = [1i64 << 50, 2, 3, -(1 << 50), -5, 6];
    let mut running = Running::new(&model.bytes(), &Options::default());
    running.write_bytes(0, &bytes(&x, DataType::Int64));
    assert_eq!(running.status(1), 0);
    let expected: [&[i64]; 4] = [
        &[1 << 50, -(1 << 50), 5, 2, -5, 6, 3, 6, 7 << 40],
        &[5, 3, 9 + (7 << 40)],
        &[1 << 50, 6, 7 << 40],
        &[1, 0, 0],
    ];
    for (index, expected) in (0i32..).zip(expected) {
        let actual = running.read_bytes(index, expected.len() * 8);
        assert_eq!(actual, bytes(expected, DataType::Int64), "output {index}");
    }
}

#[test]
fn places_of_extremes_are_found() {
    for (operator, last, expected) in
        [("ArgMax", 0, [2i64, 0]), ("ArgMax", 1, [3, 3]), ("ArgMin", 0, [0, 0]), ("ArgMin", 1, [1, 3])]
    {
        let attributes = [int("axis", 1), int("keepdims", 0), int("select_last_index", last)];
        let model = Model::new(13)
            .input("x", &[D::Symbol("n"), D::Fixed(4)])
            .node(operator, &["x"], "y", &attributes)
            .output("y");
        let mut running = Running::new(&model.bytes(), &Options { max_batch: 2, ..Options::default() });
        running.write(0, &[-1.0, -1.0, 4.0, 4.0, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(running.status(2), 0);
        assert_eq!(running.read_bytes(0, 16), bytes(&expected, DataType::Int64), "{operator} {last}");
    }
}

#[test]
fn known_integers_are_folded_like_those_on_the_device() {
    for (operator, attributes) in
        [("Add", vec![]), ("Mul", vec![]), ("Div", vec![]), ("Mod", vec![int("fmod", 0)])]
    {
        let pairs: Vec<(i64, i64)> = pairs(true)
            .into_iter()
            .filter(|(a, b)| a.unsigned_abs() < 1 << 50 && b.unsigned_abs() < 1 << 9)
            .collect();
        let (a, b): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
        let count = pairs.len() as i64;
        let model = Model::new(17)
            .typed_input("x", &[D::Fixed(count)], DataType::Int64)
            .i64("a", &[count], &a)
            .i64("b", &[count], &b)
            .i64("zero", &[1], &[0])
            .node(operator, &["a", "b"], "folded", &attributes)
            .node("Mul", &["x", "zero"], "nothing", &[])
            .node("Add", &["a", "nothing"], "given", &[])
            .node(operator, &["given", "b"], "computed", &attributes)
            .node("Add", &["folded", "nothing"], "folded_out", &[])
            .output("folded_out")
            .output("computed");
        let mut running = Running::new(&model.bytes(), &Options::default());
        assert_eq!(running.status(1), 0);
        let bytes = pairs.len() * 8;
        assert_eq!(running.read_bytes(0, bytes), running.read_bytes(1, bytes), "{operator}");
    }
}

#[test]
fn axes_of_integers_repeat_and_lie_anywhere() {
    let model = Model::new(17)
        .typed_input("x", &[D::Fixed(2), D::Fixed(1), D::Fixed(3)], DataType::Int32)
        .typed_input("y", &[D::Fixed(4), D::Fixed(1)], DataType::Int32)
        .node("Transpose", &["x"], "t", &[ints("perm", &[2, 1, 0])])
        .node("Sub", &["y", "x"], "a", &[])
        .node("Neg", &["t"], "b", &[])
        .output("a")
        .output("b");
    let mut running = Running::new(&model.bytes(), &Options::default());
    running.write_bytes(0, &bytes(&[1, 2, 3, 4, 5, 6], DataType::Int32));
    running.write_bytes(1, &bytes(&[10, 20, 30, 40], DataType::Int32));
    assert_eq!(running.status(1), 0);
    let a: Vec<i64> =
        (0..2).flat_map(|i| (1..5).flat_map(move |j| (1..4).map(move |k| j * 10 - (i * 3 + k)))).collect();
    assert_eq!(running.read_bytes(0, 96), bytes(&a, DataType::Int32));
    assert_eq!(running.read_bytes(1, 24), bytes(&[-1, -4, -2, -5, -3, -6], DataType::Int32));
}
