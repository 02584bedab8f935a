"""Compares dunlin's Resize with onnxruntime's, systematically over small extents.

    python -m venv .venv && .venv/bin/pip install -r examples/digits/requirements.txt
    .venv/bin/python tests/peers/resize.py --dunlin target/debug/dunlin

Every extent from 1 to 9, up and down to every extent from 1 to 9, by scales and by sizes, in every mode,
coordinate_transformation_mode and nearest_mode; with `axes` and every keep_aspect_ratio_policy on two axes. Many
Resize nodes are in one model, joined to one output; their shapes are declared as onnxruntime's, which dunlin holds
them to. Nearest elements are the same exactly; means are within
1e-5, which is what float32 leaves of coordinates.

Where ONNX's text is clear and onnxruntime does something else, the text holds, and the cases are left out here:

- An axis that keeps its extent under another scale or region: the text resamples it. onnxruntime copies a tensor
  all of whose axes keep theirs, and does not crop an axis whose scale is 1.

- align_corners by scales that give a fraction of an element, where ONNX's tests and onnxruntime disagree: refused.

The last line is `N passed, M failed`; the exit code is 1 if anything failed.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

TRANSFORMATIONS = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
POLICIES = ["not_larger", "not_smaller"]
REGIONS = [(0.0, 1.0), (0.25, 0.75), (-0.25, 1.25), (0.1, 0.8)]
SCALES = [0.3, 0.5, 0.6, 2 / 3, 0.75, 0.8, 0.9, 1.1, 1.25, 4 / 3, 1.5, 5 / 3, 1.7, 2.0, 2.3, 2.5, 8 / 3, 3.0]
EXTENTS = range(1, 10)
NODES_A_MODEL = 1200
TOLERANCE = 1e-5


def cases():
    """Pairs of a case's text and its node: (input shape, attributes, roi, scales, sizes, opset)."""
    for mode in ["nearest", "linear"]:
        for transformation in TRANSFORMATIONS:
            ways = NEAREST if mode == "nearest" else [None]
            regions = REGIONS if transformation == "tf_crop_and_resize" else [None]
            for way in ways:
                for region in regions:
                    attributes = {"mode": mode, "coordinate_transformation_mode": transformation}
                    if way:
                        attributes["nearest_mode"] = way
                    if region:
                        attributes["extrapolation_value"] = -7.0
                    yield from lengths(attributes, region)
    for mode in ["nearest", "linear"]:
        for policy in POLICIES:
            for transformation in ["half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric"]:
                attributes = {"mode": mode, "coordinate_transformation_mode": transformation}
                attributes |= {"keep_aspect_ratio_policy": policy, "axes": [2, 3]}
                for height, width in [(3, 5), (7, 2), (4, 4), (9, 5), (1, 6)]:
                    for sizes in [(2, 7), (5, 5), (9, 3), (1, 8), (6, 10)]:
                        scale = [size / extent for size, extent in zip(sizes, (height, width))]
                        scale = (min if policy == "not_larger" else max)(scale)
                        if min(round(scale * height), round(scale * width)) > 0:
                            yield (1, 2, height, width), attributes, None, None, list(sizes)


def lengths(attributes, region):
    two = {**attributes, "axes": [2, 3]}
    for extent in EXTENTS:
        shape = (1, 1, 3, extent)
        roi = None if region is None else [0.0, region[0], 1.0, region[1]]
        for size in EXTENTS:
            # What keeps its extent is another matter: see above.
            if region is None or size != extent:
                yield shape, two, roi, None, [3, size]
        for scale in SCALES:
            exact = np.float32(extent) * np.float32(scale)
            aligns = attributes["coordinate_transformation_mode"] == "align_corners"
            if int(exact) not in (0, extent) and not (aligns and exact % 1):
                whole = None if region is None else [0.0, 0.0, 0.0, region[0], 1.0, 1.0, 1.0, region[1]]
                yield shape, two, roi, [1.0, scale], None
                yield shape, attributes, whole, [1.0, 1.0, 1.0, scale], None


def model(batch):
    """One model of many Resize nodes, and its inputs."""
    nodes, inputs, outputs, constants, feeds = [], {}, [], [], {}
    rng = np.random.default_rng(7)
    for index, (shape, attributes, roi, scales, sizes) in enumerate(batch):
        x = "x" + "_".join(map(str, shape))
        if x not in inputs:
            inputs[x] = helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)
            feeds[x] = rng.standard_normal(shape).astype(np.float32)
        names = [x]
        for kind, value, dtype in [("roi", roi, np.float32), ("scales", scales, np.float32), ("sizes", sizes, np.int64)]:
            names.append(f"{kind}{index}" if value else "")
            if value:
                constants.append(numpy_helper.from_array(np.array(value, dtype), names[-1]))
        nodes.append(helper.make_node("Resize", names, [f"y{index}"], **attributes))
        outputs.append(helper.make_tensor_value_info(f"y{index}", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "resize", list(inputs.values()), outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return made, feeds


def run(dunlin, folder, made, feeds, expected):
    """dunlin's outputs, of the shapes that are expected."""
    graph = made.graph
    graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in expected.items()
    )
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "flat"))
    graph.node.extend(helper.make_node("Reshape", [name, "flat"], [f"flat_{name}"]) for name in expected)
    graph.node.append(helper.make_node("Concat", [f"flat_{name}" for name in expected], ["all"], axis=0))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("all", TensorProto.FLOAT, None))
    onnx.save(made, folder / "m.onnx")
    np.savez(folder / "in.npz", **feeds)
    command(dunlin, "compile", folder / "m.onnx", "-o", folder / "m.wasm")
    command(dunlin, "run", folder / "m.wasm", "--inputs", folder / "in.npz", "--output-dir", folder / "out")
    joined, at, outputs = np.load(folder / "out" / "all.npy"), 0, []
    for value in expected.values():
        outputs.append(joined[at : at + value.size].reshape(value.shape))
        at += value.size
    return outputs


def command(*words):
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dunlin", type=Path, required=True)
    parser.add_argument("--nodes", type=int, default=NODES_A_MODEL, help="Resize nodes in one model")
    arguments = parser.parse_args()
    # Its shape inference multiplies scales otherwise than its kernels, and warns of it.
    onnxruntime.set_default_logger_severity(3)
    every = list(cases())
    passed, failed = 0, 0
    for start in range(0, len(every), arguments.nodes):
        batch = every[start : start + arguments.nodes]
        made, feeds = model(batch)
        session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
        with tempfile.TemporaryDirectory() as folder:
            actual = run(arguments.dunlin, Path(folder), made, feeds, expected)
        for case, a, e in zip(batch, actual, expected.values(), strict=True):
            exact = case[1]["mode"] == "nearest"
            if np.array_equal(a, e) if exact else np.abs(a - e).max() <= TOLERANCE:
                passed += 1
                continue
            failed += 1
            print(f"{case}: {a.shape} {a.ravel()}, onnxruntime has {e.ravel()}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
