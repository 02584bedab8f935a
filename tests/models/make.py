"""Makes the models of this folder: small, with seeded weights, exported as users export theirs.

    python -m venv .venv && .venv/bin/pip install -r tests/models/requirements.txt
    .venv/bin/python tests/models/make.py

Writes `<framework>-<exporter>-<architecture>.onnx` beside this file, and the table of README.md.
The files are the exporters' own, but for the stack traces in them, which hold paths of the machine,
and the text of the model, which says what it is. Each passes `onnx.checker`, runs in onnxruntime, answers differently to different inputs
and is below 200 KB. `--only TEXT` makes those whose name has TEXT, and leaves the table alone.
"""

import argparse
import collections
import importlib
import logging
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

HERE = Path(__file__).resolve().parent
MAX_BYTES = 200_000
FRAMEWORKS = {
    "pytorch": ["torch", "onnxscript", "onnx_ir"],
    "keras": ["keras", "tensorflow-cpu", "tf2onnx"],
}
EXPORTERS = {
    "torchscript": "`torch.onnx.export(dynamo=False)`",
    "dynamo": "`torch.onnx.export(dynamo=True)`",
    "tf2onnx": "`tf2onnx.convert.from_function`",
    "export": '`model.export(format="onnx")`',
}


def without_sources(model):
    """The model without what exporters note about the machine: where in which file a node was made."""

    def clean(graph):
        for thing in [graph, *graph.node, *graph.initializer, *graph.input, *graph.value_info]:
            thing.doc_string = ""
            kept = [prop for prop in thing.metadata_props if "stack_trace" not in prop.key]
            del thing.metadata_props[:]
            thing.metadata_props.extend(kept)
        for node in graph.node:
            for attribute in node.attribute:
                attribute.doc_string = ""
                if attribute.HasField("g"):
                    clean(attribute.g)

    clean(model.graph)
    return model


def dims(value):
    shape = value.type.tensor_type.shape.dim
    return [dim.dim_param or dim.dim_value for dim in shape]


def answers(model, seed):
    """onnxruntime's outputs to random inputs, two samples where the batch is symbolic."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rng, fed = np.random.default_rng(seed), {}
    for tensor in session.get_inputs():
        shape = [2 if isinstance(dim, str) else dim for dim in tensor.shape]
        if tensor.type == "tensor(int64)":
            fed[tensor.name] = rng.integers(0, 50, shape)
        else:
            fed[tensor.name] = rng.standard_normal(shape).astype(np.float32)
    return session.run(None, fed)


def check(name, model):
    """Refuses a file that would be no test."""
    data = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(model, full_check=True)
    if len(data) > MAX_BYTES:
        raise SystemExit(f"{name} has {len(data)} bytes, at most {MAX_BYTES} are wanted")
    if str(HERE.parents[1]).encode() in data or b"site-packages" in data:
        raise SystemExit(f"{name} holds a path of this machine")
    for one, other in zip(answers(data, 1), answers(data, 2), strict=True):
        if not np.isfinite(one).all() or np.abs(one - other).max() < 1e-3:
            raise SystemExit(f"{name} gives {one.ravel()[:5]} whatever comes in")
    return data


def make(framework, only):
    """Writes the files of one framework."""
    logging.disable(logging.WARNING)
    for name, architecture, data in importlib.import_module(f"in_{framework}").models():
        if only not in name:
            continue
        model = without_sources(onnx.load_from_string(data))
        model.doc_string = architecture
        data = check(name, model)
        (HERE / f"{name}.onnx").write_bytes(data)
        print(f"{name:<36} {len(data):>7} bytes", flush=True)


def row(file):
    framework, exporter, _ = file.stem.split("-", 2)
    model = onnx.load(file)
    opset = next(opset.version for opset in model.opset_import if opset.domain == "")
    count = collections.Counter(node.op_type for node in model.graph.node)
    operators = ", ".join(f"{n} {op}" if n > 1 else op for op, n in sorted(count.items()))
    inputs = " ".join(
        f"{value.name}[{','.join('N' if isinstance(dim, str) else str(dim) for dim in dims(value))}]"
        for value in model.graph.input
    )
    element = {1: "", 7: " int64"}[model.graph.input[0].type.tensor_type.elem_type]
    return (
        f"| `{file.name}` | {framework} | {EXPORTERS[exporter]} | {opset} | {model.doc_string} "
        f"| {inputs}{element} | {operators} |"
    )


def write_table():
    """Everything of README.md below the mark is what the files say."""
    readme = HERE / "README.md"
    mark = "<!-- the rest is written by make.py -->\n"
    head, found, _ = readme.read_text().partition(mark)
    if not found:
        raise SystemExit(f"{readme} has no line {mark.strip()!r}")
    files = sorted(HERE.glob("*.onnx"))
    lines = ["| framework | versions |", "|---|---|"]
    for framework, packages in FRAMEWORKS.items():
        versions = ", ".join(f"{package} {version(package)}" for package in packages)
        lines.append(f"| {framework} | {versions} |")
    lines += ["", "| file | framework | exporter | opset | architecture | input | operators |"]
    lines += ["|---|---|---|---|---|---|---|", *map(row, files)]
    readme.write_text(head + mark + "\n" + "\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Makes the models of tests/models.")
    parser.add_argument("--only", default="", help="only the models with this in their name")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="only this one, in this process")
    arguments = parser.parse_args()
    if arguments.framework:
        return make(arguments.framework, arguments.only)
    # A process each: the two frameworks do not like to share one.
    for framework in FRAMEWORKS:
        command = [sys.executable, __file__, "--framework", framework, "--only", arguments.only]
        subprocess.run(command, check=True)
    if not arguments.only:
        write_table()


if __name__ == "__main__":
    main()
