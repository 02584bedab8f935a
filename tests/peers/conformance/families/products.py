"""Products of matrices, attention, einsum and recurrent layers."""

import numpy as np

from conformance.builder import NotPossible
from conformance.families.registry import step


def small(b, shape):
    depth = shape[-2] if len(shape) > 1 else shape[0]
    return b.numbers(shape) * np.float32(1 / np.sqrt(max(1, depth)))


def matmul(b, x, columns=None):
    """A product with a constant."""
    return b.node("MatMul", [x, b.constant(small(b, [x.shape[-1], columns or b.extent()]))])


@step("MatMul")
def matmul_with_constant(b, operator):
    return matmul(b, b.some(lambda v: len(v.axes) >= 1 and v.rank >= 2))


@step("MatMul")
def matmul_constant_first(b, operator):
    x = b.some(lambda v: len(v.axes) >= 2)
    return b.node(operator, [b.constant(small(b, [b.extent(), x.shape[-2]])), x])


@step("MatMul")
def matmul_of_two(b, operator):
    """Both sides are computed."""
    x = b.some(lambda v: len(v.axes) >= 2)
    others = [
        v
        for v in b.values
        if v.is_float
        and len(v.axes) >= 2
        and v.rank == x.rank
        and v.shape[-2] == x.shape[-1]
        and all(a == c or 1 in (a, c) for a, c in zip(v.shape[:-2], x.shape[:-2], strict=True))
    ]
    if others and b.chance(0.6):
        return b.node(operator, [x, b.pick(others)])
    shape = [*x.shape[x.first : -2], x.shape[-1], b.extent()]
    if b.chance(0.3):
        y = b.node("Transpose", [x], perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2])
    else:
        y = b.input(shape)
    return b.node(operator, [x, y])


def gemm(b, x, columns=None):
    attributes = {}
    n, k = columns or b.extent(), x.shape[1]
    weights = small(b, [k, n])
    if b.chance(0.5):
        weights, attributes["transB"] = np.ascontiguousarray(weights.T), 1
    bias = None
    if b.chance(0.7) or b.opset < 11:
        rows = 1 if x.batched else x.shape[0]
        bias = b.constant(b.numbers(b.pick([[n], [1, n], [1], [1, 1], [rows, n], []])))
    if b.chance(0.3):
        attributes["alpha"] = b.pick([0.5, 2.0, -1.0])
    if b.chance(0.3):
        attributes["beta"] = b.pick([0.5, 2.0, 0.0])
    return b.node("Gemm", [x, b.constant(weights), bias], **attributes)


@step("Gemm")
def any_gemm(b, operator):
    x = b.ranked(2)
    if not x.batched and b.chance(0.3):
        y = b.input([x.shape[0], b.extent()])
        return b.node(operator, [x, y, b.constant(b.numbers([1]))], transA=1)
    return gemm(b, x)


@step("Einsum", since=12)
def einsum(b, operator):
    if b.rows is None:
        equation, (left, right) = b.pick(
            [
                ("ij,jk->ik", (2, 2)),
                ("ij,kj->ik", (2, 2)),
                ("bij,bjk->bik", (3, 3)),
                ("bhid,bhjd->bhij", (4, 4)),
                ("ij,ij->i", (2, 2)),
                ("i,j->ij", (1, 1)),
                ("ij,ij->ij", (2, 2)),
            ]
        )
    else:
        equation, (left, right) = b.pick(
            [
                ("bij,bjk->bik", (3, 3)),
                ("bhid,bhjd->bhij", (4, 4)),
                ("bi,bi->b", (2, 2)),
                ("bij,bj->bi", (3, 2)),
            ]
        )
    x = b.ranked(left)
    letters, others = equation.split("->")[0].split(",")
    extents = dict(zip(letters, x.shape, strict=True))
    shape = [extents.setdefault(letter, b.extent()) for letter in others]
    y = b.input(shape[1:] if b.rows is not None else shape)
    return b.node(operator, [x, y], equation=equation)


@step("Einsum", since=12)
def einsum_with_constant(b, operator):
    x = b.ranked(3)
    equation = b.pick(["bij,jk->bik", "bij,kj->bik", "bij,kj->bki", "bij,ijk->bk"])
    extents = dict(zip("bij", x.shape, strict=True))
    shape = [extents.setdefault(letter, b.extent()) for letter in equation.split("->")[0].split(",")[1]]
    return b.node(operator, [x, b.constant(b.numbers(shape) * np.float32(0.5))], equation=equation)


