"""Searches for wrong numbers in the ONNX compiler: random graphs, compared with onnxruntime.

    python -m venv .venv && .venv/bin/pip install -r examples/digits/requirements.txt
    cargo build -p dunlin-compiler --example conformance
    .venv/bin/python tests/peers/fuzz.py --runner target/debug/examples/conformance --count 2000

A graph is random, but always the same for a seed and a number: every operator of the compiler's table, extents of 1,
odd sizes, symbolic and fixed batches, residuals, gates, views on both sides, joins, several outputs, integers and
truth values (`conformance/families/`). onnxruntime computes what is right, without optimising the graph; what it does
not take is counted and left out. The compiler's module runs in wasmtime (`runtime/compiler/examples/conformance.rs`).

A graph that gives wrong numbers, hangs, traps or ends the compiler is made smaller and written to `--finds`, and the
line that adds it to the tests is printed. The last table says how often each operator occurred, passed and was
refused. The exit code is 1 if anything is wrong, or if in a run of 2,000 graphs an operator never occurred or never
passed. `--only N` takes one graph, `--seed` another series, `--minutes` goes on for a while.
"""

import argparse
import multiprocessing
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

# Beside this file lies one with the name of a package: look for it there last.
HERE = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE] + [str(HERE)]

from onnx import helper

from conformance import generate, reduce
from conformance.runner import BAD, HANG, Runner, write_case

# So many graphs go to a process at a time.
PORTION = 20
# What a smaller graph may take while one that hangs is made smaller.
HANG_SECONDS = 2
# So many reasons are printed, the most frequent ones.
REASONS = 30
# In a run of so many graphs every operator must occur and pass.
WHOLE = 2000
# What onnxruntime may refuse, of all graphs.
MOST_REFUSED_BY_REFERENCE = 0.02


