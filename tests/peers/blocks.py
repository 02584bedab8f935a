#!/usr/bin/env python3
"""The blocks for hand-written models, in WebAssembly, against numpy, scipy, librosa and scikit-learn.

    python blocks.py --dunlin target/debug/dunlin --guest every_block.wasm

Runs `guest-sdk/blocks/examples/every_block.rs` with `dunlin run` on seeded inputs, and compares each output with
the library whose convention the block's documentation names, computed in float64. Differences are relative to the
largest magnitude of the output. Prints a line for each and exits with 1 if one is above its bound.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import librosa
import numpy as np
import scipy.fft
import scipy.signal
import scipy.special
import scipy.stats
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

N, RATE = 1024, 16_000
FEATURES, NODES = 20, 64
SEED = 2026
# Rounding of float32 sums; what loses more says why.
BOUND = 1e-6
BOUNDS = {
    # Steps of 16 bits: one or two, at a largest magnitude of about 12,000.
    "fixed": 1.5e-4,
    # An estimate that is compared with the exact quantile.
    "p2": 0.02,
}


# Outputs whose rows, or elements, have very different magnitudes: differences are relative to each of them.
PER_ROW = {"cutoffs"}
PER_ELEMENT = {"moments_of_counts"}


def forest_as_nodes(forest):
    """scikit-learn's trees one behind the other: nodes [NODES, 6], roots."""
    nodes, roots = np.full((NODES, 6), -1, np.float32), []
    at = 0
    for tree in (estimator.tree_ for estimator in forest.estimators_):
        roots.append(at)
        for place in range(tree.node_count):
            leaf = tree.children_left[place] < 0
            threshold = np.float32(tree.threshold[place])
            if threshold > tree.threshold[place]:
                threshold = np.nextafter(threshold, np.float32(-np.inf))
            shares = tree.value[place, 0] / tree.value[place, 0].sum()
            successors = (tree.children_left[place] + at, tree.children_right[place] + at)
            nodes[at + place] = [-1 if leaf else tree.feature[place], threshold, *successors, *shares]
        at += tree.node_count
    assert at <= NODES, f"{at} nodes are more than {NODES}"
    return nodes, np.array(roots, np.float32)


def charts(signal, deviation=0.5, lam=0.2, limit=3.0, slack=0.5, threshold=4.0):
    """EWMA and CUSUM as the handbook has them: [n, 3] each."""
    ewma, cusum = np.zeros((2, len(signal), 3))
    average = up = down = 0.0
    for n, x in enumerate(signal, start=1):
        average = lam * x + (1 - lam) * average
        width = limit * deviation * np.sqrt(lam / (2 - lam) * (1 - (1 - lam) ** (2 * n)))
        ewma[n - 1] = average, width, np.sign(average) * (abs(average) > width)
        up, down = max(0, up + x / deviation - slack), max(0, down - x / deviation - slack)
        shift = 1 if up > threshold and up >= down else -1 if down > threshold else 0
        cusum[n - 1] = up, down, shift
    return ewma, cusum


def cookbook(kind, frequency=1200.0, q=2.0):
    """Biquads from other designs of scipy than the cookbook's: bilinear transforms of the analogue prototypes."""
    w = 2 * RATE * np.tan(np.pi * frequency / RATE)
    numerator = {"low": [w * w], "high": [1, 0, 0], "band": [w / q, 0], "notch": [1, 0, w * w]}[kind]
    b, a = scipy.signal.bilinear(numerator, [1, w / q, w * w], RATE)
    return b, a


def scaled(scaler, x, **fitted):
    """What a scaler with these fitted attributes makes of one row."""
    scaler.n_features_in_ = len(x)
    for name, value in fitted.items():
        setattr(scaler, name, value)
    return scaler.transform([x])[0]


