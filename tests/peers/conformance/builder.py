"""Builds a random graph node by node, and knows the numbers of every tensor while it does.

Each node is run by onnxruntime when it is added. So shapes need no second implementation here, a node that
onnxruntime refuses is left out, and one whose numbers would make a comparison useless is too:

- a result that is not finite, or larger than `LARGEST`, unless the graph is about NaN and infinities;
- a result of a function that jumps (Floor, Less, a cast to an integer, ArgMax, ...) where an operand that was
  rounded on its way lies within `MARGIN` of a jump: another order of sums would flip it. Operands that are exact
  (inputs, constants, and what copies, chooses or negates them) may lie anywhere, on a jump too.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from conformance import reference

LARGEST = 1e3
LARGEST_ELEMENTS = 6000
MARGIN = 1e-3
EXTENTS = [1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17]
# Operators whose floats are those of an operand, bit by bit.
EXACT = set(
    """Abs Concat Constant ConstantOfShape DepthToSpace Dropout Expand Flatten Gather GlobalMaxPool Identity Max
MaxPool Min Neg Pad ReduceMax ReduceMin Relu Reshape Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze
Where Clip Sign Floor Ceil Round Hardmax ArgMax ArgMin Cast""".split()
)


class NotPossible(Exception):
    """A step that does not fit this graph; the text says why."""


class Value:
    """A tensor of the graph with its numbers."""

    def __init__(self, name, array, batched=False, constant=False, exact=True):
        self.name, self.array = name, array
        self.batched, self.constant, self.exact = batched, constant, exact

    shape = property(lambda self: self.array.shape)
    rank = property(lambda self: self.array.ndim)
    dtype = property(lambda self: self.array.dtype)
    is_float = property(lambda self: self.array.dtype == np.float32)
    # The first axis that an operator may do something to: samples never mix.
    first = property(lambda self: int(self.batched))
    axes = property(lambda self: range(self.first, self.rank))


class Builder:
    def __init__(self, rng, opset, rows):
        self.rng, self.opset = rng, opset
        self.rows = rows  # None: no symbolic batch
        self.nodes, self.constants, self.inputs = [], [], []
        self.values = []  # what may be read
        self.made = []  # the results of nodes
        self.names = 0
        self.floats_only = False  # whether no other numbers are inputs
        self.not_finite = False  # whether NaN and infinities may occur
        self.refused = []  # (operator, reason): what onnxruntime did not take

    # --- chance ---

    def chance(self, probability):
        return self.rng.random() < probability

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def integer(self, least, most):
        return int(self.rng.integers(least, most + 1))

    def extent(self):
        return self.pick(EXTENTS)

    def shape(self, rank):
        while True:
            shape = [self.extent() for _ in range(rank)]
            if np.prod(shape) <= 1500:
                return shape

    # --- tensors ---

    def fresh(self, stem):
        self.names += 1
        return f"{stem}{self.names}"

    def numbers(self, shape, dtype=np.float32, kind="any"):
        """Numbers of both signs with some zeros. `kind`: any, nonzero (at least 0.3 from 0), positive, halves."""
        dtype = np.dtype(dtype)
        if dtype == np.bool_:
            return np.asarray(self.rng.random(shape) < 0.5)
        if dtype.kind == "i":
            array = self.rng.integers(-9, 10, shape)
            if kind == "any" and self.chance(0.25):
                far = 1 << (40 if dtype == np.int64 else 20)
                array = np.where(self.rng.random(shape) < 0.5, self.rng.integers(-far, far, shape), array)
            if kind in ("nonzero", "positive"):
                array = np.where(array == 0, 3, array)
            return np.asarray(np.abs(array) if kind == "positive" else array, dtype)
        array = self.rng.standard_normal(shape)
        if kind == "any":
            array = np.where(self.rng.random(shape) < 0.06, 0.0, array)
            if self.chance(0.2):
                kind = "halves"
        if kind == "halves":
            array = np.round(array * 4) / 2
        if kind == "nonzero":
            array = np.sign(array) * (np.abs(array) + 0.3)
        if kind == "positive":
            array = np.abs(array) + 0.3
        return np.asarray(array, np.float32)

    def constant(self, array):
        """A constant: an initialiser, or a node."""
        array = np.asarray(array)
        name = self.fresh("c")
        if self.chance(0.15) and (self.opset >= 9 or array.dtype == np.float32):
            node = helper.make_node(
                "Constant", [], [name], name=f"Constant_{name}", value=numpy_helper.from_array(array, name)
            )
            self.nodes.append(node)
        else:
            self.constants.append(numpy_helper.from_array(array, name))
        return Value(name, array, constant=True)

    def input(self, shape, dtype=np.float32, kind="any"):
        """A new input; `shape` without the batch, which it gets where the graph has one."""
        if self.floats_only and np.dtype(dtype) != np.float32:
            raise NotPossible("floats only")
        shape = [int(extent) for extent in shape]
        if self.rows is not None:
            shape = [self.rows, *shape]
        if np.prod(shape) > LARGEST_ELEMENTS:
            raise NotPossible("the input would be large")
        value = Value(self.fresh("x"), self.numbers(shape, dtype, kind), batched=self.rows is not None)
        self.inputs.append(value)
        self.values.append(value)
        return value

    def some(self, fits=lambda value: True, shape=None, dtype=np.float32, kind="any"):
        """A tensor that fits, the newer the likelier, or now and then a new input of `shape` (without the batch)."""
        fitting = [v for v in self.values if v.dtype == dtype and fits(v)]
        if fitting and not self.chance(0.12):
            return fitting[-1] if self.chance(0.5) else self.pick(fitting)
        if len(self.inputs) >= 5 and fitting:
            return self.pick(fitting)
        new = self.input(self.shape(self.integer(1, 3)) if shape is None else shape, dtype, kind)
        if not fits(new):
            raise NotPossible("no tensor fits")
        return new

    def ranked(self, rank, dtype=np.float32):
        """A tensor with `rank` axes, the batch counted; one of another rank is reshaped."""
        inner = rank - int(self.rows is not None)
        if inner < 0:
            raise NotPossible("the batch takes the only axis")
        if self.chance(0.25):
            others = [
                v
                for v in self.values
                if v.dtype == dtype and v.batched == (self.rows is not None) and v.rank != rank
            ]
            if others:
                value = self.pick(others)
                return self.reshaped(
                    value,
                    [
                        *value.shape[: value.first],
                        *self.factors(int(np.prod(value.shape[value.first :])), inner),
                    ],
                )
        return self.some(
            lambda v: v.rank == rank and v.batched == (self.rows is not None), self.shape(inner), dtype
        )

    def factors(self, count, parts):
        """`parts` extents whose product is `count`."""
        if parts == 0:
            if count != 1:
                raise NotPossible("more than one number for no axis")
            return []
        extents = [1] * parts
        for prime in primes(count):
            extents[self.integer(0, parts - 1)] *= prime
        return extents

    def reshaped(self, value, shape):
        target = list(shape)
        if value.batched:
            target[0] = self.pick([0, -1])
        elif target and self.chance(0.3):
            target[self.integer(0, len(target) - 1)] = -1
        return self.node("Reshape", [value, self.constant(np.array(target, np.int64))])

    def operand(self, value, kind="any", dtype=None):
        """Something that broadcasts against `value`: another tensor, a constant, or a new input."""
        dtype = np.dtype(dtype or value.dtype)
        if self.chance(0.5):
            others = [
                v
                for v in self.values
                if v.dtype == dtype
                and broadcasts(v.shape, value.shape)
                and v is not value
                and suits(v.array, kind)
            ]
            if others:
                return self.pick(others)
        shape = [1 if self.chance(0.25) else extent for extent in value.shape[value.first :]]
        if self.chance(0.5) or len(self.inputs) >= 5 or not value.batched and self.rows is not None:
            while shape and self.chance(0.3):
                shape = shape[1:]
            return self.constant(self.numbers(shape, dtype, kind))
        if self.rows is None and value.rank and self.chance(0.3):
            shape = shape[1:]
        return self.input(shape, dtype, kind)

    def hide(self, value):
        """Nothing reads the tensor from now on but who holds it, and it is no output."""
        for values in (self.values, self.made):
            if value in values:
                values.remove(value)
        return value

    # --- nodes ---

    def node(self, operator, inputs, outputs=1, jumps=None, exact=None, **attributes):
        """Adds a node; its result, or a list if there are several. `None` among the inputs is a missing one.

        `jumps` are the arrays whose distance from 0 is how far an inexact operand is from a jump."""
        inputs = list(inputs)
        while inputs and inputs[-1] is None:
            inputs.pop()
        names = [self.fresh("v") for _ in range(outputs)]
        node = helper.make_node(
            operator, [value.name if value else "" for value in inputs], names, **attributes
        )
        node.name = f"{operator}_{names[0]}"
        given = [value for value in inputs if value is not None]
        if jumps is not None and not all(value.exact for value in given):
            if np.size(jumps) and np.min(np.abs(jumps)) < MARGIN:
                raise NotPossible(f"{operator} would be close to a jump")
        operands = {value.name: (value.array, value.constant) for value in given}
        try:
            found = reference.run_node(node, operands, self.opset)
        except reference.ReferenceRefuses as refusal:
            self.refused.append((operator, str(refusal)))
            raise NotPossible(str(refusal)) from None
        if not reference.is_right(operator, [value.array for value in given], found[names[0]]):
            raise NotPossible(f"onnxruntime computes {operator} of integers wrong")
        batched = any(value.batched for value in given)
        if (
            self.floats_only
            and any(found[name].dtype.kind == "i" for name in names)
            and operator not in ("Shape", "Size")
        ):
            raise NotPossible("floats only")
        all_exact = all(value.exact for value in given) and (
            exact if exact is not None else operator in EXACT
        )
        results = []
        for name in names:
            array = found[name]
            if (
                array.dtype not in reference.ELEMENT
                or array.size == 0
                or array.size > LARGEST_ELEMENTS
                or array.ndim > 6
            ):
                raise NotPossible(f"a result of {operator} is {array.dtype} {array.shape}")
            if array.dtype == np.float32:
                if not self.not_finite and not np.isfinite(array).all():
                    raise NotPossible(f"a result of {operator} is not finite")
                if np.abs(array[np.isfinite(array)]).max(initial=0.0) > LARGEST:
                    raise NotPossible(f"a result of {operator} is large")
            exact_here = all_exact or array.dtype != np.float32
            results.append(Value(name, array, batched, exact=exact_here))
        self.nodes.append(node)
        constant = bool(given) and not batched and all(value.constant for value in given)
        for value in results:
            value.constant = constant or (not given)
            if not value.constant:
                self.values.append(value)
                self.made.append(value)
        return results[0] if outputs == 1 else results

    def axes_input(self, axes, since):
        """Axes as operators take them: (further inputs, attributes). An attribute before opset `since`."""
        axes = [int(axis) for axis in axes]
        if self.opset < since:
            return [], {"axes": axes}
        return [self.constant(np.array(axes, np.int64))], {}

    def either_sign(self, axis, rank):
        """The axis, counted from either end."""
        return int(axis - rank) if self.opset >= 11 and self.chance(0.4) else int(axis)

    # --- the whole ---

    def model(self):
        """The model, and its inputs by name. Outputs: what no node reads, and sometimes something that a node reads."""
        read = {name for node in self.nodes for name in node.input}
        computed = {name for node in self.nodes for name in node.output}
        # Some consumers know floats only.
        for value in [value for value in self.made if value.name not in read]:
            if not value.is_float and self.opset >= 9 and self.chance(0.5):
                self.node("Cast", [value], to=TensorProto.FLOAT)
                read.add(value.name)
        computed = {name for node in self.nodes for name in node.output}
        made = [value for value in self.made if value.name in computed]
        outputs = [value for value in made if value.name not in read]
        outputs += [value for value in made if value.name in read and self.chance(0.12)]
        if not outputs:
            raise NotPossible("no outputs")
        inputs = [value for value in self.inputs if value.name in read]
        if not inputs:
            raise NotPossible("no inputs")
        graph = helper.make_graph(
            self.nodes,
            "g",
            [self.info(value) for value in inputs],
            [self.info(value) for value in outputs],
            [tensor for tensor in self.constants if tensor.name in read],
        )
        return reference.model_of(graph, self.opset), {value.name: value.array for value in inputs}

    def info(self, value):
        shape = ["N", *value.shape[1:]] if value.batched else value.shape
        return helper.make_tensor_value_info(value.name, reference.ELEMENT[value.dtype], shape)


def suits(array, kind):
    if kind == "nonzero":
        return bool(np.abs(array).min() >= 0.2)
    if kind == "positive":
        return bool(array.min() >= 0.2)
    return True


def broadcasts(one, other):
    return all(a == b or a == 1 or b == 1 for a, b in zip(one[::-1], other[::-1], strict=False))


def primes(count):
    divisor = 2
    while count > 1:
        while count % divisor == 0:
            yield divisor
            count //= divisor
        divisor += 1