class Worker:
    """One process: generates, asks onnxruntime and the runner, and reduces what fails."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.folder = Path(tempfile.mkdtemp(prefix="dunlin-fuzz-"))
        self.runner = Runner(arguments.runner, arguments.simd, arguments.seconds)

    def judge(self, model, inputs, outputs):
        stem = self.folder / "case"
        write_case(stem, model, inputs, outputs)
        return self.runner.judge(stem)

    def one(self, number):
        """What became of one graph, as a dictionary that can travel."""
        graph = generate.graph(self.arguments.seed, number, self.arguments.floats)
        if graph is None:
            return {"number": number, "operators": {}, "nodes_refused": [], "verdict": "none"}
        said = {"number": number, "operators": dict(graph.operators), "nodes_refused": graph.attempts}
        try:
            outputs = generate.expected(graph)
        except Exception as error:  # of onnx.checker too
            return said | {
                "verdict": "skipped",
                "detail": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            }
        verdict = self.judge(graph.model, graph.inputs, outputs)
        said |= {"verdict": verdict["verdict"], "code": verdict["code"], "detail": verdict["detail"]}
        if verdict["verdict"] in BAD:
            name = f"fuzz_{self.arguments.seed}_{number}"
            hangs = verdict["verdict"] == HANG
            self.runner.seconds = HANG_SECONDS if hangs else self.arguments.seconds
            reducer = reduce.Reducer(graph.model, graph.inputs, self.judge, most=30 if hangs else 400)
            model, inputs, outputs = reducer.reduce()
            self.arguments.finds.mkdir(parents=True, exist_ok=True)
            write_case(self.arguments.finds / name, model, inputs, outputs)
            said |= {
                "find": name,
                "reduced": describe(model),
                "detail": self.judge(model, inputs, outputs)["detail"],
            }
            self.runner.seconds = self.arguments.seconds
        return said


def describe(model):
    """The graph in a line: what each node makes of what."""

    def text(node):
        attributes = [
            f"{a.name}={helper.get_attribute_value(a)}" for a in node.attribute if a.name != "value"
        ]
        return f"{'|'.join(node.output)} = {node.op_type}({', '.join([*node.input, *attributes])})"

    def shape(value):
        return f"{value.name}{[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]}"

    nodes = "; ".join(text(node) for node in model.graph.node)
    return f"{', '.join(shape(value) for value in model.graph.input)}: {nodes}"


worker = None


def start(arguments):
    global worker
    worker = Worker(arguments)


def portion(numbers):
    return [worker.one(number) for number in numbers]


def portions(arguments, room):
    """Numbers of graphs, portion by portion, until there are enough or the time is over; waits for `room`."""
    end = time.monotonic() + arguments.minutes * 60 if arguments.minutes else None
    first = arguments.first
    while True:
        last = first + PORTION if end else min(first + PORTION, arguments.first + arguments.count)
        if first >= last or end and time.monotonic() > end:
            return
        room.acquire()
        yield list(range(first, last))
        first = last


class Tally:
    def __init__(self):
        self.verdicts, self.codes, self.skipped = Counter(), Counter(), Counter()
        self.nodes_refused = Counter()
        self.first = {}  # by reason, the first graph that was refused for it
        self.seen, self.passed, self.refused, self.bad = Counter(), Counter(), Counter(), []

    def take(self, said):
        verdict = said["verdict"]
        self.verdicts[verdict] += 1
        for operator, _ in said["nodes_refused"]:
            self.nodes_refused[operator] += 1
        if verdict == "none":
            return
        if verdict == "skipped":
            self.skipped[said["detail"]] += 1
            return
        for operator in said["operators"]:
            self.seen[operator] += 1
            self.passed[operator] += verdict == "pass"
            self.refused[operator] += verdict == "refused"
        if verdict == "refused":
            key = said["code"], reason(said["detail"])
            self.codes[key] += 1
            self.first.setdefault(key, said["number"])
        if verdict in BAD:
            self.bad.append(said)
            find = said["find"]
            print(
                f"\n{verdict} graph {said['number']}: {said['detail']}\n    {said['reduced']}\n    add it: cp {{FINDS}}/{find}.* "
                f"runtime/compiler/tests/cases/",
                flush=True,
            )

    def table(self):
        names = generate.operators()
        print(f"\n{'operator':28}{'graphs':>8}{'pass':>8}{'refused':>9}")
        for name in names:
            print(f"{name:28}{self.seen[name]:8}{self.passed[name]:8}{self.refused[name]:9}")
        print("\nrefused, by reason, with the number of one such graph:")
        for (code, text), count in self.codes.most_common(REASONS):
            print(f"{count:6} {self.first[code, text]:8}  {code}: {text}")
        for text, count in self.skipped.most_common(REASONS):
            print(f"{count:6} skipped: {text}")

    def missing(self):
        """What a whole run must have shown and did not."""
        names = generate.operators()
        never = [f"{name} never occurred" for name in names if not self.seen[name]]
        return never + [f"{name} never passed" for name in names if self.seen[name] and not self.passed[name]]


def reason(detail):
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 else lines[0] if lines else ""
    return re.sub(r"\d+", "#", re.sub(r'"[^"]*"', "…", text))[:150]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runner", type=Path, required=True, help="the built example `conformance`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=WHOLE)
    parser.add_argument("--first", type=int, default=0, help="number of the first graph")
    parser.add_argument("--only", type=int, help="number of the one graph")
    parser.add_argument("--minutes", type=float, help="instead of a count")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--simd", default="relaxed", choices=["relaxed", "deterministic", "none", "all"])
    parser.add_argument("--floats", action="store_true", help="no integers that are known only at run time")
    parser.add_argument("--seconds", type=float, default=20, help="what one graph may take")
    parser.add_argument(
        "--finds", type=Path, default=Path("target/fuzz-finds"), help="where reduced graphs go"
    )
    arguments = parser.parse_args()
    if arguments.only is not None:
        arguments.first, arguments.count, arguments.jobs = arguments.only, 1, 1
    began = time.monotonic()
    print(f"seed {arguments.seed}", flush=True)
    tally = Tally()
    with multiprocessing.get_context("fork").Pool(arguments.jobs, start, (arguments,)) as pool:
        # The pool reads ahead without a limit of its own.
        room = threading.Semaphore(2 * arguments.jobs)
        for said in pool.imap_unordered(portion, portions(arguments, room)):
            room.release()
            for one in said:
                tally.take(one)
    count = sum(tally.verdicts.values())
    if arguments.only is None:
        tally.table()
    failures = [] if count < WHOLE or arguments.floats else tally.missing()
    skipped = tally.verdicts["skipped"]
    if skipped > MOST_REFUSED_BY_REFERENCE * count + 1:
        failures.append(f"onnxruntime or onnx.checker refused {skipped} graphs")
    for failure in failures:
        print(f"FAIL {failure}")
    print(
        f"seed {arguments.seed}: {count} graphs in {time.monotonic() - began:.0f} s: {dict(tally.verdicts)}; "
        f"onnxruntime refused {sum(tally.nodes_refused.values())} nodes on the way"
    )
    return 1 if tally.bad or failures else 0


if __name__ == "__main__":
    sys.exit(main())