def expected(inputs, forest, kmeans):
    """What the libraries give for the inputs, by the name of the output."""
    signal, x = (inputs[name].astype(np.float64) for name in ("signal", "x"))
    window = lambda name, symmetric=False: scipy.signal.get_window(name, N, fftbins=not symmetric)
    spectrum = np.fft.rfft(signal)
    energy = np.abs(spectrum) ** 2 * np.where(np.isin(np.arange(513), [0, 512]), 1, 2) / N
    hz = np.fft.rfftfreq(N, 1 / RATE)
    band = lambda low, high: energy[(hz >= low) & ((hz < high) | (high == RATE / 2))].sum()
    power = np.abs(np.fft.rfft(signal[:512])) ** 2
    bank = lambda **how: librosa.filters.mel(sr=RATE, n_fft=512, n_mels=40, fmin=20, fmax=8000, dtype=float, **how)
    frames = librosa.util.frame(signal, frame_length=256, hop_length=128).T
    melspectrogram = librosa.feature.melspectrogram(
        y=signal[:512], sr=RATE, n_fft=512, hop_length=512, n_mels=40, fmin=20, fmax=8000, center=False)
    levels = librosa.power_to_db(melspectrogram, top_db=None)
    layer = lambda stride: np.array([
        sum(scipy.signal.correlate(inputs["conv_x"][i].astype(float), kernel[i], mode="valid") for i in range(3))
        for kernel in inputs["conv_weights"].astype(float)])[:, ::stride] + inputs["conv_bias"][:, None]
    centre, spread = inputs["scales"].astype(float)
    distances = ((inputs["centres"].astype(float) - x) ** 2).sum(axis=1)
    shares = forest.predict_proba(inputs["x"][None])[0]
    ewma, cusum = charts(signal)
    samples = np.clip(np.rint(0.5 * signal * 32768), -32768, 32767)
    counts = np.trunc(8 * inputs["signal"]).astype(np.float64) + 8e6
    butter = lambda order, hz, kind: scipy.signal.sosfilt(
        scipy.signal.butter(order, hz, kind, fs=RATE, output="sos"), signal)
    return {
        "frames": frames,
        "weights": [window("hann"), window("hamming"), window("blackman", symmetric=True)],
        "windowed": signal * window("hann"),
        "spectrum": [spectrum.real, spectrum.imag],
        "spectrum_of_32": [np.fft.rfft(signal[:32]).real, np.fft.rfft(signal[:32]).imag],
        "power_of_512": power,
        "bands": [band(0, 500), band(500, 2000), band(2000, 8000), band(0, 8000)],
        "mel": [bank(htk=True, norm=None) @ power, bank() @ power],
        "levels": levels[:, 0],
        "mfcc": librosa.feature.mfcc(S=levels, n_mfcc=13)[:, 0],
        "dct": scipy.fft.dct(x, type=2, norm="ortho"),
        "biquads": [scipy.signal.lfilter(*cookbook(kind), signal) for kind in ("low", "high", "band", "notch")],
        "butterworth": [butter(6, 900, "lowpass"), butter(4, 300, "highpass")],
        "cutoffs": [
            scipy.signal.sosfilt(scipy.signal.butter(4, share, kind, fs=1, output="sos"), signal)
            for share in (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 0.49) for kind in ("lowpass", "highpass")],
        "fir": scipy.signal.lfilter(scipy.signal.firwin(63, 1000, fs=RATE), 1, signal),
        "fixed": [
            samples * window("hann"),
            scipy.signal.lfilter(scipy.signal.firwin(63, 1000, fs=RATE), 1, samples),
            *(scipy.signal.sosfilt(scipy.signal.butter(order, hz, kind, fs=RATE, output="sos"), samples)
              for order, hz, kind in ((6, 900, "lowpass"), (4, 300, "highpass")))],
        "moments": [signal.mean(), signal.var(), scipy.stats.skew(signal), scipy.stats.kurtosis(signal, fisher=False)],
        "moments_of_counts": [
            counts.mean(), counts.var(), scipy.stats.skew(counts), scipy.stats.kurtosis(counts, fisher=False)],
        "rms_and_extremes": [np.sqrt((signal**2).mean()), signal.min(), signal.max()],
        "quantiles": np.quantile(signal, [0, 0.05, 0.5, 0.77, 1]),
        "median_and_iqr": [np.median(signal), scipy.stats.iqr(signal)],
        "recent": [signal[-100:].mean(), np.quantile(signal[-100:], 0.9)],
        "running": [signal.mean(), signal.var(), signal.var(ddof=1), signal.min(), signal.max()],
        "p2": [np.quantile(signal, 0.9)],
        "scaled": [
            scaled(StandardScaler(), x, mean_=centre, scale_=spread),
            scaled(RobustScaler(), x, center_=centre, scale_=spread),
            scaled(MinMaxScaler(), x, scale_=1 / (spread - centre), min_=-centre / (spread - centre)),
        ],
        "ewma": ewma,
        "cusum": cusum,
        "dense": inputs["dense_weights"].astype(float) @ x + inputs["dense_bias"],
        "conv": layer(1),
        "conv_by_3": layer(3),
        "activations": [np.maximum(x, 0), scipy.special.expit(x), scipy.special.softmax(x)],
        "squared_distances": distances,
        "nearest": [kmeans.predict(x[None])[0], kmeans.transform(x[None])[0].min()],
        "forest": [3 * shares, shares],
    }


