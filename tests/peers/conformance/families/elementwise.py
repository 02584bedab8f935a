"""Arithmetic, activations, comparisons, logic, choices and casts; floats, int32, int64 and truth values."""

import numpy as np
from onnx import TensorProto

from conformance.builder import NotPossible, suits
from conformance.families.registry import step

ACTIVATIONS = [
    "Relu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softsign",
    "Gelu",
    "Mish",
    "Swish",
    "ThresholdedRelu",
    "Shrink",
    "PRelu",
]
SINCE = {"Celu": 12, "HardSwish": 14, "Gelu": 20, "Mish": 18, "Swish": 24, "ThresholdedRelu": 10, "Shrink": 9}
INTEGERS = (np.int32, np.int64)


def number_type(b, integers=0.3):
    return b.pick(INTEGERS) if b.chance(integers) else np.float32


def scalar(b, low, high):
    return float(np.float32(b.rng.uniform(low, high)))


def activation(b, operator, x):
    """An activation of x, with attributes by chance."""
    attributes = {}
    if operator in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "HardSigmoid", "Swish") and b.chance(0.6):
        attributes["alpha"] = scalar(b, 0.1, 1.2)
    if operator == "HardSigmoid" and b.chance(0.5):
        attributes["beta"] = scalar(b, 0.1, 0.7)
    if operator == "Selu" and b.chance(0.4):
        attributes = {"alpha": scalar(b, 1, 2), "gamma": scalar(b, 1, 1.3)}
    if operator == "Gelu" and b.chance(0.5):
        attributes["approximate"] = "tanh"
    jumps = None
    if operator == "ThresholdedRelu":
        jumps = x.array - np.float32(attributes.get("alpha", 1.0))
    if operator == "Shrink":
        attributes = {"lambd": scalar(b, 0, 0.9), "bias": scalar(b, 0, 0.5)}
        jumps = np.abs(x.array) - attributes["lambd"]
    if operator == "PRelu":
        slope = b.numbers([1 if b.chance(0.3) else e for e in x.shape[x.first :]])
        return b.node("PRelu", [x, b.constant(slope) if b.chance(0.7) else b.input(slope.shape)])
    return b.node(operator, [x], jumps=jumps, **attributes)


for _name in ACTIVATIONS:
    step(_name, since=SINCE.get(_name, 7))(lambda b, operator: activation(b, operator, b.some()))


@step("Add", "Sub", "Mul")
def arithmetic(b, operator):
    x = b.some(dtype=number_type(b))
    y = x if b.chance(0.05) else b.operand(x)
    pair = [x, y] if b.chance(0.6) else [y, x]
    return b.node(operator, pair, exact=False)


@step("Div")
def div(b, operator):
    x = b.some(dtype=number_type(b))
    return b.node(operator, [x, b.operand(x, "nonzero")])


@step("Mod", since=10)
def modulo(b, operator):
    x = b.some(dtype=number_type(b, 0.7))
    y = b.operand(x, "nonzero")
    jumps = None
    if x.is_float:
        quotient = np.divide(*np.broadcast_arrays(x.array, y.array))
        jumps = quotient - np.round(quotient)
        if np.abs(quotient).max() > 50:
            raise NotPossible("the remainder of a large quotient")
    return b.node(operator, [x, y], jumps=jumps, **({"fmod": 1} if x.is_float or b.chance(0.4) else {}))


@step("Max", "Min", since=12)
def extremes_of_numbers(b, operator):
    x = b.some(dtype=number_type(b))
    return b.node(operator, [x, *(b.operand(x) for _ in range(b.integer(0, 3)))])


@step("Max", "Min", "Sum", "Mean", since=8)
def of_several(b, operator):
    x = b.some()
    return b.node(operator, [x, *(b.operand(x) for _ in range(b.integer(0, 3)))])


@step("Abs", "Neg")
def sign_changes(b, operator):
    return b.node(operator, [b.some(dtype=number_type(b))])


@step("Sign", since=9)
def sign(b, operator):
    x = b.some(dtype=number_type(b))
    return b.node(operator, [x], jumps=x.array if x.is_float else None)


@step("Ceil", "Floor")
def rounding(b, operator):
    x = b.some()
    return b.node(operator, [x], jumps=x.array - np.round(x.array))


@step("Round", since=11)
def to_nearest(b, operator):
    x = b.some()
    return b.node(operator, [x], jumps=x.array - np.floor(x.array) - np.float32(0.5))


@step("Exp", "Sin", "Cos", "Erf", since=9)
def smooth(b, operator):
    return b.node(operator, [b.some(lambda v: np.abs(v.array).max() < 6)])


@step("Tan")
def tan(b, operator):
    x = b.some(lambda v: np.abs(v.array).max() < 6)
    if np.abs(np.cos(x.array)).min() < 0.05:
        x = b.node("Mul", [x, b.constant(np.float32(0.2))])
    return b.node(operator, [x])


@step("Log", "Sqrt", "Reciprocal")
def positive_only(b, operator):
    x = b.some()
    if not suits(x.array, "positive"):
        x = b.node("Add", [b.node("Abs", [x]), b.constant(np.float32(0.5))])
    return b.node(operator, [x])


@step("Pow")
def power(b, operator):
    x = b.some(lambda v: np.abs(v.array).max() < 8)
    if b.chance(0.5):
        return b.node(operator, [x, b.constant(np.float32(b.pick([2, 3, 1, 0, 4])))])
    x = b.node("Add", [b.node("Abs", [x]), b.constant(np.float32(0.5))])
    if b.chance(0.6):
        return b.node(operator, [x, b.constant(np.float32(b.pick([0.5, -1, -0.5, 1.7, -2])))])
    y = b.operand(x)
    if np.abs(y.array).max() > 4:
        y = b.node("Tanh", [y])
    return b.node(operator, [x, y])


