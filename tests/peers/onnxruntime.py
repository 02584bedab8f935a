"""Compares dunlin's compiled models with onnxruntime, an independent implementation of ONNX.

    python -m venv .venv && .venv/bin/pip install -r examples/digits/requirements.txt
    .venv/bin/python tests/peers/onnxruntime.py --dunlin target/debug/dunlin

Three groups of checks, one printed line each:

1. The committed files of examples/digits are what they say: the model passes `onnx.checker`, and
   the recorded outputs are onnxruntime's of today within 1e-6. (Training is not repeated here:
   another processor may round to other weights.)
2. The digits model, compiled and run by dunlin over 100 test images, is within 1e-5.
3. Random dense models (fixed seed) are within 1e-5 * max(1, |largest output|): Gemm with transB,
   alpha, beta and every shape of C, MatMul with Add, the activations, Flatten and Reshape,
   constants as initializers and as nodes, odd sizes, a symbolic batch that is not a multiple of
   the compiled one.

The last line is `N passed, M failed`; the exit code is 1 if anything failed. The model that failed
is kept, and its path printed. `--seed` and `--count` widen the third group.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# This file has the name of the package that it imports: do not look for that beside this file.
HERE = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

DIGITS = HERE.parents[1] / "examples" / "digits"
RECORDED_TOLERANCE = 1e-6
TOLERANCE = 1e-5
BATCH = 16
TIMEOUT_S = 120


class Mismatch(Exception):
    """A check that did not hold; its text says what was wanted and what came."""


def expected_outputs(model_bytes, inputs):
    """onnxruntime's outputs by name, computed on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def largest_difference(name, got, want, tolerance):
    """The largest |got - want|; a Mismatch if shape or dtype differ or it passes the tolerance."""
    if got.shape != want.shape or got.dtype != want.dtype:
        raise Mismatch(f"{name} is {got.dtype} {got.shape}, wanted {want.dtype} {want.shape}")
    gap = float(np.abs(got.astype(np.float64) - want).max())
    if not gap <= tolerance:  # a NaN fails too
        raise Mismatch(f"{name} differs by {gap:.3g}, allowed {tolerance:.3g}")
    return gap


