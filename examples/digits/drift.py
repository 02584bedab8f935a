"""Measures what drift looks like on the digits: prints the figures of README.md, writes nothing.

    python drift.py

It asks two things. How large is the Population Stability Index (PSI) between the training split
and images that did not change, for windows of several sizes? And how large is it, and how
accurate is the model, once the lens is fogged?

With b and w the shares of the baseline and of the window in a bin,

    PSI = sum over bins of (w - b) * ln(w / b)

By custom below 0.1 is no change and above 0.25 is a large one (N. Siddiqi, Credit Risk
Scorecards, 2006). The binning and the smoothing are explained beside the code.
"""

from pathlib import Path

import numpy as np

from train import SEED, run_onnx

QUANTILE_BINS = 10
SMOOTHING = 0.5  # pseudo-counts a bin: Jeffreys' prior for a multinomial
LARGE = 0.25
WINDOWS = 200


def fog(pixels):
    """A fogged lens: a quarter of the contrast over a grey veil. Whole numbers, 8..12."""
    return pixels // 4 + 8


def bin_edges(values):
    """Ascending, distinct edges e0 < e1 < ...; the bins are (-inf, e0], (e0, e1], ..., (ek, inf).

    Nine inner quantiles that are values of the data (no interpolation), and two guards: one just
    below the smallest value, one at the largest. So a value that many rows share, like the 0 of
    a blank corner, has a bin that closes on it; equal quantiles merge; and whatever leaves the
    range of the baseline on either side has a bin that was empty."""
    ordered = np.sort(values.astype(np.float32))
    ranks = [-(-len(ordered) * q // QUANTILE_BINS) - 1 for q in range(1, QUANTILE_BINS)]
    below = np.nextafter(ordered[0], np.float32(-np.inf))
    return np.unique(np.concatenate(([below], ordered[ranks], [ordered[-1]])))


def bin_counts(values, edges):
    """How many values each bin holds, int [edges + 1]."""
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)


def psi(baseline, window):
    """PSI of two sets of counts over the same bins.

    An empty bin has no logarithm, so both are smoothed: the baseline by half a count a bin, the
    window by as many counts in all, spread as the baseline is. A window without samples then
    has PSI 0 exactly, and a small one is drawn towards "no change"."""
    weight = SMOOTHING * len(baseline)
    expected = (baseline + SMOOTHING) / (baseline.sum() + weight)
    actual = (window + weight * expected) / (window.sum() + weight)
    return float(((actual - expected) * np.log(actual / expected)).sum())


class Baseline:
    """Edges and counts for every column of rows [n, columns]."""

    def __init__(self, rows):
        self.edges = [bin_edges(column) for column in rows.T]
        self.counts = [bin_counts(*pair) for pair in zip(rows.T, self.edges, strict=True)]

    def psi(self, rows):
        """PSI of every column, f64 [columns]."""
        columns = zip(rows.T, self.edges, self.counts, strict=True)
        return np.array(
            [psi(counts, bin_counts(column, edges)) for column, edges, counts in columns]
        )


def class_psi(baseline, window):
    """PSI of the predicted classes: of argmax over probabilities [n, classes]."""
    classes = baseline.shape[1]
    return psi(
        np.bincount(baseline.argmax(axis=1), minlength=classes),
        np.bincount(window.argmax(axis=1), minlength=classes),
    )


def describe(values):
    above = int((values > LARGE).sum())
    return f"mean {values.mean():.3f}  max {values.max():.3f}  above {LARGE} {above}"


def main():
    folder = Path(__file__).parent
    model = (folder / "digits.onnx").read_bytes()
    rows = np.load(folder / "baseline.npy")
    images = np.load(folder / "test_images.npy")
    labels = np.load(folder / "test_labels.npy")

    def probabilities_of(pixels):
        return run_onnx(model, pixels.astype(np.float32))

    inputs = Baseline(rows)
    expected = probabilities_of(rows)
    outputs = Baseline(expected)

    print(f"baseline {len(rows)} rows, window {len(images)} images")
    constant = [index for index, column in enumerate(rows.T) if column.min() == column.max()]
    blank = int(((rows == 0).mean(axis=0) >= 0.9).sum())
    print(f"pixels that are constant: {constant}; blank in 90 % of the rows or more: {blank} of 64")
    for name, pixels in (("test images", images), ("fogged", fog(images))):
        probabilities = probabilities_of(pixels)
        right = int((probabilities.argmax(axis=1) == labels).sum())
        features = inputs.psi(pixels)
        print(f"\n{name}: accuracy {right} of {len(labels)} = {right / len(labels):.4f}")
        print(f"  PSI of 64 pixels         {describe(features)}  min {features.min():.3f}")
        print(f"  PSI of 10 probabilities  {describe(outputs.psi(probabilities))}")
        print(f"  PSI of predicted classes {class_psi(expected, probabilities):.3f}")

    print(f"\nPSI of pixels that did not change, {WINDOWS} random windows of test images each:")
    rng = np.random.default_rng(SEED)
    for size in (30, 50, 100, 150, 200, 300):
        found = np.array(
            [
                inputs.psi(images[rng.choice(len(images), size, replace=False)])
                for _ in range(WINDOWS)
            ]
        )
        alarms = int((found.max(axis=1) > LARGE).sum())
        print(
            f"  {size:>3} images: mean {found.mean():.3f}  largest {found.max():.3f}  "
            f"windows with a pixel above {LARGE}: {alarms} of {WINDOWS}"
        )


if __name__ == "__main__":
    main()