@step("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", since=16)
@step("Greater", "Less", since=9)
@step("Equal", since=11)
def comparison(b, operator):
    dtype = number_type(b, 0.5)
    if operator == "Equal" and b.chance(0.15):
        dtype = np.bool_
    x = b.some(dtype=dtype)
    y = b.operand(x)
    jumps = None
    if x.is_float:
        jumps = np.subtract(x.array, y.array)
    compared = b.node(operator, [x, y], jumps=jumps)
    return consume_truth(b, compared)


@step("And", "Or", "Xor")
def logic(b, operator):
    x = b.some(dtype=np.bool_)
    return b.node(operator, [x, b.operand(x)])


@step("Not")
def negation(b, operator):
    return b.node(operator, [b.some(dtype=np.bool_)])


@step("IsNaN", since=9)
@step("IsInf", since=10)
def classes_of_floats(b, operator):
    x = b.some()
    special = b.chance(0.6)
    if special:
        array = b.numbers(b.shape(2))
        array = np.where(
            b.rng.random(array.shape) < 0.4, b.rng.choice([np.nan, np.inf, -np.inf], array.shape), array
        )
        b.not_finite = True
        x = b.input(array.shape)
        x.array = np.asarray(
            np.broadcast_to(array, x.shape) if x.array.ndim != array.ndim else array, np.float32
        )
    attributes = {}
    if operator == "IsInf":
        attributes = b.pick([{}, {"detect_negative": 0}, {"detect_positive": 0}])
    found = b.node(operator, [x], **attributes)
    if special:
        # What reductions make of NaN, no two implementations agree on: choose between the input and a number.
        b.values.remove(x)
        if b.opset >= 9 and b.chance(0.5):
            chosen = b.node("Where", [found, b.operand(found, dtype=np.float32), x])
            if not np.isfinite(chosen.array).all():
                b.values.remove(chosen)
            return chosen
    return consume_truth(b, found)


def consume_truth(b, value):
    """Truth values stay, choose, or become numbers."""
    if b.chance(0.4):
        return value
    if b.chance(0.5) and b.opset >= 9:
        return choose(b, "Where", value)
    return b.node("Cast", [value], to=b.pick([TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64]))


@step("Where", since=9)
def where(b, operator):
    return choose(b, operator, b.some(dtype=np.bool_))


def choose(b, operator, condition):
    dtype = np.bool_ if b.chance(0.1) and b.opset >= 16 else number_type(b)
    first = b.operand(condition, dtype=dtype)
    second = b.operand(condition, dtype=dtype)
    return b.node(operator, [condition, first, second])


@step("Clip", since=11)
def clip(b, operator):
    dtype = number_type(b) if b.opset >= 12 else np.float32
    x = b.some(dtype=dtype)
    low, high = (
        sorted(b.rng.integers(-3, 4, 2).tolist())
        if dtype != np.float32
        else sorted([scalar(b, -2, 1), scalar(b, 0, 2)])
    )

    def bound(value):
        if b.chance(0.2):
            return None
        return b.constant(np.asarray(value, dtype))

    return b.node(operator, [x, bound(low), bound(high)])


@step("Clip", until=10)
def clip_by_attributes(b, operator):
    return b.node(operator, [b.some()], min=scalar(b, -2, 0), max=scalar(b, 0, 2))


@step("Cast", since=9)
def cast(b, operator):
    source = b.pick([np.float32, np.float32, np.int32, np.int64, np.bool_])
    target = b.pick([TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL])
    x = b.some(dtype=source)
    jumps = None
    if x.is_float and target != TensorProto.FLOAT:
        jumps = x.array if target == TensorProto.BOOL else x.array - np.round(x.array)
        if not np.isfinite(x.array).all():
            raise NotPossible("an integer of what is not finite")
    return b.node(operator, [x], jumps=jumps, to=target)


@step("Gather")
def gather(b, operator):
    x = b.some(lambda v: len(v.axes) > 0, dtype=b.pick([np.float32, np.float32, np.int64]))
    axis = b.pick(list(x.axes))
    extent = x.shape[axis]
    least = -extent if b.opset >= 11 else 0
    shape = b.pick([[], [1], [b.integer(1, 4)], [2, b.integer(1, 3)]])
    indices = np.asarray(b.rng.integers(least, extent, shape), b.pick(INTEGERS))
    return b.node(operator, [x, b.constant(indices)], axis=b.either_sign(axis, x.rank))


@step("Gather")
def embedding(b, operator):
    """A table that is known, with indices that are not."""
    table = b.constant(
        b.numbers([b.integer(1, 9), b.extent()], b.pick([np.float32, np.float32, np.int64, np.int32]))
    )
    if b.chance(0.5):
        indices = b.input(b.shape(b.integer(1, 2)), b.pick(INTEGERS))
        extent = table.shape[0]
        indices.array = np.asarray(
            b.rng.integers(-extent if b.opset >= 11 else 0, extent, indices.shape), indices.dtype
        )
    else:
        whole = b.some(dtype=b.pick(INTEGERS))
        if b.opset < 12:
            raise NotPossible("no Clip of integers")
        limits = [b.constant(np.asarray(limit, whole.dtype)) for limit in (0, table.shape[0] - 1)]
        indices = b.node("Clip", [whole, *limits])
    return b.node(operator, [table, indices])
