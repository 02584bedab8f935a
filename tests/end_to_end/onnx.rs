//! ONNX files by hand: the few fields of onnx.proto that a test needs, as protobuf writes them.

/// The extent of an axis.
pub enum Axis {
    Fixed(u64),
    Symbol(&'static str),
}

/// `ModelProto` of IR 8 and opset 17, from the fields of its graph.
pub fn model(fields: &[Vec<u8>]) -> Vec<u8> {
    let graph = [fields.concat(), bytes(2, b"by hand")].concat();
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
}

/// `y = relu(x W)`, W of `inputs` x `outputs` of noise.
pub fn dense(inputs: usize, outputs: usize) -> Vec<u8> {
    let (k, n) = (inputs as u64, outputs as u64);
    model(&[
        node("MatMul", &["x", "w"], "h"),
        node("Relu", &["h"], "y"),
        initializer("w", &[k, n], &noise(7, inputs * outputs)),
        input("x", &[Axis::Fixed(1), Axis::Fixed(k)]),
        output("y", &[Axis::Fixed(1), Axis::Fixed(n)]),
    ])
}

/// So many numbers from -0.5 to 0.5, the same for the same seed: a linear congruential generator, as Knuth's
/// MMIX has it.
pub fn noise(mut seed: u64, count: usize) -> Vec<f32> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// A node of the graph, named like its operator.
pub fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|input| bytes(1, input.as_bytes())).collect();
    node.extend(bytes(2, output.as_bytes()));
    node.extend(bytes(3, operator.as_bytes()));
    node.extend(bytes(4, operator.as_bytes()));
    bytes(1, &node)
}

/// A weight of the graph: 32-bit floats.
pub fn initializer(name: &str, shape: &[u64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut tensor: Vec<u8> = shape.iter().flat_map(|extent| number(1, *extent)).collect();
    tensor.extend(number(2, 1));
    tensor.extend(bytes(8, name.as_bytes()));
    tensor.extend(bytes(9, &raw));
    bytes(5, &tensor)
}

/// An input of the graph: 32-bit floats.
pub fn input(name: &str, shape: &[Axis]) -> Vec<u8> {
    value(11, name, shape)
}

/// An output of the graph: 32-bit floats.
pub fn output(name: &str, shape: &[Axis]) -> Vec<u8> {
    value(12, name, shape)
}

fn value(field: u32, name: &str, shape: &[Axis]) -> Vec<u8> {
    let axis = |axis: &Axis| match axis {
        Axis::Fixed(extent) => number(1, *extent),
        Axis::Symbol(symbol) => bytes(2, symbol.as_bytes()),
    };
    let shape: Vec<u8> = shape.iter().flat_map(|one| bytes(1, &axis(one))).collect();
    let tensor = [number(1, 1), bytes(2, &shape)].concat();
    bytes(field, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3), varint(value)].concat()
}

fn bytes(field: u32, bytes: &[u8]) -> Vec<u8> {
    [varint(u64::from(field) << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}
