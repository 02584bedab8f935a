"""Normalisations, softmax, and reductions."""

import numpy as np

from conformance.builder import NotPossible
from conformance.families.registry import step


def spread(value, axes):
    """Whether the numbers differ along the axes: what divides by their spread is ill-conditioned otherwise."""
    return float(np.var(value.array, axis=tuple(axes)).min()) > 1e-2


def scale_and_shift(b, count):
    return [b.constant(b.numbers([count])), b.constant(b.numbers([count]))]


@step("BatchNormalization", since=9)
def batch_norm(b, operator, x=None):
    x = x or b.some(lambda v: v.rank >= 2 and v.first <= 1 and len(v.axes) >= 1)
    if x.rank < 2:
        raise NotPossible("no channels")
    channels = x.shape[1]
    further = [
        *scale_and_shift(b, channels),
        b.constant(b.numbers([channels])),
        b.constant(b.numbers([channels], kind="positive")),
    ]
    return b.node(operator, [x, *further], epsilon=b.pick([1e-5, 1e-3]))


@step("InstanceNormalization")
def instance_norm(b, operator, x=None):
    x = x or b.ranked(b.pick([3, 4]))
    return b.node(operator, [x, *scale_and_shift(b, x.shape[1])], epsilon=b.pick([1e-3, 1e-2]))


@step("GroupNormalization", since=21)
def group_norm(b, operator, x=None):
    x = x or b.ranked(b.pick([3, 4]))
    channels = x.shape[1]
    groups = b.pick([g for g in range(1, channels + 1) if channels % g == 0])
    return b.node(operator, [x, *scale_and_shift(b, channels)], num_groups=groups, epsilon=1e-2)


@step("LayerNormalization", since=17)
@step("RMSNormalization", since=23)
def layer_norm(b, operator, x=None):
    x = x or b.some(lambda v: len(v.axes) >= 1)
    axis = b.pick(list(x.axes))
    shape = x.shape[axis:]
    inputs = [x, b.constant(b.numbers(shape))]
    if operator == "LayerNormalization" and b.chance(0.7):
        inputs.append(b.constant(b.numbers(shape)))
    return b.node(operator, inputs, axis=b.either_sign(axis, x.rank), epsilon=b.pick([1e-3, 1e-2]))


@step("MeanVarianceNormalization", since=13)
def mean_variance(b, operator):
    x = b.some(lambda v: len(v.axes) >= 2)
    axes = sorted({b.pick(list(x.axes)) for _ in range(2)})
    if not spread(x, axes):
        raise NotPossible("the variance is small, and this operator has no epsilon")
    return b.node(operator, [x], axes=axes)


@step("LpNormalization")
def lp_norm(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    axis = b.pick(list(x.axes))
    if np.abs(x.array).sum(axis=axis).min() < 0.1:
        raise NotPossible("the norm is small")
    return b.node(operator, [x], axis=b.either_sign(axis, x.rank), p=b.pick([1, 2]))


@step("Softmax", "LogSoftmax", "Hardmax")
def softmax(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    axis = b.pick(list(x.axes))
    if operator != "Hardmax":
        return b.node(operator, [x], axis=b.either_sign(axis, x.rank))
    if b.opset < 13:
        whole = x.array.reshape(int(np.prod(x.shape[:axis])), -1)
        return b.node(operator, [x], jumps=gaps(whole, 1), axis=axis)
    return b.node(operator, [x], jumps=gaps(x.array, axis), axis=b.either_sign(axis, x.rank))


def gaps(array, axis):
    """How far the largest and the smallest numbers are from the next ones."""
    if array.shape[axis] < 2:
        return np.array([1.0])
    ordered = np.sort(array, axis=axis)
    difference = np.diff(ordered, axis=axis)
    return np.concatenate([difference.take(0, axis).ravel(), difference.take(-1, axis).ravel()])


@step("ArgMax", "ArgMin", since=7)
def arg(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    axis = b.pick(list(x.axes))
    attributes = {"axis": b.either_sign(axis, x.rank), "keepdims": b.integer(0, 1)}
    if b.opset >= 12 and b.chance(0.4):
        attributes["select_last_index"] = 1
    found = b.node(operator, [x], jumps=gaps(x.array, axis), **attributes)
    return b.node("Cast", [found], to=b.pick([1, 6])) if b.chance(0.6) else found


REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]


@step(*REDUCTIONS)
def reduce(b, operator, x=None, axes=None, keep=None):
    dtype = np.float32
    if operator in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean") and b.chance(0.12):
        dtype = b.pick([np.int32, np.int64])
    x = x or b.some(lambda v: len(v.axes) >= 1, dtype=dtype)
    if not x.is_float and np.abs(x.array.astype(np.float64)).max() > (9 if operator == "ReduceProd" else 2**20):
        # onnxruntime rounds or saturates such reductions; NumPy does not.
        raise NotPossible("onnxruntime is no reference for this")
    if operator == "ReduceLogSum" and x.array.min() < 0.2:
        x = b.node("Add", [b.node("Abs", [x]), b.constant(np.float32(0.5))])
    axes = axes or sorted({b.pick(list(x.axes)) for _ in range(b.integer(1, 2))})
    since = 13 if operator == "ReduceSum" else 18
    further, attributes = b.axes_input([b.either_sign(axis, x.rank) for axis in axes], since)
    attributes["keepdims"] = b.integer(0, 1) if keep is None else keep
    if b.opset >= since and b.rows is None and b.chance(0.15):
        further = []
        attributes["noop_with_empty_axes"] = b.integer(0, 1)
    return b.node(operator, [x, *further], **attributes)
