//! ONNX's operators: a file a family, and a line an operator in [`OPERATORS`].
//!
//! An operator's `lower` function reads the node through a [`Call`], checks it, works out the shape
//! of the result and adds what computes it to the graph. Where all operands are constants, the result
//! is one too: shapes depend on it, so folding happens here and not in a later pass.

mod activation;
mod advice;
mod attention;
mod batch_norm;
mod blocks;
mod broadcast;
mod call;
mod cast;
mod choice;
mod concat;
mod constant;
mod conv;
mod conv_transpose;
mod einsum;
mod elementwise;
mod gather;
mod generate;
mod identity;
mod integer;
mod matmul;
mod normalize;
mod pad;
mod pool;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod softmax;
mod squeeze;
mod transpose;
mod trilu;
mod window;

use std::ops::RangeInclusive;

use crate::error::CompileError;
use crate::graph::{Graph, ValueId};
use crate::import::onnx::NodeProto;
use crate::import::{is_onnx_domain, node_name};
pub(crate) use call::Call;

/// Why a node was not translated.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is valid, but we cannot do it.
    Unsupported {
        /// Why not.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// It breaks a rule of ONNX.
    Malformed(String),
    /// Shapes do not go together. Where the batch is open, or shapes were given as options, a valid file gets
    /// here; else it breaks a rule of ONNX.
    Shapes(String),
    /// Something that ends the compilation at once.
    Compile(CompileError),
}

impl Refusal {
    pub(crate) fn unsupported(reason: impl Into<String>, remedy: impl Into<String>) -> Refusal {
        Refusal::Unsupported { reason: reason.into(), remedy: remedy.into() }
    }

    pub(crate) fn malformed(reason: impl Into<String>) -> Refusal {
        Refusal::Malformed(reason.into())
    }

    pub(crate) fn shapes(reason: impl Into<String>) -> Refusal {
        Refusal::Shapes(reason.into())
    }

    /// Valid, but no tensor here is that large.
    pub(crate) fn too_large(what: &str) -> Refusal {
        Refusal::unsupported(format!("{what} is too large"), "make the model's inputs or this layer smaller")
    }
}

impl From<CompileError> for Refusal {
    fn from(error: CompileError) -> Refusal {
        Refusal::Compile(error)
    }
}

/// An operator of ONNX's own domain.
pub(crate) struct Operator {
    /// ONNX's name.
    name: &'static str,
    /// How many inputs a node may have.
    inputs: RangeInclusive<usize>,
    /// Every attribute that `lower` understands; any other is refused.
    attributes: &'static [&'static str],
    /// Translates one node.
    lower: fn(&mut Call<'_>) -> Result<ValueId, Refusal>,
}

const fn operator(
    name: &'static str,
    inputs: RangeInclusive<usize>,
    attributes: &'static [&'static str],
    lower: fn(&mut Call<'_>) -> Result<ValueId, Refusal>,
) -> Operator {
    Operator { name, inputs, attributes, lower }
}

