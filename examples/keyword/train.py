"""Trains the network of the keyword example on synthesised words, and writes what the guests and their tests need.

    python data.py && python train.py

    weights.bin     f32, little-endian, in the order in which `src/network.rs` reads them
    network.onnx    the same network, for `dunlin compile`: `coefficients` f32 [N, 13, 61] -> `probabilities` f32 [N, 4]
    golden.npz      a clip of each label from the test set, and the answers: to be signed into a release
    reference.npz   two others of each: for the tests

Training is written out in numpy, as the network is small: three convolutions along time, the greatest value of
each channel, one dense layer. The coefficients are librosa's, the answers onnxruntime's; the guest is not asked. Run
twice with the versions of `requirements.txt` on one machine, it writes the same bytes.
"""

import os

# Before numpy is imported: the order in which threads add up would show in the weights.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import io
import zipfile
from pathlib import Path

import librosa
import numpy as np
import onnx
import onnxruntime
import scipy.fft
from onnx import TensorProto, helper, numpy_helper

from data import LABELS, RATE_HZ

FRAME, HOP, MELS, COEFFICIENTS = 256, 128, 24, 13
LOWEST_HZ, HIGHEST_HZ = 20, 4000
# Outputs, kernel, stride.
LAYERS = ((24, 5, 2), (32, 5, 2), (32, 3, 2))
EPOCHS, BATCH, RATE, DECAY = 40, 64, 2e-3, 1e-4
SEED = 2026
OPSET, IR_VERSION = 17, 8


def coefficients(clips):
    """MFCC of clips i16 [n, 8000], f32 [n, 13, 61]; no level is raised to the loudest, as no stream could."""
    parts = []
    for part in np.array_split(clips, -(-len(clips) // 100)):
        mel = librosa.feature.melspectrogram(
            y=part.astype(np.float32) / 32768, sr=RATE_HZ, n_fft=FRAME, hop_length=HOP, n_mels=MELS, fmin=LOWEST_HZ, fmax=HIGHEST_HZ, center=False)
        levels = librosa.power_to_db(mel, top_db=None)
        parts.append(scipy.fft.dct(levels, axis=1, type=2, norm="ortho")[:, :COEFFICIENTS])
    return np.concatenate(parts).astype(np.float32)


def windows(x, kernel, stride):
    """x [n, channels, time] as [n, steps, channels * kernel]."""
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=2)[:, :, ::stride]
    return np.ascontiguousarray(view.transpose(0, 2, 1, 3)).reshape(len(x), view.shape[2], -1)


class Network:
    """Weights as PyTorch has them: `weights[i]` [out, in, kernel], the last [out, in]; `biases[i]` [out]."""

    def __init__(self, rng):
        self.weights, self.biases, inputs = [], [], COEFFICIENTS
        for outputs, kernel, _ in LAYERS:
            self.weights.append(rng.normal(size=(outputs, inputs, kernel)) * np.sqrt(2 / (inputs * kernel)))
            inputs = outputs
        self.weights.append(rng.normal(size=(len(LABELS), inputs)) * np.sqrt(1 / inputs))
        self.biases = [np.zeros(len(weight)) for weight in self.weights]

    def gradients(self, x, labels):
        """The mean cross-entropy's, by backpropagation; and the loss."""
        kept = []
        for weight, bias, (_, kernel, stride) in zip(self.weights, self.biases, LAYERS):
            columns = windows(x, kernel, stride)
            y = (columns @ weight.reshape(len(weight), -1).T + bias).transpose(0, 2, 1)
            kept.append((x.shape, columns, y > 0))
            x = np.maximum(y, 0)
        place = x.argmax(axis=2)[..., None]
        pooled = np.take_along_axis(x, place, axis=2)[..., 0]
        logits = pooled @ self.weights[-1].T + self.biases[-1]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.log(shares[rows, labels]).mean()

        shares[rows, labels] -= 1
        d = shares / len(labels)
        weights, biases = [d.T @ pooled], [d.sum(axis=0)]
        dx = np.zeros_like(x)
        np.put_along_axis(dx, place, (d @ self.weights[-1])[..., None], axis=2)
        for weight, (shape, columns, positive), (_, kernel, stride) in reversed(list(zip(self.weights, kept, LAYERS))):
            dy = (dx * positive).transpose(0, 2, 1)
            weights.append(np.einsum("nto,ntk->ok", dy, columns, optimize=True).reshape(weight.shape))
            biases.append(dy.sum(axis=(0, 1)))
            d_columns = (dy @ weight.reshape(len(weight), -1)).reshape(*dy.shape[:2], shape[1], kernel)
            dx = np.zeros(shape)
            for k in range(kernel):
                dx[:, :, k : k + stride * dy.shape[1] : stride] += d_columns[..., k].transpose(0, 2, 1)
        return weights[::-1] + biases[::-1], loss

    def fit(self, rng, x, labels):
        """Adam with a rate that falls along a cosine."""
        parameters = self.weights + self.biases
        first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
        steps, step = EPOCHS * (len(x) // BATCH), 0
        for epoch in range(EPOCHS):
            order, losses = rng.permutation(len(x)), []
            for start in range(0, len(x) - BATCH + 1, BATCH):
                batch = order[start : start + BATCH]
                gradients, loss = self.gradients(x[batch], labels[batch])
                losses.append(loss)
                step += 1
                rate = RATE * (1 + np.cos(np.pi * step / steps)) / 2
                for parameter, gradient, m, v in zip(parameters, gradients, first, second):
                    m += 0.1 * (gradient - m)
                    v += 0.001 * (gradient**2 - v)
                    update = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
                    parameter -= rate * (update + DECAY * parameter * (parameter.ndim > 1))
            if epoch % 10 == 9:
                print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")


def to_onnx(network, mean, deviation):
    """The scaling and the network."""
    tensors = {"mean": mean[:, None], "inverse": (1 / deviation)[:, None]}
    nodes = [helper.make_node("Sub", ["coefficients", "mean"], ["centred"]),
             helper.make_node("Mul", ["centred", "inverse"], ["scaled"])]
    value = "scaled"
    for number, (_, kernel, stride) in enumerate(LAYERS):
        weight, bias, out = f"conv{number}.weight", f"conv{number}.bias", f"conv{number}"
        tensors |= {weight: network.weights[number], bias: network.biases[number]}
        nodes += [helper.make_node("Conv", [value, weight, bias], [out], kernel_shape=[kernel], strides=[stride]),
                  helper.make_node("Relu", [out], [f"{out}.active"])]
        value = f"{out}.active"
    tensors |= {"dense.weight": network.weights[-1], "dense.bias": network.biases[-1]}
    nodes += [helper.make_node("GlobalMaxPool", [value], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["flat"]),
              helper.make_node("Gemm", ["flat", "dense.weight", "dense.bias"], ["logits"], transB=1),
              helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)]
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes, "keyword", [info("coefficients", ["N", COEFFICIENTS, 61])], [info("probabilities", ["N", len(LABELS)])],
        [numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name) for name, array in tensors.items()])
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)],
                              producer_name="dunlin examples/keyword")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def run_onnx(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"coefficients": x})[0]