@step("Attention", since=23)
def attention(b, operator):
    heads, d, v, length, past = (
        b.integer(1, 3),
        b.integer(1, 6),
        b.integer(1, 6),
        b.integer(1, 5),
        b.integer(1, 6),
    )
    attributes = {}
    if b.chance(0.3):
        attributes["is_causal"] = 1
    if b.chance(0.3):
        attributes["scale"] = 0.7
    if b.chance(0.2):
        attributes["softcap"] = 1.5
    batch = [] if b.rows is not None else [b.integer(1, 2)]
    groups = b.pick([1, 1, heads])
    if b.chance(0.5):
        shapes = [
            [*batch, heads, length, d],
            [*batch, heads // groups, past, d],
            [*batch, heads // groups, past, v],
        ]
    else:
        shapes = [
            [*batch, length, heads * d],
            [*batch, past, heads // groups * d],
            [*batch, past, heads // groups * v],
        ]
        attributes |= {"q_num_heads": heads, "kv_num_heads": heads // groups}
    operands = [b.input(shape) for shape in shapes]
    if b.chance(0.5):
        mask = b.numbers([length, past], b.pick([np.bool_, np.float32]))
        if mask.dtype == np.bool_:
            mask[:, 0] = True
        operands.append(b.constant(mask))
    return b.node(operator, operands, **attributes)


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = ["Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign"]


@step("RNN", "GRU", "LSTM")
def recurrent(b, operator):
    steps, size, hidden = b.integer(1, 6), b.extent(), b.pick([1, 2, 3, 4, 5, 8])
    direction = b.pick(["forward", "forward", "reverse", "bidirectional"])
    ways = 2 if direction == "bidirectional" else 1
    attributes = {"hidden_size": hidden, "direction": direction}
    gates = GATES[operator]
    if b.rows is not None:
        x = b.ranked(3)
        steps, size = x.shape[1], x.shape[2]
        rows = b.rows
        if b.opset >= 14 and b.chance(0.4):
            attributes["layout"] = 1
        else:
            x = b.hide(b.node("Transpose", [x], perm=[1, 0, 2]))
    else:
        x = b.ranked(3)
        steps, rows, size = x.shape
    weights = b.constant(b.numbers([ways, gates * hidden, size]) * np.float32(0.5))
    recurrence = b.constant(b.numbers([ways, gates * hidden, hidden]) * np.float32(0.4))
    bias = b.constant(b.numbers([ways, 2 * gates * hidden]) * np.float32(0.3)) if b.chance(0.6) else None
    initial = peepholes = cell = None
    if b.rows is None and b.chance(0.4):
        initial = b.constant(b.numbers([ways, rows, hidden]))
        if operator == "LSTM":
            cell = b.constant(b.numbers([ways, rows, hidden]))
    if operator == "LSTM" and b.chance(0.3):
        peepholes = b.constant(b.numbers([ways, 3 * hidden]) * np.float32(0.3))
    if b.chance(0.25):
        attributes["clip"] = 0.8
    if operator == "GRU" and b.chance(0.5):
        attributes["linear_before_reset"] = 1
    if b.chance(0.2):
        attributes["activations"] = [
            b.pick(FUNCTIONS) for _ in range({"RNN": 1, "GRU": 2, "LSTM": 3}[operator] * ways)
        ]
    operands = [x, weights, recurrence, bias, None, initial]
    results = 2
    if operator == "LSTM":
        operands += [cell, peepholes]
        results = 3
    found = b.node(operator, operands, outputs=results, **attributes)
    whole = found[0]
    if b.rows is not None:
        # Where the batch is no longer first, only what brings it back may read the results.
        for value in found:
            if not attributes.get("layout"):
                b.hide(value)
        if not attributes.get("layout"):
            whole = b.node("Transpose", [whole], perm=[2, 0, 1, 3])
    elif b.chance(0.5) and ways == 1:
        axes, attributes = b.axes_input([1], 13)
        whole = b.node("Squeeze", [whole, *axes], **attributes)
    if whole.rank == 0:
        raise NotPossible("a scalar")
    return whole
