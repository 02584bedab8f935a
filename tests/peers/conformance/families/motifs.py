"""What networks consist of: residuals, gates, views on both sides of a sum, decomposed layers."""

import numpy as np

from conformance.builder import NotPossible
from conformance.families import elementwise, folds, movement, products, windows
from conformance.families.registry import add

MOTIFS = []


def motif(weight=1):
    """Registers a function, to be taken so many times as often as others."""

    def register(function):
        MOTIFS.extend([function] * weight)
        return function

    return register


def layer(b, h):
    """A layer whose result has the shape of h."""
    choices = []
    if h.rank >= 3 and h.rank <= 4 and h.first <= 1:
        choices += [
            lambda: windows.conv(b, h, kernel=1, groups=1, channels=h.shape[1]),
            lambda: windows.conv(b, h, same=True),
            lambda: windows.conv(b, h, same=True, groups=h.shape[1]),
            lambda: windows.conv_transpose(b, "ConvTranspose", h, same=True),
            lambda: windows.pool(b, b.pick(["MaxPool", "AveragePool"]), h, same=True),
            lambda: folds.instance_norm(b, "InstanceNormalization", h),
            lambda: folds.batch_norm(b, "BatchNormalization", h),
        ]
    if len(h.axes) >= 1 and h.rank >= 2:
        choices += [lambda: products.matmul(b, h, h.shape[-1])] * 2
        if b.opset >= 17:
            choices.append(lambda: folds.layer_norm(b, "LayerNormalization", h))
    if h.rank == 2 and h.first <= 1:
        choices.append(lambda: products.gemm(b, h, h.shape[1]))
    if not choices:
        raise NotPossible("no layer keeps this shape")
    return b.pick(choices)()


def act(b, x):
    if b.chance(0.25):
        return x
    names = [name for name in elementwise.ACTIVATIONS if b.opset >= elementwise.SINCE.get(name, 7)]
    return elementwise.activation(b, b.pick(names), x)


def hidden(b, rank=None):
    """A tensor to begin with: an input, or one that is computed."""
    h = b.ranked(rank or b.pick([2, 3, 3, 4, 4]))
    if b.chance(0.6):
        h = act(b, h)
    if b.chance(0.3):
        h = layer(b, h)
    return h


def combine(b, x, y):
    return b.node(b.pick(["Add", "Add", "Mul", "Mul", "Sub"]), [x, y] if b.chance(0.5) else [y, x])


@motif(4)
def residual_or_gate(b):
    """y = h (+ or *) act(f(h)), once or several times, with other readers of h by chance."""
    h = hidden(b)
    if not h.is_float or not h.axes:
        raise NotPossible("nothing to keep")
    for _ in range(b.integer(1, 3)):
        inner = h
        for _ in range(b.integer(1, 2)):
            inner = act(b, layer(b, inner))
        if b.chance(0.25):
            act(b, h)
        h = combine(b, h, inner)
    return act(b, h)


@motif()
def squeeze_and_excite(b):
    """h * sigmoid(f(mean(h))): a gate that broadcasts."""
    h = hidden(b, b.pick([3, 4]))
    if h.first > 1 or h.rank < 3:
        raise NotPossible("no channels")
    pooled = b.node("GlobalAveragePool", [h])
    gate = windows.conv(
        b, act(b, windows.conv(b, pooled, kernel=1, groups=1)), kernel=1, groups=1, channels=h.shape[1]
    )
    return b.node("Mul", [h, b.node("Sigmoid", [gate])])


