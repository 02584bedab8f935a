"""Makes a failing graph smaller while it fails in the same way.

Tries, as long as one of them helps: the first tensor that is wrong as the only output, an input in the
place of a node, a node left out (its readers read an operand of the same shape), one row instead of
several, the batch made fixed, an input made a constant, simpler numbers.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from conformance import reference


class Reducer:
    """`verdict_of(model, inputs, outputs)` judges; the smallest model with the first verdict is kept."""

    def __init__(self, model, inputs, verdict_of, most=400):
        self.verdict_of = verdict_of
        self.tries, self.most = 0, most
        self.model, self.inputs = model, inputs
        self.outputs = reference.run(model.SerializeToString(), inputs)
        self.wanted = kind(verdict_of(model, inputs, self.outputs))

    def attempt(self, model, inputs):
        """Takes the model if it fails in the same way."""
        self.tries += 1
        if self.tries > self.most:
            return False
        clean(model)
        inputs = {value.name: inputs[value.name] for value in model.graph.input}
        if not model.graph.output or not model.graph.node:
            return False
        try:
            reference.check(model)
            outputs = reference.run(model.SerializeToString(), inputs)
        except Exception:  # not a model any more
            return False
        if kind(self.verdict_of(model, inputs, outputs)) != self.wanted:
            return False
        self.model, self.inputs, self.outputs = model, inputs, outputs
        return True

    def reduce(self):
        while self.tries <= self.most and any(
            [
                self.earliest_output(),
                self.cut_inputs(),
                self.leave_out(),
                self.rows(),
                self.fix_inputs(),
                self.numbers(),
            ]
        ):
            pass
        return self.model, self.inputs, self.outputs

    def copy(self):
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return model

    def earliest_output(self):
        """The first tensor that is wrong becomes the only output."""
        values = self.every_value()
        rows = self.rows_of(self.model)
        last = self.model.graph.output[0].name if len(self.model.graph.output) == 1 else None
        for name in [name for node in self.model.graph.node for name in node.output if name]:
            if name == last:
                return False
            array = values[name]
            if array.dtype not in reference.ELEMENT or rows is not None and array.shape[:1] != (rows,):
                continue
            model = self.copy()
            del model.graph.output[:]
            shape = ["N", *array.shape[1:]] if rows is not None else array.shape
            model.graph.output.append(
                helper.make_tensor_value_info(name, reference.ELEMENT[array.dtype], shape)
            )
            if self.attempt(model, self.inputs):
                return True
        return False

    def every_value(self):
        """All numbers of the model, by name, with whether they have the batch."""
        model = self.copy()
        del model.graph.output[:]
        for node in model.graph.node:
            model.graph.output.extend(
                helper.make_empty_tensor_value_info(name) for name in node.output if name
            )
        values = dict(self.inputs)
        values |= {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        return values | reference.run(model.SerializeToString(), self.inputs)

    def rows_of(self, model):
        """The rows of the symbolic batch, or None."""
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            if dims and dims[0].dim_param:
                return self.inputs[value.name].shape[0]
        return None

    def cut_inputs(self):
        """What a node makes becomes an input, from the end to the beginning."""
        helped = False
        values = self.every_value()
        rows = self.rows_of(self.model)
        for name in [name for node in reversed(self.model.graph.node) for name in node.output]:
            if name in {output.name for output in self.model.graph.output} or name not in values:
                continue
            array = values[name]
            if array.dtype not in reference.ELEMENT or rows is not None and array.shape[:1] != (rows,):
                continue
            model = self.copy()
            node = next((node for node in model.graph.node if name in node.output), None)
            if node is None or node.op_type == "Constant":
                continue
            model.graph.node.remove(node)
            if set(node.output) & ({used for other in model.graph.node for used in other.input} - {name}):
                continue
            shape = ["N", *array.shape[1:]] if rows is not None else array.shape
            model.graph.input.append(
                helper.make_tensor_value_info(name, reference.ELEMENT[array.dtype], shape)
            )
            helped |= self.attempt(model, {**self.inputs, name: array})
        return helped

    def leave_out(self):
        """The readers of a node read one of its operands, or the outputs of the graph end there."""
        helped = False
        values = self.every_value()
        for index in reversed(range(len(self.model.graph.node))):
            if index >= len(self.model.graph.node):
                continue
            node = self.model.graph.node[index]
            for operand in node.input:
                if operand not in values or not node.output or node.output[0] not in values:
                    continue
                here, there = values[operand], values[node.output[0]]
                outputs = {output.name for output in self.model.graph.output}
                if here.dtype != there.dtype or here.shape != there.shape and node.output[0] not in outputs:
                    continue
                model = self.copy()
                model.graph.node.remove(model.graph.node[index])
                if node.output[0] in outputs:
                    if (
                        operand in self.inputs
                        or operand in outputs
                        or operand in {t.name for t in model.graph.initializer}
                    ):
                        continue
                    for output in model.graph.output:
                        if output.name == node.output[0]:
                            shape = list(here.shape)
                            if self.rows_of(self.model) is not None and shape:
                                shape[0] = "N"
                            output.CopyFrom(
                                helper.make_tensor_value_info(operand, reference.ELEMENT[here.dtype], shape)
                            )
                for other in model.graph.node:
                    for place, used in enumerate(other.input):
                        if used == node.output[0]:
                            other.input[place] = operand
                if self.attempt(model, self.inputs):
                    helped = True
                    values = self.every_value()
                    break
        return helped

    def rows(self):
        rows = self.rows_of(self.model)
        if rows is None:
            return False
        if rows > 1 and self.attempt(self.copy(), {name: array[:1] for name, array in self.inputs.items()}):
            return True
        model = self.copy()
        for value in [*model.graph.input, *model.graph.output]:
            dims = value.type.tensor_type.shape.dim
            if dims and dims[0].dim_param:
                dims[0].dim_value = rows
        return self.attempt(model, self.inputs)

    def fix_inputs(self):
        helped = False
        for name in list(self.inputs):
            if len(self.inputs) == 1:
                break
            model = self.copy()
            value = next(value for value in model.graph.input if value.name == name)
            model.graph.input.remove(value)
            model.graph.initializer.append(numpy_helper.from_array(self.inputs[name], name))
            helped |= self.attempt(model, {key: array for key, array in self.inputs.items() if key != name})
        return helped

    def numbers(self):
        """Whole numbers, where they still fail."""
        simple = {
            name: np.round(array * 4) / np.float32(4) if array.dtype == np.float32 else array
            for name, array in self.inputs.items()
        }
        changed = any(
            not np.array_equal(simple[name], array, equal_nan=array.dtype == np.float32)
            for name, array in self.inputs.items()
        )
        return changed and self.attempt(self.copy(), simple)


def kind(verdict):
    return verdict["verdict"]


def clean(model):
    """Leaves out what nothing reads."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        dead = [node for node in graph.node if not read & set(node.output)]
        for node in dead:
            graph.node.remove(node)
        if not dead:
            break
    for entries in (graph.initializer, graph.input):
        for entry in [entry for entry in entries if entry.name not in read]:
            entries.remove(entry)
