"""onnxruntime as the reference: one thread, no graph optimisations, the nodes as the file has them."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# By opset, the lowest IR version that every reader knows it with.
IR_VERSION = 8
ELEMENT = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.bool_): TensorProto.BOOL,
}

_options = onnxruntime.SessionOptions()
_options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
_options.intra_op_num_threads = _options.inter_op_num_threads = 1
_options.log_severity_level = 4


class ReferenceRefuses(Exception):
    """onnxruntime does not take the model, or not these inputs."""


def run(model_bytes, inputs):
    """The outputs of a model, by name."""
    try:
        session = onnxruntime.InferenceSession(model_bytes, _options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        values = session.run(names, inputs)
    except Exception as error:  # its exceptions share no base class but this one
        raise ReferenceRefuses(str(error).strip().splitlines()[-1][:300]) from None
    return dict(zip(names, (np.asarray(value) for value in values), strict=True))


def run_node(node, operands, opset):
    """The outputs of one node; `operands` are its named inputs, those that are constants marked so."""
    feeds, inputs, constants = {}, [], []
    for name, (array, constant) in operands.items():
        if constant:
            constants.append(numpy_helper.from_array(array, name))
        else:
            feeds[name] = array
            inputs.append(helper.make_tensor_value_info(name, ELEMENT[array.dtype], array.shape))
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "g", inputs, outputs, constants)
    return run(model_of(graph, opset).SerializeToString(), feeds)


def model_of(graph, opset):
    # Opset 7 to 24 and the IR that goes with them.
    ir = IR_VERSION if opset < 19 else 10
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir, producer_name="dunlin-fuzz"
    )


def check(model):
    onnx.checker.check_model(model, full_check=True)


def is_right(operator, operands, result):
    """Whether integers are what NumPy makes of them. onnxruntime compares some int64 by their lower halves in Min, Max
    and Sign, and holds what overflows in a reduction at the largest integer."""
    if result.dtype.kind != "i":
        return True
    if operator in ("Min", "Max"):
        function = np.minimum if operator == "Min" else np.maximum
        expected = operands[0]
        for operand in operands[1:]:
            expected = function(expected, operand)
        return np.array_equal(result, expected)
    if operator == "Sign":
        return np.array_equal(result, np.sign(operands[0]))
    if operator.startswith("Reduce"):
        limits = np.iinfo(result.dtype)
        return limits.min not in result and limits.max not in result
    return True
