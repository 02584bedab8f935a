//! Codes of ONNX and the compiler.

super::codes! {
    TOO_LARGE = "onnx-too-large", Refused,
        "An ONNX file, a tensor in it or what follows from it is larger than the compiler accepts.",
        "The message names the bound; a model of that size does not belong on a small device: shrink or split it.";
    MALFORMED = "onnx-malformed", Refused,
        "An ONNX file is not valid: truncated, not protobuf, not sorted, or one part contradicts another.",
        "Export the model again and check it with `onnx.checker.check_model(model, full_check=True)`.";
    VERSION = "onnx-version", Refused,
        "An ONNX file uses a version of ONNX or of its operator set that the compiler does not know.",
        "Export the model again with one of the opset versions that the message names.";
    UNSUPPORTED_OPERATOR = "onnx-unsupported-operator", Refused,
        "A model uses operators, or forms of them, that the compiler cannot translate.",
        "For each kind the message has the reason, what to do instead, and where it is first and last.";
    UNSUPPORTED_FORM = "onnx-unsupported-form", Refused,
        "A valid ONNX file has something besides its nodes that the compiler does not support.",
        "The message says what it is and how to export the model without it.";
    DECLARED_SHAPE = "onnx-declared-shape", Refused,
        "The nodes of a model make a tensor of another shape than the file declares, so one of them is wrong.",
        "Export the model again; if the nodes are right, take the wrong shape out of the file, or write a name in its place.";
    UNSUPPORTED_DTYPE = "onnx-unsupported-dtype", Refused,
        "A tensor has an element type that the compiler does not support in this place.",
        "Export the model in float32; integers may appear in constants and shapes.";
    EXTERNAL_DATA = "onnx-external-data", Refused,
        "A tensor's numbers lie in another file than the model, and cannot be read from there.",
        "Put the file that the message names in the folder of the model, or save both as one: `onnx.save_model(model, path, save_as_external_data=False)`.";
    DIMENSION_UNBOUND = "onnx-dimension-unbound", Usage,
        "An input has a symbolic axis that is not the shared batch axis, so its size is not known.",
        "Give the shape of the input that the message names: `--input NAME=1,3,32,32`.";
    OPTION = "compile-option", Usage,
        "An option of the compilation does not fit the model.",
        "The message says what the model has; correct the option.";
    MEMORY = "compile-memory", Refused,
        "Weights and arena together do not fit the 4 GiB of a 32-bit memory.",
        "Compile with a smaller `max_batch` or smaller input shapes, or shrink the model.";
    CARD = "compile-card", Refused,
        "The model's inputs and outputs cannot be described in a card: a name, a shape or their number.",
        "The message says which rule is broken; rename or reshape the tensor in the ONNX file.";
    FAULT = "compiler-fault", Failed,
        "The compiler produced a module that does not validate, which is a fault of the compiler.",
        "Report it with the ONNX file; nothing was written.";
    PROFILE = "profile-unavailable", Refused,
        "The layers of a module cannot be told apart: it does not list them, or was not made by this compiler.",
        "Compile the model again with this `dunlin`; modules that are written by hand have no layers.";
}
