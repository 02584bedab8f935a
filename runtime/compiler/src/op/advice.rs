//! What to do about operators that the compiler does not know: the tool, the flag or the place to cut.

/// Numbers of fewer bits.
const QUANTIZED: &str = "compile the float32 model that was quantized; `--weights f16` halves a module";
/// Control flow and lists of tensors.
const DYNAMIC: &str = "export it with fixed shapes, so that the exporter unrolls it, or fold it with \
                       `python -m onnxsim model.onnx simple.onnx`";
/// Results whose size depends on data.
const BEHIND: &str =
    "end the model before it with `onnx.utils.extract_model`, and do the rest in the application";
/// Work on text.
const BEFORE: &str =
    "begin the model behind it with `onnx.utils.extract_model`, and do the rest in the application";

/// What to do about an operator of ONNX's own domain that is not in the table.
pub(super) fn for_operator(name: &str) -> &'static str {
    match name {
        "ConvInteger"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "MatMulInteger"
        | "QLinearConv"
        | "QLinearMatMul"
        | "QuantizeLinear" => QUANTIZED,
        "ConcatFromSequence" | "If" | "Loop" | "Optional" | "OptionalGetElement" | "OptionalHasElement"
        | "ReverseSequence" | "Scan" | "SequenceAt" | "SequenceConstruct" | "SequenceEmpty"
        | "SequenceErase" | "SequenceInsert" | "SequenceLength" | "SequenceMap" | "SplitToSequence" => {
            DYNAMIC
        }
        "Compress" | "ImageDecoder" | "MaxRoiPool" | "NonMaxSuppression" | "NonZero" | "RoiAlign"
        | "TopK" | "Unique" => BEHIND,
        "RegexFullMatch" | "StringConcat" | "StringNormalizer" | "StringSplit" | "TfIdfVectorizer" => BEFORE,
        "Bernoulli" | "Multinomial" | "RandomNormal" | "RandomNormalLike" | "RandomUniform"
        | "RandomUniformLike" => "export the model for inference: `model.eval()`",
        _ => "express it with those that `docs/compiler.md` lists, or add it as that page shows",
    }
}

/// What to do about operators of another domain.
pub(super) fn for_domain(domain: &str) -> &'static str {
    match domain {
        "ai.onnx.ml" => {
            "turn the model into operators on tensors before the export, for example with \
             `hummingbird.ml.convert(model, 'onnx', x)`"
        }
        "ai.onnx.preview.training" | "ai.onnx.training" => "export the model for inference: `model.eval()`",
        "com.microsoft" | "com.microsoft.nchwc" => {
            "take the model from before onnxruntime's optimizer or quantizer"
        }
        _ => "export the model with ONNX's own operators",
    }
}