def npz_bytes(arrays):
    """The arrays as a stored zip without dates."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


def main():
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description="Trains the keyword example.")
    parser.add_argument("--data", type=Path, default=here / "data")
    parser.add_argument("--output-dir", type=Path, default=here)
    arguments = parser.parse_args()
    load = lambda name: np.load(arguments.data / f"{name}.npy")
    clips, labels, test_clips, test_labels = map(load, ("train", "train_labels", "test", "test_labels"))
    x, test_x = coefficients(clips), coefficients(test_clips)
    mean, deviation = x.mean(axis=(0, 2), dtype=np.float64), x.std(axis=(0, 2), dtype=np.float64)
    rng = np.random.default_rng(SEED)
    network = Network(rng)
    network.fit(rng, (x - mean[:, None]) / deviation[:, None], labels)

    model = to_onnx(network, mean, deviation)
    parts = [mean, deviation]
    for weight, bias in zip(network.weights, network.biases):
        parts += [weight, bias]
    weights = np.concatenate([np.ravel(part) for part in parts]).astype("<f4")

    shares = run_onnx(model, test_x)
    chosen = shares.argmax(axis=1)
    print(f"train accuracy {(run_onnx(model, x).argmax(axis=1) == labels).mean():.4f} of {len(labels)}")
    print(f"test accuracy  {(chosen == test_labels).mean():.4f} of {len(test_labels)}")
    print("label   " + "".join(f"{name:>8}" for name in LABELS))
    for number, name in enumerate(LABELS):
        counts = np.bincount(chosen[test_labels == number], minlength=len(LABELS))
        print(f"{name:<8}" + "".join(f"{count:>8}" for count in counts))

    # The first clips of each label.
    first = np.stack([np.flatnonzero(test_labels == number)[:3] for number in range(len(LABELS))])
    sets = {"golden.npz": first[:, 0], "reference.npz": first[:, 1:].reshape(-1)}
    files = {"weights.bin": weights.tobytes(), "network.onnx": model}
    for name, rows in sets.items():
        files[name] = npz_bytes({"input/audio": test_clips[rows], "output/probabilities": shares[rows]})
    for name, content in files.items():
        (arguments.output_dir / name).write_bytes(content)
        print(f"{name:<14} {len(content):>7} bytes")
    print(f"{weights.size} numbers, of which {weights.size - 2 * COEFFICIENTS} parameters")


if __name__ == "__main__":
    main()