def make_inputs(seed):
    """Seeded inputs, and the forest and the clusters that were trained."""
    rng = np.random.default_rng(seed)
    time = np.arange(N) / RATE
    tones = sum(a * np.sin(2 * np.pi * f * time) for f, a in [(180, 0.6), (1230, 0.3), (5100, 0.1)])
    points = rng.normal(size=(300, FEATURES))
    labels = points[:, 3] + 0.5 * points[:, 7] > 0.2 * rng.normal(size=300)
    forest = RandomForestClassifier(3, max_leaf_nodes=10, random_state=seed).fit(points, labels)
    kmeans = KMeans(5, n_init=1, random_state=seed).fit(points)
    nodes, roots = forest_as_nodes(forest)
    inputs = {
        "signal": tones + 0.2 * rng.normal(size=N) + 0.05,
        "x": rng.normal(size=FEATURES),
        "dense_weights": rng.normal(size=(8, FEATURES)),
        "dense_bias": rng.normal(size=8),
        "conv_x": rng.normal(size=(3, 40)),
        "conv_weights": rng.normal(size=(12, 3, 5)),
        "conv_bias": rng.normal(size=12),
        "scales": [np.median(points, axis=0), scipy.stats.iqr(points, axis=0)],
        "centres": kmeans.cluster_centers_,
        "nodes": nodes,
        "roots": roots,
    }
    return {name: np.asarray(value, np.float32) for name, value in inputs.items()}, forest, kmeans


def run(dunlin, guest, inputs, names):
    with tempfile.TemporaryDirectory() as folder:
        arguments = []
        for name, value in inputs.items():
            np.save(f"{folder}/{name}.npy", value)
            arguments += ["--input", f"{name}={folder}/{name}.npy"]
        subprocess.run([dunlin, "run", guest, *arguments, "--output-dir", f"{folder}/out"], check=True,
                       stdout=subprocess.DEVNULL)
        return {name: np.load(f"{folder}/out/{name}.npy") for name in names}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin", required=True, type=pathlib.Path)
    parser.add_argument("--guest", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    worst = {}
    for seed in range(SEED, SEED + 5):
        inputs, forest, kmeans = make_inputs(seed)
        wanted = expected(inputs, forest, kmeans)
        found = run(arguments.dunlin.resolve(), arguments.guest, inputs, wanted)
        for name, values in wanted.items():
            values = np.asarray(values, np.float64)
            assert found[name].shape == values.shape, f"{name}: {found[name].shape} is not {values.shape}"
            difference = np.abs(found[name] - values)
            if name in PER_ROW:
                difference = difference.max(axis=-1) / np.abs(values).max(axis=-1)
            elif name in PER_ELEMENT:
                difference = difference / np.abs(values)
            else:
                difference = difference / np.abs(values).max()
            difference = difference.max()
            # `max` of Python passes a NaN over.
            worst[name] = np.fmax(worst.get(name, 0), difference) if difference == difference else np.inf
    failed = 0
    for name, difference in worst.items():
        bound = BOUNDS.get(name, BOUND)
        good = difference <= bound
        failed += not good
        print(f"{'ok   ' if good else 'FAIL '} {name:<18} {difference:.1e}, at most {bound:.0e}")
    print(f"{len(worst) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
