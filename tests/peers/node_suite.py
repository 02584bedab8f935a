"""ONNX's own node suite, `onnx.backend.test`, against the compiler.

    python -m venv .venv && .venv/bin/pip install -r examples/digits/requirements.txt
    cargo build -p dunlin-compiler --example conformance
    .venv/bin/python tests/peers/node_suite.py --runner target/debug/examples/conformance

Each case of the suite is a model of a node or a few, with inputs and the right outputs, and is judged with the suite's
own tolerances. First all inputs are inputs of the module. Where the compiler refuses that, because it must know axes,
shapes or weights, all inputs but the first are given to it as constants, then those that are integers, then all.

`node_suite.txt` lists the cases that pass, with the way in which they do. Nothing may be wrong; a case on the list may
not be refused, nor pass in a later way only. New passes are printed, and `--update` rewrites the list. `--only NAME`
runs one case and says what became of it. The exit code is 1 if anything is wrong or a case was lost.
"""

import argparse
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

# Beside this file lies one with the name of a package: look for it there last.
HERE = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE] + [str(HERE)]

import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests

from conformance.reference import ELEMENT
from conformance.runner import BAD, Runner, write_case

LIST = HERE / "node_suite.txt"
# How the inputs are given, in the order in which the ways are tried.
WAYS = ["inputs", "first", "floats", "constants"]


def arrays(values):
    """As the runner reads them. A type that it does not know becomes an empty array: no model with it is compiled."""
    known = lambda value: isinstance(value, np.ndarray | np.generic) and value.dtype in ELEMENT
    return [np.asarray(value) if known(value) else np.zeros(0, np.uint8) for value in values]


def fixed(model, inputs):
    """The model with the shapes of these inputs in the place of symbols."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for info, value in zip(copy.graph.input, inputs, strict=False):
        shape = info.type.tensor_type.shape
        if (
            info.type.HasField("tensor_type")
            and isinstance(value, np.ndarray | np.generic)
            and len(shape.dim) == value.ndim
        ):
            for dim, extent in zip(shape.dim, value.shape, strict=True):
                dim.dim_value = extent
    return copy


def is_known(way, index, array):
    """Whether an input is a constant."""
    return {"inputs": False, "first": index > 0, "floats": array.dtype != np.float32, "constants": True}[way]


def prepare(case, folder):
    """Writes the case in each way; the paths without extension."""
    given, wanted = case.data_sets[0]
    model = fixed(case.model, given)
    names = [info.name for info in model.graph.input]
    outputs = dict(zip((info.name for info in model.graph.output), arrays(wanted), strict=False))
    inputs = dict(zip(names, arrays(given), strict=False))
    tolerance = {"rtol": np.float64(case.rtol), "atol": np.float64(case.atol)}
    stems = {}
    for way in WAYS:
        known = {name for index, (name, array) in enumerate(inputs.items()) if is_known(way, index, array)}
        if way != "inputs" and not known:
            continue
        constants = {f"constant/{name}": inputs[name] for name in known}
        free = {name: array for name, array in inputs.items() if name not in known}
        stems[way] = folder / f"{case.name}.{way}"
        write_case(stems[way], model, free, outputs, **constants, **tolerance)
    return stems


def judge(runner, stems):
    """The way that is not refused, or the first, with its verdict."""
    first = None
    for way, stem in stems.items():
        verdict = runner.judge(stem)
        if verdict["verdict"] != "refused":
            return way, verdict
        first = first or (way, verdict)
    return first


def run(arguments, cases):
    """What became of each case, by name: (way, verdict)."""
    runners = SimpleQueue()
    for _ in range(arguments.jobs):
        runners.put(Runner(arguments.runner, arguments.simd))

    def one(case):
        runner = runners.get()
        try:
            with tempfile.TemporaryDirectory(prefix="dunlin-node-suite-") as folder:
                return case.name, judge(runner, prepare(case, Path(folder)))
        finally:
            runners.put(runner)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = dict(pool.map(one, cases))
    while not runners.empty():
        runners.get().close()
    return found


def listed():
    lines = LIST.read_text().splitlines() if LIST.exists() else []
    return dict(line.split() for line in lines if line and not line.startswith("#"))


def write_list(found):
    passes = {name: way for name, (way, verdict) in found.items() if verdict["verdict"] == "pass"}
    refused = sum(verdict["verdict"] == "refused" for _, verdict in found.values())
    lines = [
        f"# ONNX {onnx.__version__}: of {len(found)} cases {len(passes)} pass and {refused} are refused.",
        "# Written by `node_suite.py --update`: the case, and how its inputs are given.",
    ]
    LIST.write_text("\n".join([*lines, *(f"{name} {way}" for name, way in sorted(passes.items()))]) + "\n")


def compare(found):
    """What is wrong, what was lost, and what is new: three lists of texts."""
    before = listed()
    wrong = [
        f"{verdict['verdict']:6} {name} ({way}): {verdict['detail']}"
        for name, (way, verdict) in sorted(found.items())
        if verdict["verdict"] in BAD
    ]
    passes = {name: way for name, (way, verdict) in found.items() if verdict["verdict"] == "pass"}
    lost = []
    for name, way in sorted(before.items()):
        if name not in found:
            lost.append(f"{name} is no case of the suite")
        elif name in passes and WAYS.index(passes[name]) > WAYS.index(way):
            lost.append(f"{name} passed with the way {way!r}, now only {passes[name]!r}")
        elif name not in passes and found[name][1]["verdict"] not in BAD:
            lost.append(f"{name} passed and is refused: {' '.join(found[name][1]['detail'].split())}")
    new = [
        f"{name} {way}"
        for name, way in sorted(passes.items())
        if name not in before or WAYS.index(way) < WAYS.index(before[name])
    ]
    return wrong, lost, new


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runner", type=Path, required=True, help="the built example `conformance`")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--simd", default="relaxed", choices=["relaxed", "deterministic", "none", "all"])
    parser.add_argument("--only", help="the name of a case")
    parser.add_argument("--update", action="store_true", help="rewrite the list")
    parser.add_argument("--refused", action="store_true", help="print why cases are refused")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        # The suite computes infinities on purpose.
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    if arguments.only:
        found = run(arguments, [case for case in cases if case.name == arguments.only])
        print(
            "\n".join(f"{name} ({way}): {verdict}" for name, (way, verdict) in found.items())
            or "no case of this name"
        )
        return 0
    found = run(arguments, cases)
    if arguments.refused:
        for name, (way, verdict) in sorted(found.items()):
            if verdict["verdict"] == "refused":
                print(f"refused {name}: {verdict['code']}: {' '.join(verdict['detail'].split())[:300]}")
    wrong, lost, new = compare(found)
    for title, lines in [("WRONG", wrong), ("LOST", lost), ("new", new)]:
        for line in lines:
            print(f"{title} {line}")
    verdicts = [verdict["verdict"] for _, verdict in found.values()]
    counts = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
    if arguments.update:
        write_list(found)
    elif new:
        print(f"{len(new)} new passes: add them with --update")
    print(f"{len(found)} cases of the node suite: {counts}; {len(lost)} lost")
    return 1 if wrong or lost and not arguments.update else 0


if __name__ == "__main__":
    sys.exit(main())