/// Every operator that the compiler knows, by name.
#[rustfmt::skip]
const OPERATORS: &[Operator] = &[
    operator("Abs",                1..=1, &[], elementwise::abs),
    operator("Add",                2..=2, &[], elementwise::add),
    operator("And",                2..=2, &[], elementwise::and),
    operator("ArgMax",             1..=1, &["axis", "keepdims", "select_last_index"], reduce::arg),
    operator("ArgMin",             1..=1, &["axis", "keepdims", "select_last_index"], reduce::arg),
    operator("Attention",          3..=7, &["is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap", "softmax_precision"], attention::lower),
    operator("AveragePool",        1..=1, &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"], pool::average_pool),
    operator("BatchNormalization", 5..=5, &["epsilon", "momentum", "training_mode", "spatial"], batch_norm::lower),
    operator("Cast",               1..=1, &["to", "saturate", "round_mode"], cast::lower),
    operator("Ceil",               1..=1, &[], elementwise::ceil),
    operator("Celu",               1..=1, &["alpha"], activation::celu),
    operator("Clip",               1..=3, &["min", "max"], choice::clip),
    operator("Concat",             1..=usize::MAX, &["axis"], concat::lower),
    operator("Constant",           0..=0, &["value", "value_float", "value_floats", "value_int", "value_ints"], constant::lower),
    operator("ConstantOfShape",    1..=1, &["value"], generate::constant_of_shape),
    operator("Conv",               2..=3, &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"], conv::lower),
    operator("ConvTranspose",      2..=3, &["auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"], conv_transpose::lower),
    operator("Cos",                1..=1, &[], elementwise::cos),
    operator("DepthToSpace",       1..=1, &["blocksize", "mode"], blocks::depth_to_space),
    operator("Div",                2..=2, &[], elementwise::div),
    operator("Dropout",            1..=3, &["ratio", "seed"], identity::dropout),
    operator("Einsum",             1..=usize::MAX, &["equation"], einsum::lower),
    operator("Elu",                1..=1, &["alpha"], activation::elu),
    operator("Equal",              2..=2, &[], elementwise::equal),
    operator("Erf",                1..=1, &[], elementwise::erf),
    operator("Exp",                1..=1, &[], elementwise::exp),
    operator("Expand",             2..=2, &[], transpose::expand),
    operator("Flatten",            1..=1, &["axis"], reshape::flatten),
    operator("Floor",              1..=1, &[], elementwise::floor),
    operator("GRU",                3..=6, &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout", "linear_before_reset"], recurrent::gru),
    operator("Gather",             2..=2, &["axis"], gather::lower),
    operator("Gelu",               1..=1, &["approximate"], activation::gelu),
    operator("Gemm",               2..=3, &["alpha", "beta", "transA", "transB"], matmul::gemm),
    operator("GlobalAveragePool",  1..=1, &[], reduce::global_mean),
    operator("GlobalLpPool",       1..=1, &["p"], pool::global_lp_pool),
    operator("GlobalMaxPool",      1..=1, &[], reduce::global_max),
    operator("Greater",            2..=2, &[], elementwise::greater),
    operator("GreaterOrEqual",     2..=2, &[], elementwise::greater_or_equal),
    operator("GroupNormalization", 3..=3, &["epsilon", "num_groups", "stash_type"], normalize::group),
    operator("HardSigmoid",        1..=1, &["alpha", "beta"], activation::hard_sigmoid),
    operator("HardSwish",          1..=1, &[], elementwise::hard_swish),
    operator("Hardmax",            1..=1, &["axis"], softmax::hardmax),
    operator("Identity",           1..=1, &[], identity::identity),
    operator("InstanceNormalization", 3..=3, &["epsilon"], normalize::instance),
    operator("IsInf",              1..=1, &["detect_negative", "detect_positive"], elementwise::is_inf),
    operator("IsNaN",              1..=1, &[], elementwise::is_nan),
    operator("LSTM",               3..=8, &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget", "layout"], recurrent::lstm),
    operator("LayerNormalization", 2..=3, &["axis", "epsilon", "stash_type"], normalize::layer),
    operator("LeakyRelu",          1..=1, &["alpha"], activation::leaky_relu),
    operator("Less",               2..=2, &[], elementwise::less),
    operator("LessOrEqual",        2..=2, &[], elementwise::less_or_equal),
    operator("Log",                1..=1, &[], elementwise::log),
    operator("LogSoftmax",         1..=1, &["axis"], softmax::log_softmax),
    operator("LpNormalization",    1..=1, &["axis", "p"], normalize::lp),
    operator("LpPool",             1..=1, &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "p", "pads", "strides"], pool::lp_pool),
    operator("MatMul",             2..=2, &[], matmul::lower),
    operator("Max",                1..=usize::MAX, &[], elementwise::max),
    operator("MaxPool",            1..=1, &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"], pool::max_pool),
    operator("Mean",               1..=usize::MAX, &[], elementwise::mean),
    operator("MeanVarianceNormalization", 1..=1, &["axes"], normalize::mean_variance),
    operator("Min",                1..=usize::MAX, &[], elementwise::min),
    operator("Mish",               1..=1, &[], elementwise::mish),
    operator("Mod",                2..=2, &["fmod"], elementwise::modulo),
    operator("Mul",                2..=2, &[], elementwise::mul),
    operator("Neg",                1..=1, &[], elementwise::neg),
    operator("Not",                1..=1, &[], elementwise::not),
    operator("Or",                 2..=2, &[], elementwise::or),
    operator("PRelu",              2..=2, &[], activation::prelu),
    operator("Pad",                1..=4, &["mode", "pads", "value"], pad::lower),
    operator("Pow",                2..=2, &[], elementwise::pow),
    operator("RMSNormalization",   2..=2, &["axis", "epsilon", "stash_type"], normalize::rms),
    operator("RNN",                3..=6, &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"], recurrent::rnn),
    operator("Range",              3..=3, &[], generate::range),
    operator("Reciprocal",         1..=1, &[], elementwise::reciprocal),
    operator("ReduceL1",           1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::l1),
    operator("ReduceL2",           1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::l2),
    operator("ReduceLogSum",       1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::log_sum),
    operator("ReduceLogSumExp",    1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::log_sum_exp),
    operator("ReduceMax",          1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::max),
    operator("ReduceMean",         1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::mean),
    operator("ReduceMin",          1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::min),
    operator("ReduceProd",         1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::product),
    operator("ReduceSum",          1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::sum),
    operator("ReduceSumSquare",    1..=2, &["axes", "keepdims", "noop_with_empty_axes"], reduce::sum_square),
    operator("Relu",               1..=1, &[], elementwise::relu),
    operator("Reshape",            2..=2, &["allowzero"], reshape::reshape),
    operator("Resize",             1..=4, &["antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode"], resize::lower),
    operator("Round",              1..=1, &[], elementwise::round),
    operator("Selu",               1..=1, &["alpha", "gamma"], activation::selu),
    operator("Shape",              1..=1, &["start", "end"], concat::shape),
    operator("Shrink",             1..=1, &["bias", "lambd"], activation::shrink),
    operator("Sigmoid",            1..=1, &[], elementwise::sigmoid),
    operator("Sign",               1..=1, &[], elementwise::sign),
    operator("Sin",                1..=1, &[], elementwise::sin),
    operator("Size",               1..=1, &[], concat::size),
    operator("Slice",              1..=5, &["starts", "ends", "axes"], transpose::slice),
    operator("Softmax",            1..=1, &["axis"], softmax::softmax),
    operator("Softplus",           1..=1, &[], elementwise::softplus),
    operator("Softsign",           1..=1, &[], elementwise::softsign),
    operator("SpaceToDepth",       1..=1, &["blocksize"], blocks::space_to_depth),
    operator("Split",              1..=2, &["axis", "split", "num_outputs"], concat::split),
    operator("Sqrt",               1..=1, &[], elementwise::sqrt),
    operator("Squeeze",            1..=2, &["axes"], squeeze::squeeze),
    operator("Sub",                2..=2, &[], elementwise::sub),
    operator("Sum",                1..=usize::MAX, &[], elementwise::sum),
    operator("Swish",              1..=1, &["alpha"], activation::swish),
    operator("Tan",                1..=1, &[], elementwise::tan),
    operator("Tanh",               1..=1, &[], elementwise::tanh),
    operator("ThresholdedRelu",    1..=1, &["alpha"], activation::thresholded_relu),
    operator("Tile",               2..=2, &[], generate::tile),
    operator("Transpose",          1..=1, &["perm"], transpose::transpose),
    operator("Trilu",              1..=2, &["upper"], trilu::lower),
    operator("Unsqueeze",          1..=2, &["axes"], squeeze::unsqueeze),
    operator("Upsample",           1..=2, &["mode", "scales"], resize::upsample),
    operator("Where",              3..=3, &[], choice::choose),
    operator("Xor",                2..=2, &[], elementwise::xor),
];

/// The operators that can work with samples that are joined with other axes: those that find their axes
/// through [`Call::sample_axis`], or do the same with every element.
#[rustfmt::skip]
const JOINED: &[&str] = &[
    "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Concat", "Cos", "Div", "Dropout", "Elu", "Equal", "Erf",
    "Exp", "Floor", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf",
    "IsNaN", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization",
    "MatMul", "Max", "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
    "Pow", "RMSNormalization", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape",
    "Round", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Size", "Slice", "Softmax", "Softplus",
    "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Transpose",
    "Unsqueeze", "Where", "Xor",
];

/// The operator of a node.
pub(crate) fn find(node: &NodeProto) -> Result<&'static Operator, Refusal> {
    if !is_onnx_domain(node.domain()) {
        let reason = format!("the compiler does not know operators of the domain {:?}", node.domain());
        return Err(Refusal::unsupported(reason, advice::for_domain(node.domain())));
    }
    OPERATORS.iter().find(|operator| operator.name == node.op_type()).ok_or_else(|| {
        let reason = "the compiler does not know this operator";
        Refusal::unsupported(reason, advice::for_operator(node.op_type()))
    })
}

/// The most inputs of a node: passes take time by the square of the number of nodes that it becomes.
const MAX_INPUTS: u64 = 1 << 11;

/// Translates one node with its operator.
pub(crate) fn lower(
    operator: &Operator,
    node: &NodeProto,
    inputs: Vec<Option<ValueId>>,
    graph: &mut Graph,
    opset: i64,
) -> Result<Results, Refusal> {
    let (actual, limit) = (inputs.len() as u64, MAX_INPUTS);
    if actual > limit {
        let what = format!("node {:?}", node_name(node));
        return Err(CompileError::TooLarge { what, actual, limit, unit: "inputs" }.into());
    }
    if !operator.inputs.contains(&inputs.len()) {
        let (least, most) = (operator.inputs.start(), operator.inputs.end());
        return Err(Refusal::malformed(format!("it has {} inputs, not {least} to {most}", inputs.len())));
    }
    for (index, attribute) in node.attribute.iter().enumerate() {
        let name = attribute.name();
        if !operator.attributes.contains(&name) {
            return Err(Refusal::unsupported(
                format!("the attribute {name:?} is not known"),
                "export the model with the standard attributes",
            ));
        }
        if node.attribute[..index].iter().any(|earlier| earlier.name() == name) {
            return Err(Refusal::malformed(format!("the attribute {name:?} is there twice")));
        }
    }
    let joined = inputs.iter().flatten().find(|id| graph.value(**id).shape.is_joined());
    if let Some(input) = joined.filter(|_| !JOINED.contains(&operator.name)) {
        let reason = format!("its input has the shape {}", graph.value(*input).shape);
        return Err(Refusal::unsupported(reason, call::FIX_BATCH));
    }
    let mut call = Call { node, inputs, graph, opset, further: Vec::new() };
    let first = (operator.lower)(&mut call)?;
    Ok(Results { first, further: call.further })
}

/// What a node makes.
pub(crate) struct Results {
    /// Its first result.
    first: ValueId,
    /// Those behind it, by their places.
    further: Vec<(usize, ValueId)>,
}

impl Results {
    /// The result in a place of the node's list; `None` if it is not computed.
    pub(crate) fn at(&self, place: usize) -> Option<ValueId> {
        match place {
            0 => Some(self.first),
            _ => self.further.iter().find(|(other, _)| *other == place).map(|(_, value)| *value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OPERATORS;

    #[test]
    fn the_table_is_sorted_and_without_duplicates() {
        assert!(OPERATORS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
