"""Trains the digits example and writes every file of this folder that is not text.

    python train.py [--output-dir DIR]

Run twice with the versions of `requirements.txt` on one machine, it writes the same bytes: the
seed is fixed, training is single-threaded, and nothing written has a date in it. Another
processor may round the training's sums differently and end at other weights; that is why the
files are committed.

    digits.onnx       the model: `pixels` f32 [N, 64], 0..16 -> `probabilities` f32 [N, 10]
    baseline.npy      u8 [1437, 64], the training split: what the drift baseline is made from
    test_images.npy   u8 [360, 64], the held-out split
    test_labels.npy   u8 [360]
    golden.npz        16 test images and onnxruntime's answers, to be signed into the release
    reference.npz     the first 100 test images and onnxruntime's answers, for the tests

Tensors are `.npy` version 1.0, little-endian, C order. The sets are stored zips with the keys
`input/pixels` and `output/probabilities`.
"""

import os

# Before numpy is imported: the order in which threads add up would show in the weights.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import io
import platform
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import sklearn
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 2026
PIXEL_MAX = 16  # a pixel counts the inked cells of a 4x4 block
HIDDEN_UNITS = (64, 32)
# The L2 penalty. Of 0.0001, 0.01, 0.1, 0.3, 1 and 3 it had the best 5-fold cross-validated
# accuracy on the training split; the test split had no say.
L2_PENALTY = 0.3
# The penalty drives the weights of unused connections towards zero without end, down to subnormal
# numbers, which many processors multiply far more slowly. They are made zero.
SMALLEST_WEIGHT = 1e-9
GOLDEN_COUNT = 16
REFERENCE_COUNT = 100
OPSET = 17
IR_VERSION = 8


def split_digits():
    """The bundled data, 80 % to train and 20 % to test, each class in its share.

    Returns train images, test images (u8 [n, 64]), train labels, test labels (u8 [n])."""
    images, labels = load_digits(return_X_y=True)
    return train_test_split(
        images.astype(np.uint8),
        labels.astype(np.uint8),
        test_size=0.2,
        random_state=SEED,
        stratify=labels,
    )


def train(images, labels):
    """A multilayer perceptron 64-64-32-10 on pixels scaled to 0..1."""
    model = MLPClassifier(
        hidden_layer_sizes=HIDDEN_UNITS,
        activation="relu",
        solver="adam",
        alpha=L2_PENALTY,
        max_iter=2000,
        random_state=SEED,
    )
    return model.fit(images / float(PIXEL_MAX), labels)


def to_onnx(model):
    """The trained network as ONNX: the scaling, three dense layers and the softmax.

    The scaling is in the graph, so a device feeds raw pixels."""
    nodes = [helper.make_node("Mul", ["pixels", "pixel_scale"], ["scaled"], name="scale_pixels")]
    constants = [numpy_helper.from_array(np.array(1 / PIXEL_MAX, np.float32), "pixel_scale")]
    names = ("hidden_1", "hidden_2", "classes")
    layers = zip(names, model.coefs_, model.intercepts_, strict=True)
    value = "scaled"
    for name, weight, bias in layers:
        last = name == names[-1]
        weight = np.where(np.abs(weight) < SMALLEST_WEIGHT, 0.0, weight).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"{name}.weight"))
        constants.append(numpy_helper.from_array(bias.astype(np.float32), f"{name}.bias"))
        dense = "logits" if last else f"{name}.sum"
        nodes.append(
            helper.make_node(
                "Gemm", [value, f"{name}.weight", f"{name}.bias"], [dense], name=f"{name}_dense"
            )
        )
        if last:
            nodes.append(
                helper.make_node("Softmax", [dense], ["probabilities"], name="softmax", axis=1)
            )
        else:
            value = f"{name}.active"
            nodes.append(helper.make_node("Relu", [dense], [value], name=f"{name}_relu"))
    graph = helper.make_graph(
        nodes,
        "digits",
        [
            helper.make_tensor_value_info(
                "pixels",
                TensorProto.FLOAT,
                ["N", 64],
                doc_string="8x8 image, row by row from the top left; 0 is paper, 16 is ink",
            )
        ],
        [
            helper.make_tensor_value_info(
                "probabilities",
                TensorProto.FLOAT,
                ["N", 10],
                doc_string="Probability of each digit, 0 to 9",
            )
        ],
        initializer=constants,
    )
    return helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="dunlin examples/digits",
        producer_version="1",
        doc_string=(
            "Classifies 8x8 handwritten digits. Trained by examples/digits/train.py on Optical "
            "Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak; UCI Machine Learning "
            "Repository, CC BY 4.0)."
        ),
    )


