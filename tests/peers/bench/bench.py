"""Measures Dunlin beside its peers and beside what the machine allows, one thread, one sample.

    bash tests/peers/bench/run                      # builds everything, makes the models, measures
    bash tests/peers/bench/run --models DIR         # other models, with float inputs of fixed shapes

Every candidate is a process that has loaded the model and waits. In each round each of them makes
calls for some milliseconds, one after the other and in an order that turns by one every round, so
that whatever else the machine does falls on all of them alike. A figure is the median over rounds of
the median of the calls in a round. All candidates are bound to one core.

Before it is measured, a candidate must give onnxruntime's answer within 1e-3 * max(1, |largest|);
else the table says `differs`. Where it cannot load the model, `refused`, with the reason below.

`limit` is no candidate for a user: the time that the multiply-accumulates take at the machine's
greatest rate of 128-bit fused multiply-adds, or reading the weights that often from the cache that
holds them, whichever is greater, measured in the same rounds. Other work of a model is not in it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, shape_inference

HERE = Path(__file__).resolve().parent
ROUND_MS = 20
TOLERANCE = 1e-3
REFERENCE = "onnxruntime"


class Work:
    """What a model has to compute and to read, from its shapes."""

    def __init__(self, file):
        model = shape_inference.infer_shapes(onnx.load(file), strict_mode=True, data_prop=True)
        graph = model.graph
        self.shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
        self.sizes = {
            tensor.name: numpy_helper.to_array(tensor).nbytes for tensor in graph.initializer
        }
        for value in [*graph.input, *graph.output, *graph.value_info]:
            dims = value.type.tensor_type.shape.dim
            self.shapes[value.name] = [dim.dim_value for dim in dims]
        inputs = [value for value in graph.input if value.name not in self.sizes]
        for value in inputs:
            if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                raise ValueError(f"input {value.name} is not float32")
            if not all(self.shapes[value.name]):
                raise ValueError(f"input {value.name} has a symbolic axis")
        self.macs = self.read_bytes = 0
        self.weight_bytes = sum(self.sizes.values())
        for node in graph.node:
            times = self.steps(node)
            self.macs += self.macs_of(node)
            self.read_bytes += times * sum(self.sizes.get(name, 0) for name in node.input)

    def steps(self, node):
        """How often a node reads its weights."""
        return self.shapes[node.input[0]][0] if node.op_type in ("LSTM", "GRU", "RNN") else 1

    def macs_of(self, node):
        shape = self.shapes
        size = lambda name: int(np.prod(shape[name]))  # noqa: E731
        if node.op_type == "Conv":
            return size(node.output[0]) * int(np.prod(shape[node.input[1]][1:]))
        if node.op_type == "ConvTranspose":
            return size(node.input[0]) * int(np.prod(shape[node.input[1]][1:]))
        if node.op_type == "MatMul":
            return size(node.output[0]) * shape[node.input[0]][-1]
        if node.op_type == "Gemm":
            trans_a = next((a.i for a in node.attribute if a.name == "transA"), 0)
            return size(node.output[0]) * shape[node.input[0]][0 if trans_a else 1]
        if node.op_type in ("LSTM", "GRU", "RNN"):
            steps, samples = shape[node.input[0]][:2]
            return steps * samples * (size(node.input[1]) + size(node.input[2]))
        return 0


class Candidate:
    """A process that runs one model when it is told to."""

    def __init__(self, name, command, core):
        self.name = name
        self.rounds, self.calls, self.refused = [], 1, None
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=HERE,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        line = self.process.stdout.readline()
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            said = {"refused": f"it ended with {self.process.wait()} and said {line.strip()!r}"}
        self.refused = said.get("refused")
        self.output = np.array(said.get("output", []), np.float64)
        self.load_ms = said.get("load_ms", 0.0)

    def measure(self, calls):
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()} while it was measured")
        return float(line)

    def warm(self, round_ms):
        """Runs until it is as fast as it gets, and chooses how many calls make a round."""
        for _ in range(3):
            nanoseconds = self.measure(self.calls)
            self.calls = max(1, min(100_000, int(round_ms * 1e6 / max(nanoseconds, 10.0))))

    def round(self):
        self.rounds.append(self.measure(self.calls))

    def microseconds(self):
        return statistics.median(self.rounds) / 1e3

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def answers_agree(candidate, reference):
    if candidate.output.shape != reference.output.shape:
        return False
    gap = np.abs(candidate.output - reference.output)
    return bool((gap <= TOLERANCE * max(1.0, np.abs(reference.output).max())).all())


def commands(arguments, file, work):
    """Each candidate's name and command."""
    worker = arguments.worker
    every = {
        REFERENCE: [sys.executable, HERE / "worker.py", file],
        "dunlin": [worker, "dunlin", file],
        "dunlin, checked": [worker, "dunlin-checked", file],
        "tract": [worker, "tract", file],
        "tract in wasm": [worker, "tract-wasm", arguments.tract_wasm, file],
        "onnxruntime-web": ["node", HERE / "worker.mjs", file],
        "limit": [worker, "limit", work.macs, work.weight_bytes, work.read_bytes],
    }
    if arguments.tract_wasm is None:
        del every["tract in wasm"]
    if not (HERE / "node_modules").is_dir():
        del every["onnxruntime-web"]
    if arguments.only:
        every = {name: command for name, command in every.items() if name in arguments.only}
    return every


