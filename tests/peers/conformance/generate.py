"""Graph number `number` of a seed: always the same one."""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from conformance import reference
from conformance.builder import Builder, NotPossible
from conformance.families import elementwise, folds, motifs, movement, products, windows  # noqa: F401, they register
from conformance.families.registry import STEPS, add, opsets

TABLE = Path(__file__).resolve().parents[3] / "runtime" / "compiler" / "src" / "op" / "mod.rs"
OPSETS = [13, 14, 15, 16, 17, 17, 17, 18, 18, 19, 20, 21, 21, 22, 23, 23, 24]
OLD_OPSETS = [7, 8, 9, 9, 10, 11, 11, 12]
ATTEMPTS = 12


def operators():
    """Every operator of the compiler's table."""
    return re.findall(r'^    operator\("(\w+)"', TABLE.read_text(), re.MULTILINE)


class Graph:
    """A generated model with its inputs, and what onnxruntime refused on the way."""

    def __init__(self, number, featured, model, inputs, attempts):
        self.number, self.featured, self.model, self.inputs = number, featured, model, inputs
        self.attempts = attempts  # (operator, reason) of nodes that onnxruntime does not take
        self.operators = Counter(node.op_type for node in model.graph.node)


def graph(seed, number, floats_only=False):
    """The graph; its first operator goes through the whole table. None if that is not about floats, and must be."""
    names = operators()
    featured = names[number % len(names)]
    for attempt in range(100):
        rng = np.random.default_rng([seed, number, attempt])
        built = build(rng, featured, floats_only)
        if built is not None:
            model, inputs, refused = built
            return Graph(number, featured, model, inputs, refused)
    if floats_only:
        return None
    raise RuntimeError(f"graph {number} of seed {seed}: no graph with {featured} after 100 attempts")


def build(rng, featured, floats_only):
    first, last = opsets(featured)
    fitting = [opset for opset in (OLD_OPSETS if rng.random() < 0.15 else OPSETS) if first <= opset <= last]
    fitting = fitting or [opset for opset in OPSETS + OLD_OPSETS if first <= opset <= last]
    opset = fitting[int(rng.integers(len(fitting)))]
    b = Builder(rng, opset, b_rows(rng))
    b.floats_only = floats_only
    steps = [lambda: add(b, featured)]
    if rng.random() < 0.6:
        steps.append(lambda: motifs.add_motif(b))
    for _ in range(int(rng.integers(0, 5))):
        steps.append(lambda: add(b, b.pick(list(STEPS))))
    rng.shuffle(steps)
    for step in steps:
        for _ in range(ATTEMPTS):
            if attempt_step(b, step):
                break
    try:
        model, inputs = b.model()
    except NotPossible:
        return None
    if featured not in {node.op_type for node in model.graph.node} or len(model.graph.node) > 60:
        return None
    return model, inputs, b.refused


def attempt_step(b, step):
    """A step that fails half-way leaves what it made: that is a graph too."""
    try:
        step()
    except NotPossible:
        return False
    return True


def b_rows(rng):
    """A symbolic batch of one to five rows, or none."""
    return None if rng.random() < 0.45 else int(rng.choice([1, 1, 2, 3, 5]))


def expected(graph):
    """onnxruntime's outputs; ReferenceRefuses if it refuses the whole."""
    reference.check(graph.model)
    return reference.run(graph.model.SerializeToString(), graph.inputs)