@motif(2)
def views_on_both_sides(b):
    """view(f(h)) + view(g(h)), with the same view on both sides or another one."""
    h = hidden(b)
    left, right = layer(b, h), layer(b, h)
    kind = b.pick(["Transpose", "Reshape", "Slice", "Squeeze", "Unsqueeze", "several"])
    inner = list(range(h.first, h.rank))
    perm = [*range(h.first), *(int(axis) for axis in b.rng.permutation(inner))]
    shape = [*h.shape[: h.first], *b.factors(int(np.prod(h.shape[h.first :])), b.integer(1, 4))]
    place = b.integer(h.first, h.rank)
    cut = b.pick(inner)
    end = b.integer(1, h.shape[cut])

    def view(x):
        if kind == "Transpose":
            return b.node("Transpose", [x], perm=perm)
        if kind == "Reshape":
            return b.reshaped(x, shape)
        if kind == "Slice" and b.opset >= 10:
            return b.node("Slice", [x, *(b.constant(np.array([n], np.int64)) for n in (0, end, cut))])
        further, attributes = b.axes_input([place], 13)
        if kind in ("Slice", "Unsqueeze", "Squeeze"):
            return b.node("Unsqueeze", [x, *further], **attributes)
        return b.reshaped(b.node("Transpose", [x], perm=perm), shape)

    one = view(left)
    other = view(right) if b.chance(0.7) else act(b, view(h))
    y = combine(b, one, other)
    return layer(b, y) if b.chance(0.4) else act(b, y)


@motif(4)
def padded_on_extent_one(b):
    """A padded convolution, its transpose or a pool reads a computed tensor with an axis of extent 1."""
    rank = b.pick([3, 4])
    x = hidden(b, rank)
    how = b.pick(["reduce", "unsqueeze", "slice", "pool"])
    if how == "pool":
        h = b.node(b.pick(["GlobalAveragePool", "GlobalMaxPool"]), [x])
    elif how == "unsqueeze":
        h = act(b, b.ranked(b.pick([2, 3])))
        while h.rank < rank:
            further, attributes = b.axes_input([b.integer(h.first, h.rank)], 13)
            h = b.node("Unsqueeze", [h, *further], **attributes)
    else:
        axis = b.pick([axis for axis in x.axes if axis >= 1])
        if how == "reduce":
            h = folds.reduce(b, b.pick(["ReduceMean", "ReduceSum", "ReduceMax"]), x, [axis], 1)
        elif b.opset >= 10:
            at = b.integer(0, x.shape[axis] - 1)
            h = b.node("Slice", [x, *(b.constant(np.array([n], np.int64)) for n in (at, at + 1, axis))])
        else:
            raise NotPossible("Slice has attributes")
    if h.rank < 3 or h.first > 1:
        raise NotPossible("no spatial axes")
    h = b.pick(
        [
            lambda: windows.conv(b, h, same=b.chance(0.5)),
            lambda: windows.conv_transpose(b, "ConvTranspose", h),
            lambda: windows.pool(b, b.pick(["MaxPool", "AveragePool", "LpPool"]), h),
        ]
    )()
    return act(b, h)


@motif()
def join_of_readers(b):
    """Several readers of one tensor, joined again."""
    h = hidden(b)
    axis = b.pick(list(h.axes))
    parts = [b.pick([lambda: act(b, h), lambda: layer(b, h), lambda: h])() for _ in range(b.integer(2, 3))]
    y = b.node("Concat", parts, axis=axis)
    if b.chance(0.5):
        return layer(b, y)
    return movement.slice_(b, "Slice", y) if b.chance(0.5) else act(b, y)


@motif()
def decomposed_normalisation(b):
    """x - mean, over the root of the mean of its square, as exporters write it."""
    x = hidden(b)
    axis = b.pick(list(x.axes))
    # The last axis, or several.
    axes = [axis] if b.chance(0.6) else list(range(axis, x.rank))
    centred = b.node("Sub", [x, folds.reduce(b, "ReduceMean", x, axes, 1)])
    square = (
        b.node("Pow", [centred, b.constant(np.float32(2))])
        if b.chance(0.5)
        else b.node("Mul", [centred, centred])
    )
    variance = folds.reduce(b, "ReduceMean", square, axes, 1)
    y = b.node("Div", [centred, b.node("Sqrt", [b.node("Add", [variance, b.constant(np.float32(1e-2))])])])
    scale, shift = (b.constant(b.numbers(x.shape[-1:])) for _ in range(2))
    return b.node("Add", [b.node("Mul", [y, scale]), shift])


@motif()
def decomposed_softmax(b):
    x = hidden(b)
    axis = b.pick(list(x.axes))
    e = b.node("Exp", [b.node("Sub", [x, folds.reduce(b, "ReduceMax", x, [axis], 1)])])
    return b.node("Div", [e, folds.reduce(b, "ReduceSum", e, [axis], 1)])