def run_onnx(model_bytes, pixels):
    """onnxruntime's probabilities, f32 [n, 10], computed on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"pixels": pixels})[0]


def choose_golden(probabilities, labels):
    """Indices of the golden vectors: the first image of each digit, then the images that the
    model is least sure of (smallest gap between its two best classes)."""
    first = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
    ranked = np.sort(probabilities, axis=1)
    unsure = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")
    hard = [int(index) for index in unsure if index not in first]
    return (first + hard)[:GOLDEN_COUNT]


def npy_bytes(array):
    """The array as `.npy` 1.0, little-endian, C order."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def npz_bytes(arrays):
    """The arrays as a stored zip. `np.savez` would write the same without fixing attributes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, npy_bytes(array))
    return buffer.getvalue()


def tensor_set(pixels, probabilities):
    return npz_bytes({"input/pixels": pixels, "output/probabilities": probabilities})


def main():
    parser = argparse.ArgumentParser(description="Trains the digits example.")
    parser.add_argument("--output-dir", type=Path, default=Path(__file__).parent)
    output_dir = parser.parse_args().output_dir

    train_images, test_images, train_labels, test_labels = split_digits()
    classifier = train(train_images, train_labels)
    model = to_onnx(classifier)
    onnx.checker.check_model(model, full_check=True)
    model_bytes = model.SerializeToString(deterministic=True)

    pixels = test_images.astype(np.float32)
    probabilities = run_onnx(model_bytes, pixels)
    in_sklearn = classifier.predict_proba(test_images / float(PIXEL_MAX))
    gap = float(np.abs(probabilities - in_sklearn).max())
    if gap > 1e-5:
        raise SystemExit(f"the ONNX file is not the trained model: probabilities differ by {gap}")

    golden = choose_golden(probabilities, test_labels)
    files = {
        "digits.onnx": model_bytes,
        "baseline.npy": npy_bytes(train_images),
        "test_images.npy": npy_bytes(test_images),
        "test_labels.npy": npy_bytes(test_labels),
        "golden.npz": tensor_set(pixels[golden], probabilities[golden]),
        "reference.npz": tensor_set(pixels[:REFERENCE_COUNT], probabilities[:REFERENCE_COUNT]),
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (output_dir / name).write_bytes(content)

    right = int((probabilities.argmax(axis=1) == test_labels).sum())
    trained = run_onnx(model_bytes, train_images.astype(np.float32))
    right_trained = int((trained.argmax(axis=1) == train_labels).sum())
    parameters = sum(array.size for array in classifier.coefs_ + classifier.intercepts_)
    print(f"epochs         {classifier.n_iter_}, final loss {classifier.loss_:.6f}")
    print(f"parameters     {parameters}")
    print(f"train accuracy {right_trained} of {len(train_labels)}")
    print(f"test accuracy  {right} of {len(test_labels)} = {right / len(test_labels):.4f}")
    print(f"scikit-learn and onnxruntime differ by at most {gap:.1e}")
    print(f"golden         test images {golden}")
    for name, content in files.items():
        print(f"{name:<15} {len(content):>7} bytes")
    print(
        f"made with Python {platform.python_version()}, numpy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}"
    )


if __name__ == "__main__":
    main()