class Dunlin:
    """The binary under test, with a folder to work in."""

    def __init__(self, binary):
        self.binary = binary

    def call(self, *arguments):
        command = [str(self.binary), *map(str, arguments)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Mismatch(f"`dunlin {arguments[0]}` took more than {TIMEOUT_S} s") from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise Mismatch(f"`dunlin {arguments[0]}` ended with {done.returncode}: {said}")

    def outputs(self, model, inputs, batch, folder):
        """Compiles the ONNX file `model` and runs it; outputs by the name of their file."""
        module = folder / "model.wasm"
        results = folder / "out"
        self.call("compile", model, "-o", module, "--batch", batch)
        fed = []
        for name, array in inputs.items():
            file = folder / f"{name}.npy"
            np.save(file, array, allow_pickle=False)
            fed += ["--input", f"{name}={file}"]
        self.call("run", module, *fed, "--output-dir", results)
        return {file.stem: np.load(file, allow_pickle=False) for file in results.glob("*.npy")}

    def compare(self, model, inputs, batch, folder, relative):
        """The largest difference from onnxruntime over all outputs of the ONNX file `model`.

        The tolerance is 1e-5, times the largest output above 1 where `relative`."""
        wanted = expected_outputs(model.read_bytes(), inputs)
        got = self.outputs(model, inputs, batch, folder)
        files = {name.replace("/", "_"): want for name, want in wanted.items()}
        if got.keys() != files.keys():
            raise Mismatch(f"outputs are {sorted(got)}, wanted {sorted(files)}")
        gaps = []
        for name, want in files.items():
            scale = max(1.0, float(np.abs(want).max())) if relative else 1.0
            gaps.append(largest_difference(name, got[name], want, TOLERANCE * scale))
        return max(gaps)


# --- 1 and 2: the example ---


def check_digits_model():
    model = onnx.load(DIGITS / "digits.onnx")
    onnx.checker.check_model(model, full_check=True)
    operators = " ".join(node.op_type for node in model.graph.node)
    return f"{operators}, opset {model.opset_import[0].version}"


def check_recorded(file_name, count):
    """`file_name` holds `count` of the test images and the outputs that onnxruntime gives now."""
    with np.load(DIGITS / file_name, allow_pickle=False) as tensors:
        if sorted(tensors.files) != ["input/pixels", "output/probabilities"]:
            raise Mismatch(f"the keys are {sorted(tensors.files)}")
        pixels, recorded = tensors["input/pixels"], tensors["output/probabilities"]
    if len(pixels) != count:
        raise Mismatch(f"{len(pixels)} vectors, wanted {count}")
    images = {image.tobytes() for image in np.load(DIGITS / "test_images.npy").astype(np.float32)}
    if not all(row.tobytes() in images for row in pixels):
        raise Mismatch("an input is not one of the test images")
    now = expected_outputs((DIGITS / "digits.onnx").read_bytes(), {"pixels": pixels})
    gap = largest_difference("probabilities", recorded, now["probabilities"], RECORDED_TOLERANCE)
    return f"{count} vectors, max|diff| {gap:.1e}"


def check_digits(dunlin, folder):
    images = np.load(DIGITS / "test_images.npy")[:100].astype(np.float32)
    gap = dunlin.compare(DIGITS / "digits.onnx", {"pixels": images}, BATCH, folder, relative=False)
    return f"100 test images, max|diff| {gap:.1e}"


# --- 3: random models ---


class RandomModel:
    """A dense network drawn from `rng`: `model`, its input `rows` and the compiled `batch`."""

    def __init__(self, rng):
        self.rng = rng
        self.nodes, self.initializers = [], []
        self.value, self.names = "x", 0
        shape = self.input_shape()
        self.width = int(np.prod(shape))
        if len(shape) > 1:
            self.flatten()
        if rng.random() < 0.3:
            scale = np.array(rng.uniform(0.1, 2.0), np.float32)
            self.append("Mul", [self.value, self.constant(scale)])
        for _ in range(rng.integers(1, 5)):
            self.dense()
            self.activation()
        self.batch = self.pick([1, 3, BATCH])
        count = int(rng.integers(1, 2 * self.batch + 2))
        self.rows = rng.standard_normal((count, *shape)).astype(np.float32)
        self.model = self.build(shape)

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def size(self):
        """Sizes around the edges of 4- and 8-wide kernels, and some large enough to be blocked."""
        return self.pick([1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 32, 33, 64, 67, 129])

    def input_shape(self):
        """The shape of one sample: a vector, or a small volume that has to be flattened."""
        if self.rng.random() < 0.5:
            return (self.size(),)
        return tuple(int(self.rng.integers(1, 6)) for _ in range(self.pick([2, 3])))

    def fresh(self, stem):
        self.names += 1
        return f"{stem}_{self.names}"

    def constant(self, array):
        """The name of a constant: an initializer, or the output of a Constant node."""
        name = self.fresh("constant")
        tensor = numpy_helper.from_array(array, name)
        if self.rng.random() < 0.5:
            self.initializers.append(tensor)
        else:
            self.nodes.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
        return name

    def append(self, operator, inputs, **attributes):
        output = self.fresh(operator.lower())
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        self.value = output

    def flatten(self):
        if self.rng.random() < 0.5:
            self.append("Flatten", [self.value], axis=1)
        else:
            target = self.pick([[0, -1], [-1, self.width], [0, self.width]])
            self.append("Reshape", [self.value, self.constant(np.array(target, np.int64))])

    def normal(self, shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def dense(self):
        inputs, outputs = self.width, self.size()
        weight = self.normal((inputs, outputs)) / np.float32(np.sqrt(inputs))
        if self.rng.random() < 0.6:
            self.gemm(weight)
        else:
            self.append("MatMul", [self.value, self.constant(weight)])
            bias = self.constant(self.normal(self.pick([(outputs,), (1, outputs), (1,), ()])))
            self.append("Add", self.pick([[self.value, bias], [bias, self.value]]))
        self.width = outputs

    def gemm(self, weight):
        attributes = {}
        if self.rng.random() < 0.5:
            attributes["transB"] = 1
            weight = np.ascontiguousarray(weight.T)
        if self.rng.random() < 0.5:
            attributes["alpha"] = self.pick([0.5, -1.25, 2.0])
        if self.rng.random() < 0.5:
            attributes["beta"] = self.pick([0.0, 0.25, -1.0, 3.0])
        inputs = [self.value, self.constant(weight)]
        outputs = weight.shape[0] if "transB" in attributes else weight.shape[1]
        shape = self.pick([(outputs,), (1, outputs), (1,), (), None])
        if shape is not None:
            inputs.append(self.constant(self.normal(shape)))
        self.append("Gemm", inputs, **attributes)

    def activation(self):
        operator = self.pick(["Relu", "Sigmoid", "Tanh", "Softmax", None])
        if operator == "Softmax":
            self.append("Softmax", [self.value], axis=self.pick([1, -1]))
        elif operator is not None:
            self.append(operator, [self.value])

    def build(self, shape):
        self.nodes[-1].output[0] = "scores/y"  # a slash, which `dunlin run` writes as `_`
        graph = helper.make_graph(
            self.nodes,
            "random_dense",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
            [helper.make_tensor_value_info("scores/y", TensorProto.FLOAT, ["N", self.width])],
            initializer=self.initializers,
        )
        model = helper.make_model(
            graph, ir_version=8, opset_imports=[helper.make_opsetid("", self.pick([13, 17, 21]))]
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def depends_on_its_input(self):
        """False where a Relu that is always 0 or a Softmax of width 1 hides all that is before."""
        model = self.model.SerializeToString()
        one, other = (expected_outputs(model, {"x": rows}) for rows in (self.rows, -self.rows))
        return np.abs(one["scores/y"] - other["scores/y"]).max() > 1e-3

    def summary(self):
        operators = [node.op_type for node in self.nodes if node.op_type != "Constant"]
        shape = "x".join(map(str, self.rows.shape))
        return f"{shape} batch {self.batch}: {' '.join(operators)}"


def check_random(dunlin, seed, index, folder):
    rng = np.random.default_rng([seed, index])
    random_model = RandomModel(rng)
    while not random_model.depends_on_its_input():
        random_model = RandomModel(rng)
    file = folder / "model.onnx"
    file.write_bytes(random_model.model.SerializeToString(deterministic=True))
    try:
        gap = dunlin.compare(
            file, {"x": random_model.rows}, random_model.batch, folder, relative=True
        )
    except Mismatch as mismatch:
        raise Mismatch(f"{random_model.summary()}: {mismatch}") from None
    return f"{random_model.summary()}, max|diff| {gap:.1e}"


def main():
    parser = argparse.ArgumentParser(description="Compares dunlin with onnxruntime.")
    parser.add_argument("--dunlin", type=Path, required=True, help="the binary to test")
    parser.add_argument("--seed", type=int, default=17, help="of the random models")
    parser.add_argument("--count", type=int, default=30, help="how many random models")
    arguments = parser.parse_args()
    if not arguments.dunlin.is_file():
        parser.error(f"no file at {arguments.dunlin}; `cargo build` makes target/debug/dunlin")
    dunlin = Dunlin(arguments.dunlin.resolve())

    checks = [
        ("digits.onnx", lambda _: check_digits_model()),
        ("golden.npz", lambda _: check_recorded("golden.npz", 16)),
        ("reference.npz", lambda _: check_recorded("reference.npz", 100)),
        ("digits", lambda folder: check_digits(dunlin, folder)),
    ]
    for index in range(arguments.count):
        checks.append(
            (
                f"random-{index:02}",
                lambda folder, index=index: check_random(dunlin, arguments.seed, index, folder),
            )
        )

    passed = failed = 0
    for name, check in checks:
        folder = Path(tempfile.mkdtemp(prefix=f"dunlin-{name}-"))
        try:
            found = check(folder)
        except Exception as error:  # any fault is a failure, and the other checks still run
            kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
            print(f"FAIL  {name:<14} {kind}{error}\n      kept in {folder}", flush=True)
            failed += 1
        else:
            print(f"ok    {name:<14} {found}", flush=True)
            passed += 1
            shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
