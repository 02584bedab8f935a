"""What moves numbers, joins and takes apart, and what makes constants."""

import numpy as np
from onnx import helper, numpy_helper

from conformance.builder import NotPossible, Value
from conformance.families.registry import step


def any_type(b):
    return b.pick([np.float32, np.float32, np.float32, np.int32, np.int64, np.bool_])


@step("Transpose")
def transpose(b, operator, x=None):
    x = x or b.some(lambda v: len(v.axes) >= 1, dtype=any_type(b))
    rest = [int(axis) for axis in b.rng.permutation(list(x.axes))]
    return b.node(operator, [x], perm=[*range(x.first), *rest])


@step("Reshape")
def reshape(b, operator, x=None):
    x = x or b.some(lambda v: len(v.axes) >= 1, dtype=any_type(b))
    inner = b.factors(int(np.prod(x.shape[x.first :])), b.integer(1, 4))
    return b.reshaped(x, [*x.shape[: x.first], *inner])


@step("Flatten")
def flatten(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    axis = 1 if x.batched else b.integer(0, x.rank)
    return b.node(operator, [x], axis=axis)


@step("Squeeze")
def squeeze(b, operator):
    x = b.some(lambda v: any(v.shape[axis] == 1 for axis in v.axes), shape=[b.extent(), 1, b.extent()])
    ones = [axis for axis in x.axes if x.shape[axis] == 1]
    axes = sorted({b.pick(ones) for _ in range(2)})
    further, attributes = b.axes_input([b.either_sign(axis, x.rank) for axis in axes], 13)
    return b.node(operator, [x, *further], **attributes)


@step("Unsqueeze")
def unsqueeze(b, operator, x=None):
    x = x or b.some(lambda v: v.rank <= 3, dtype=any_type(b))
    axes = sorted({b.integer(x.first, x.rank) for _ in range(b.integer(1, 2))})
    further, attributes = b.axes_input(axes, 13)
    return b.node(operator, [x, *further], **attributes)


@step("Slice")
def slice_(b, operator, x=None):
    x = x or b.some(lambda v: len(v.axes) >= 1, dtype=any_type(b))
    axes = sorted({b.pick(list(x.axes)) for _ in range(b.integer(1, 2))})
    starts, ends, steps = [], [], []
    for axis in axes:
        extent = x.shape[axis]
        start = b.integer(0, extent - 1)
        end = b.integer(start + 1, extent)
        by = b.pick([1, 1, 1, 2, 3])
        if b.opset >= 10 and b.chance(0.2):
            start, end, by = end - 1, start - 1 if start else -(1 << 60), -by
        elif b.chance(0.2):
            end = b.pick([1 << 40, (1 << 63) - 1])
        elif b.chance(0.3):
            start, end = start - extent, end
        starts, ends, steps = [*starts, start], [*ends, end], [*steps, by]
    if b.opset < 10:
        return b.node(operator, [x], axes=axes, starts=starts, ends=ends)
    vector = lambda numbers: b.constant(np.array(numbers, np.int64))
    return b.node(operator, [x, vector(starts), vector(ends), vector(axes), vector(steps)])


@step("Concat")
def concat(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1, dtype=any_type(b))
    axis = b.pick(list(x.axes))
    alike = [
        v
        for v in b.values
        if v.dtype == x.dtype
        and v.rank == x.rank
        and v.batched == x.batched
        and all(a == c for i, (a, c) in enumerate(zip(v.shape, x.shape, strict=True)) if i != axis)
    ]
    parts = [x, *(b.pick(alike) for _ in range(b.integer(0, 2)))]
    if b.chance(0.4):
        shape = [b.extent() if place == axis else extent for place, extent in enumerate(x.shape)]
        parts.append(b.input(shape[x.first :], x.dtype))
    elif not x.batched and b.chance(0.4):
        parts.append(b.constant(b.numbers(x.shape, x.dtype)))
    order = b.rng.permutation(len(parts))
    return b.node(operator, [parts[place] for place in order], axis=b.either_sign(axis, x.rank))


@step("Split")
def split(b, operator):
    x = b.some(
        lambda v: any(v.shape[axis] >= 2 for axis in v.axes),
        shape=[4, 6],
        dtype=b.pick([np.float32, np.float32, np.int64]),
    )
    axis = b.pick([axis for axis in x.axes if x.shape[axis] >= 2])
    extent = x.shape[axis]
    first = b.integer(1, extent - 1)
    sizes = [first, extent - first]
    if b.opset < 13:
        return b.node(operator, [x], outputs=2, axis=axis, split=sizes)[0]
    if b.opset >= 18 and b.chance(0.3):
        return b.node(operator, [x], outputs=2, axis=b.either_sign(axis, x.rank), num_outputs=2)[1]
    return b.node(
        operator, [x, b.constant(np.array(sizes, np.int64))], outputs=2, axis=b.either_sign(axis, x.rank)
    )[0]


@step("Expand", since=8)
def expand(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    target = [
        b.integer(2, 4)
        if extent == 1 and axis >= x.first and b.chance(0.6)
        else 1
        if b.chance(0.4)
        else extent
        for axis, extent in enumerate(x.shape)
    ]
    if x.batched:
        target[0] = 1
    elif b.chance(0.3):
        target = [b.integer(1, 3), *target]
    return b.node(operator, [x, b.constant(np.array(target, np.int64))])


@step("Tile")
def tile(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    repeats = [1 if axis < x.first else b.integer(1, 3) for axis in range(x.rank)]
    return b.node(operator, [x, b.constant(np.array(repeats, np.int64))])


@step("Pad")
def pad(b, operator, x=None):
    x = x or b.some(lambda v: len(v.axes) >= 1)
    mode = b.pick(["constant", "constant", "edge", "reflect", *(["wrap"] if b.opset >= 19 else [])])
    begin, end = [0] * x.rank, [0] * x.rank
    for axis in {b.pick(list(x.axes)) for _ in range(2)}:
        most = min(2, x.shape[axis] - 1) if mode in ("reflect", "wrap") else 2
        begin[axis], end[axis] = b.integer(0, most), b.integer(0, most)
    value = float(b.pick([0.0, 0.0, 1.5]))
    if b.opset < 11:
        if mode == "wrap":
            mode = "constant"
        return b.node(
            operator, [x], mode=mode, pads=[*begin, *end], **({"value": value} if mode == "constant" else {})
        )
    fill = b.constant(np.float32(value)) if mode == "constant" and b.chance(0.7) else None
    return b.node(operator, [x, b.constant(np.array([*begin, *end], np.int64)), fill], mode=mode)


@step("DepthToSpace", "SpaceToDepth")
def blocks(b, operator):
    size = b.integer(1, 3)
    if operator == "DepthToSpace":
        shape = [b.integer(1, 3) * size * size, b.integer(1, 5), b.integer(1, 5)]
    else:
        shape = [b.integer(1, 3), b.integer(1, 4) * size, b.integer(1, 4) * size]
    x = b.input(shape if b.rows is not None else [b.integer(1, 2), *shape])
    if b.chance(0.4):
        x = b.node("Relu", [x])
    attributes = {"mode": b.pick(["DCR", "CRD"])} if operator == "DepthToSpace" and b.opset >= 11 else {}
    return b.node(operator, [x], blocksize=size, **attributes)


@step("Trilu", since=14)
def trilu(b, operator):
    x = b.some(lambda v: len(v.axes) >= 2)
    k = b.constant(np.array(b.integer(-3, 3), np.int64)) if b.chance(0.7) else None
    return b.node(operator, [x, k], upper=b.integer(0, 1))


@step("Identity")
def identity(b, operator):
    return b.node(operator, [b.some(dtype=any_type(b))])


@step("Dropout", since=7)
def dropout(b, operator):
    x = b.some()
    return b.node(operator, [x], **({"ratio": 0.3} if b.opset < 12 else {}))


def use(b, made):
    """Adds what was made of constants to something."""
    x = b.some(
        lambda v: (
            v.rank >= 1
            and v.dtype == made.dtype
            and (
                made.array.size == 1 or v.shape[-made.rank :] == made.shape and v.rank - made.rank >= v.first
            )
        ),
        shape=made.shape or [3],
        dtype=made.dtype,
    )
    return b.node("Add", [x, made], exact=False)


@step("Constant")
def constant(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    array = b.numbers(x.shape[x.rank - 1 :])
    name = b.fresh("c")
    b.nodes.append(
        helper.make_node(
            "Constant", [], [name], name=f"Constant_{name}", value=numpy_helper.from_array(array, name)
        )
    )
    return b.node("Mul", [x, Value(name, array, constant=True)])


@step("ConstantOfShape", since=9)
def constant_of_shape(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    value = numpy_helper.from_array(np.array([1.5], np.float32))
    made = b.node(operator, [b.constant(np.array(x.shape[x.rank - 1 :], np.int64))], value=value)
    return b.node("Add", [x, made])


@step("Range", since=11)
def range_(b, operator):
    x = b.some(lambda v: len(v.axes) >= 1)
    made = b.node(
        operator, [b.constant(np.float32(0)), b.constant(np.float32(x.shape[-1])), b.constant(np.float32(1))]
    )
    return b.node("Mul", [x, made])


@step("Shape", "Size")
def shape(b, operator):
    """A shape that is computed: x is reshaped as the exporters do it."""
    x = b.some(lambda v: len(v.axes) >= 2)
    if operator == "Size":
        if x.batched:
            raise NotPossible("a number of samples")
        return b.node("Div", [x, b.node("Cast", [forget(b, b.node("Size", [x]))], to=1)])
    whole = forget(b, b.node("Shape", [x]))
    if b.opset < 10:
        raise NotPossible("Slice has attributes")
    first = forget(b, b.node("Slice", [whole, b.constant(np.array([0])), b.constant(np.array([1]))]))
    target = forget(b, b.node("Concat", [first, b.constant(np.array([-1]))], axis=0))
    y = b.node("Reshape", [x, target])
    y.batched = x.batched
    return y


def forget(b, value):
    """A shape is known when the model is compiled, and has no batch axis."""
    value.batched = False
    return b.hide(value)
