"""Compares dunlin with onnxruntime on the models of tests/models, which frameworks have exported.

    python -m venv .venv && .venv/bin/pip install -r examples/digits/requirements.txt
    .venv/bin/python tests/peers/models.py --dunlin target/debug/dunlin

Every `tests/models/*.onnx` is compiled, run on seeded random inputs and compared: all outputs, their
names, types and shapes, within 1e-4 * max(1, |largest output|). Where the batch is symbolic, five
samples go through a module for three. One line a model: `ok` with the largest difference, `refused`
with the compiler's reason, or `FAIL`.

`tests/models/refused.txt` names the models that the compiler is known to refuse. A refusal that is
not on that list is a failure, and so is a model on it that works: the list stays true.
`--update` writes the list anew instead. `--models DIR` takes other models, without a list.

The last line is `N passed, M failed`; the exit code is 1 if anything failed.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

# Beside this file lies one with the name of the package: do not look for that there.
HERE = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

import numpy as np
import onnx
import onnxruntime

MODELS = HERE.parent / "models"
TOLERANCE = 1e-4
BATCH, SAMPLES = 3, 5
TIMEOUT_S = 120
REFUSED = 3  # the exit code of `dunlin` for what it refuses


class Mismatch(Exception):
    """A model that does not do what it should; the text says what was wanted and what came."""


class Refused(Exception):
    """A model that the compiler does not take; the text is its reason."""


def call(dunlin, *arguments):
    command = [str(dunlin), *map(str, arguments)]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Mismatch(f"`dunlin {arguments[0]}` took more than {TIMEOUT_S} s") from None


def said(done):
    """The message of a command that failed, on one line, without the advice."""
    text = " ".join((done.stderr or done.stdout).partition("\n  to do:")[0].split())
    return text if len(text) <= 400 else f"{text[:400]}…"


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def rows_indexed_by(model, name):
    """How many rows the table has that the integers of input `name` choose from."""
    extents = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[1] == name and node.input[0] in extents:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            return extents[node.input[0]][axis]
    return 2


def random_inputs(model, session, rng):
    """Inputs by name: normally distributed, or indices into the table where they are integers."""
    inputs = {}
    for tensor in session.get_inputs():
        shape = [extent if isinstance(extent, int) else SAMPLES for extent in tensor.shape]
        if tensor.type == "tensor(int64)":
            inputs[tensor.name] = rng.integers(0, rows_indexed_by(model, tensor.name), shape)
        elif tensor.type == "tensor(float)":
            inputs[tensor.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            raise Mismatch(f"input {tensor.name} is {tensor.type}, and this script makes none")
    return inputs


def dunlin_outputs(dunlin, file, inputs, batched, folder):
    """Outputs by the name of their file."""
    module, results = folder / "model.wasm", folder / "out"
    done = call(dunlin, "compile", file, "-o", module, "--batch", BATCH if batched else 1)
    if done.returncode != 0:
        if done.returncode != REFUSED:
            raise Mismatch(f"`dunlin compile` ended with {done.returncode}: {said(done)}")
        raise Refused(said(done))
    fed = []
    for index, (name, array) in enumerate(inputs.items()):
        saved = folder / f"{index}.npy"
        np.save(saved, array, allow_pickle=False)
        fed += ["--input", f"{name}={saved}"]
    done = call(dunlin, "run", module, *fed, "--output-dir", results)
    if done.returncode != 0:
        raise Mismatch(f"`dunlin run` ended with {done.returncode}: {said(done)}")
    return {saved.stem: np.load(saved, allow_pickle=False) for saved in results.glob("*.npy")}


def compare(dunlin, file, seed, folder):
    """What was compared, with the largest difference."""
    model = onnx.load(file)
    session = session_of(model)
    inputs = random_inputs(model, session, np.random.default_rng(seed))
    batched = any(not isinstance(tensor.shape[0], int) for tensor in session.get_inputs())
    got = dunlin_outputs(dunlin, file, inputs, batched, folder)
    names = [output.name for output in session.get_outputs()]
    wanted = dict(zip(names, session.run(names, inputs), strict=True))
    wanted = {name.replace("/", "_").replace("\\", "_"): array for name, array in wanted.items()}
    if got.keys() != wanted.keys():
        raise Mismatch(f"outputs are {sorted(got)}, wanted {sorted(wanted)}")
    largest, share = 0.0, 0.0
    for name, want in wanted.items():
        have = got[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            raise Mismatch(f"{name} is {have.dtype} {have.shape}, wanted {want.dtype} {want.shape}")
        gap = float(np.abs(have.astype(np.float64) - want).max())
        allowed = TOLERANCE * max(1.0, float(np.abs(want).max()))
        if not gap <= allowed:  # a NaN fails too
            raise Mismatch(f"{name} differs by {gap:.3g}, allowed {allowed:.3g}")
        largest, share = max(largest, gap), max(share, gap / allowed)
    samples = f"{SAMPLES} samples, batch {BATCH}" if batched else "1 sample"
    return f"{samples}, max|diff| {largest:.1e}, {share:.1%} of what is allowed"


def main():
    parser = argparse.ArgumentParser(description="Compares dunlin with onnxruntime on exported models.")
    parser.add_argument("--dunlin", type=Path, required=True, help="the binary to test")
    parser.add_argument("--models", type=Path, default=MODELS, help="a folder of .onnx files")
    parser.add_argument("--only", default="", help="only models with this in their name")
    parser.add_argument("--seed", type=int, default=23, help="of the inputs")
    parser.add_argument("--update", action="store_true", help="write the list of refused models")
    arguments = parser.parse_args()
    if not arguments.dunlin.is_file():
        parser.error(f"no file at {arguments.dunlin}; `cargo build` makes target/debug/dunlin")
    everything = sorted(arguments.models.glob("*.onnx"))
    files = [file for file in everything if arguments.only in file.name]
    if not files:
        parser.error(f"no .onnx file in {arguments.models} has {arguments.only!r} in its name")
    if arguments.update and len(files) != len(everything):
        parser.error("--update needs all models: leave --only out")

    list_file = arguments.models / "refused.txt"
    listed = set(list_file.read_text().split()) if list_file.is_file() else set()
    # Other folders have no list, so a refusal there is an answer and not a failure.
    strict = arguments.models.resolve() == MODELS and not arguments.update

    passed = failed = 0
    refused = []
    for file in files:
        name = file.stem
        try:
            with tempfile.TemporaryDirectory(prefix="dunlin-models-") as folder:
                found = compare(arguments.dunlin.resolve(), file, arguments.seed, Path(folder))
            if strict and name in listed:
                raise Mismatch(f"{found}; it is still on the list of {list_file.name}: --update")
        except Refused as reason:
            refused.append(name)
            if name in listed or not strict:
                print(f"refused  {name:<38} {reason}", flush=True)
            else:
                print(f"FAIL     {name:<38} refused: {reason}", flush=True)
                failed += 1
        except Exception as error:  # any fault is a failure, and the other models still run
            kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
            print(f"FAIL     {name:<38} {kind}{error}", flush=True)
            failed += 1
        else:
            print(f"ok       {name:<38} {found}", flush=True)
            passed += 1
    if arguments.update:
        list_file.write_text("".join(f"{name}\n" for name in refused))
    print(f"{len(refused)} of {len(files)} models refused by the compiler")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