@motif()
def decomposed_attention(b):
    """softmax(q k / sqrt(d) + mask) v of projections of one tensor."""
    x = hidden(b, 3)
    heads, width = b.pick([1, 2]), b.integer(1, 4)
    split = [*x.shape[: x.first], *x.shape[x.first : -1], heads, width]
    q, k, v = (b.reshaped(products.matmul(b, x, heads * width), split) for _ in range(3))
    n = q.rank
    lead = list(range(n - 3))
    q = b.node("Transpose", [q], perm=[*lead, n - 2, n - 3, n - 1])
    k = b.node("Transpose", [k], perm=[*lead, n - 2, n - 1, n - 3])
    v = b.node("Transpose", [v], perm=[*lead, n - 2, n - 3, n - 1])
    scores = b.node("Mul", [b.node("MatMul", [q, k]), b.constant(np.float32(width**-0.5))])
    if b.chance(0.5):
        scores = b.node("Add", [scores, b.constant(b.numbers(scores.shape[-2:]))])
    weights = b.node("Softmax", [scores], axis=-1 if b.opset >= 13 else n - 1)
    y = b.node("Transpose", [b.node("MatMul", [weights, v])], perm=[*lead, n - 2, n - 3, n - 1])
    y = b.reshaped(y, [*x.shape[:-1], heads * width])
    if b.chance(0.6):
        return combine(b, x, products.matmul(b, y, x.shape[-1]))
    return y


@motif()
def decomposed_activation(b):
    x = hidden(b)
    which = b.integer(0, 2)
    if which == 0 and b.opset >= 9:
        inner = b.node("Erf", [b.node("Div", [x, b.constant(np.float32(2**0.5))])])
        inner = b.node("Add", [inner, b.constant(np.float32(1))])
        return b.node("Mul", [b.node("Mul", [x, inner]), b.constant(np.float32(0.5))])
    if which == 1:
        return b.node("Mul", [x, b.node("Sigmoid", [x])])
    return b.node("Mul", [x, b.node("HardSigmoid", [x])])


@motif()
def pad_before_window(b):
    x = hidden(b, b.pick([3, 4]))
    x = movement.pad(b, "Pad", x)
    return b.pick(
        [lambda: windows.conv(b, x), lambda: windows.pool(b, b.pick(["MaxPool", "AveragePool"]), x)]
    )()


@motif()
def product_between_views(b):
    """A transposed or reshaped tensor is read by a product, whose result is moved again."""
    x = b.some(lambda v: len(v.axes) >= 1 and v.rank >= 2)
    x = b.pick([movement.transpose, movement.reshape])(b, b.pick(["Transpose"]), x)
    if not x.axes or x.rank < 2:
        raise NotPossible("nothing to multiply")
    y = products.matmul(b, x)
    if b.chance(0.5):
        y = b.node("Add", [y, b.constant(b.numbers(y.shape[-1:]))])
    return b.pick([movement.transpose, movement.reshape])(b, "Transpose", y)


@motif(2)
def integers_known_at_run_time(b):
    """A few operators on int32 or int64."""
    dtype = b.pick([np.int32, np.int64])
    x = b.input(b.shape(b.integer(1, 3)), dtype)
    for _ in range(b.integer(1, 3)):
        operator = b.pick(
            ["Add", "Sub", "Mul", "Div", "Neg", "Abs", "Sign"]
            + (["Mod"] if b.opset >= 10 else [])
            + (["Max", "Min"] if b.opset >= 12 else [])
        )
        if operator == "Sign" and b.opset < 9:
            operator = "Abs"
        if operator in ("Neg", "Abs", "Sign"):
            x = b.node(operator, [x])
        else:
            other = b.operand(x, "nonzero" if operator in ("Div", "Mod") else "any")
            attributes = {"fmod": 1} if operator == "Mod" and b.chance(0.4) else {}
            x = b.node(operator, [x, other], **attributes)
    if b.opset >= 9 and b.chance(0.7):
        x = b.node("Cast", [x], to=b.pick([1, 1, 6, 7, 9]))
    return x


def add_motif(b):
    return b.pick(MOTIFS)(b)


__all__ = ["MOTIFS", "add", "add_motif"]