def measure(arguments, file):
    """Medians by candidate, or why there is none; and the work of the model."""
    work = Work(file)
    started = [
        Candidate(name, command, arguments.core)
        for name, command in commands(arguments, file, work).items()
    ]
    running, results, notes = [], {}, []
    reference = next((c for c in started if c.name == REFERENCE), None)
    for candidate in started:
        if candidate.refused:
            results[candidate.name] = "refused"
            notes.append(f"{file.stem}, {candidate.name}: {' '.join(candidate.refused.split())[:300]}")
        elif reference and candidate.name != "limit" and not answers_agree(candidate, reference):
            results[candidate.name] = "differs"
            notes.append(f"{file.stem}, {candidate.name}: another answer than onnxruntime's")
        else:
            running.append(candidate)
    for candidate in running:
        candidate.warm(arguments.round_ms)
    for round_number in range(arguments.rounds):
        turn = round_number % len(running)
        for candidate in running[turn:] + running[:turn]:
            candidate.round()
    for candidate in running:
        results[candidate.name] = candidate.microseconds()
    for candidate in started:
        candidate.end()
    return results, notes, work


def table(rows):
    """Markdown, with columns of equal width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for place, row in enumerate(rows):
        cells = [cell.ljust(width) if c == 0 else cell.rjust(width)
                 for c, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
        if place == 0:
            dashes = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
            lines.append("|" + "|".join(dashes) + "|")
    return "\n".join(lines)


def show(measured):
    names = []
    for results, _ in measured.values():
        names += [name for name in results if name not in names]
    models = list(measured)

    def cells(text_of):
        return [[name, *(text_of(*measured[model], name) for model in models)] for name in names]

    def time(results, _, name):
        value = results.get(name, "")
        return value if isinstance(value, str) else f"{value:.3g}" if value < 100 else f"{value:.0f}"

    def over(reference):
        def text(results, _, name):
            value, base = results.get(name), results.get(reference)
            if isinstance(value, str) or value is None or not isinstance(base, float):
                return ""
            return f"{value / base:.2f}"

        return text

    def share(results, _, name):
        value, limit = results.get(name), results.get("limit")
        if not isinstance(value, float) or not isinstance(limit, float):
            return ""
        return f"{limit / value:.0%}"

    sizes = [
        ["multiply-accumulates, thousands", *(f"{measured[m][1].macs / 1e3:.0f}" for m in models)],
        ["weights, KiB", *(f"{measured[m][1].weight_bytes / 1024:.0f}" for m in models)],
    ]
    print("\nMicroseconds for one inference\n")
    print(table([["", *models], *cells(time), *sizes]))
    print(f"\nRelative to {REFERENCE}: below 1 is faster\n")
    print(table([["", *models], *cells(over(REFERENCE))]))
    print("\nShare of the limit: 100% is all that the machine can do with 128-bit vectors\n")
    print(table([["", *models], *(row for row in cells(share) if row[0] != "limit")]))


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def main():
    parser = argparse.ArgumentParser(description="Measures Dunlin beside its peers.")
    parser.add_argument("--models", type=Path, required=True, help="a folder of .onnx files")
    parser.add_argument("--worker", type=Path, required=True, help="the program bench-worker")
    parser.add_argument("--tract-wasm", type=Path, help="the module of tract-guest")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--round-ms", type=float, default=ROUND_MS, help="of each candidate")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--only", action="append", help="this candidate, may be given again")
    parser.add_argument("--model", action="append", help="this model, may be given again")
    parser.add_argument("--json", type=Path, help="write all medians there, too")
    arguments = parser.parse_args()
    # Candidates are started in another folder.
    for name in ["models", "worker", "tract_wasm"]:
        path = getattr(arguments, name)
        if path is not None:
            if not path.exists():
                parser.error(f"no {path}")
            setattr(arguments, name, path.resolve())
    files = sorted(arguments.models.glob("*.onnx"))
    files = [file for file in files if not arguments.model or file.stem in arguments.model]
    if not files:
        parser.error(f"no models in {arguments.models}")

    print(f"{processor()}, core {arguments.core} of {os.cpu_count()}, load {os.getloadavg()[0]:.1f}")
    print(f"{arguments.rounds} rounds of {arguments.round_ms:g} ms, onnxruntime {onnxruntime.__version__}")
    measured, notes = {}, []
    for file in files:
        print(f"measuring {file.stem}", file=sys.stderr, flush=True)
        try:
            results, said, work = measure(arguments, file)
        except ValueError as error:
            notes.append(f"{file.stem}: left out, {error}")
            continue
        measured[file.stem] = (results, work)
        notes += said
    show(measured)
    if notes:
        print("\n" + "\n".join(f"- {note}" for note in notes))
    if arguments.json:
        figures = {model: results for model, (results, _) in measured.items()}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
