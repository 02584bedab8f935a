"""Fits the model to healthy recordings, and writes what the guest and its tests need of it.

    python data.py && python train.py

    src/healthy.rs   what a healthy bearing is like: scales, centroids, and the chart of the distance
    golden.npz       6 rows, each a stream of its own, and the answers: to be signed into a release
    reference.npz    the first 8 and the last 8 rows of the machine that wears, as one stream, and the answers: for the tests

The answers are computed here, by numpy and scikit-learn in float64; the guest is not asked. Run twice with the
versions of `requirements.txt` on one machine, it writes the same bytes.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans

from data import RATE_HZ, ROW, ROWS

HOP = ROW // 2
# Hertz; the shaft's own frequency and gravity lie below.
BANDS_HZ = (60, 350, 750, 1500, 2250, 3000, 3750, 4500, 6000)
CENTROIDS = 4
LAMBDA = 0.1
# Chosen on train.npy alone: the limit that no healthy recording reached, and a quarter more.
MARGIN = 1.25
SEED = 2026


def levels(windows):
    """Windows [n, 512] to the mean squares of the bands in decibels, f64 [n, 8]."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(ROW) / ROW)
    power = np.abs(np.fft.rfft(windows.astype(np.float64) * hann)) ** 2
    power[:, 1:-1] *= 2
    hz = np.fft.rfftfreq(ROW, 1 / RATE_HZ)
    pairs = zip(BANDS_HZ[:-1], BANDS_HZ[1:], strict=True)
    energies = [power[:, (low <= hz) & ((hz < high) | (high == RATE_HZ / 2))].sum(axis=1) / ROW for low, high in pairs]
    return 10 * np.log10(np.maximum(np.stack(energies, axis=1) / ROW, 1e-10))


def row_levels(rows):
    """The mean level of the windows that end in each row of one stream, f64 [rows, 8]."""
    starts = np.arange(0, rows.size - ROW + 1, HOP)
    windows = levels(rows.reshape(-1)[starts[:, None] + np.arange(ROW)])
    # The first row ends one window, each later one two.
    return np.concatenate([windows[:1], (windows[1::2] + windows[2::2]) / 2])


class Model:
    """What is fitted: `median`, `iqr` [8], `centres` [4, 8], `mean`, `deviation` and `limit` of the chart."""

    def __init__(self, rows):
        recordings = [row_levels(part) for part in np.split(rows, len(rows) // ROWS)]
        everything = np.concatenate(recordings)
        low, self.median, high = np.quantile(everything, [0.25, 0.5, 0.75], axis=0)
        # As the guest has them.
        self.median, self.iqr = self.median.astype(np.float32), (high - low).astype(np.float32)
        kmeans = KMeans(CENTROIDS, n_init=10, random_state=SEED).fit(self.scaled(everything))
        self.centres = kmeans.cluster_centers_.astype(np.float32)
        distances = [self.distances(part) for part in recordings]
        self.mean, self.deviation = np.mean(distances), np.std(distances)
        reached = max((self.chart(part)[0] - self.mean).max() for part in distances)
        self.limit = MARGIN * reached / (self.deviation * np.sqrt(LAMBDA / (2 - LAMBDA)))
        self.mean, self.deviation, self.limit = (round(float(x), 4) for x in (self.mean, self.deviation, self.limit))

    def scaled(self, features):
        return (features - self.median) / self.iqr

    def distances(self, features):
        """Of each row to the nearest centroid, f64 [n]."""
        return np.sqrt(((self.scaled(features)[:, None] - self.centres) ** 2).sum(axis=2)).min(axis=1)

    def chart(self, distances):
        """The moving average of a stream's distances, f64 [n], and the limit that it must not pass."""
        averages, value = np.empty(len(distances)), self.mean
        for n, distance in enumerate(distances):
            value += LAMBDA * (distance - value)
            averages[n] = value
        fading = 1 - (1 - LAMBDA) ** (2 * np.arange(1, len(distances) + 1))
        limit = getattr(self, "limit", np.nan) * self.deviation * np.sqrt(LAMBDA / (2 - LAMBDA) * fading)
        return averages, self.mean + limit

    def answers(self, rows):
        """What the guest must give for one stream, by the name of the output."""
        features = row_levels(rows)
        distances = self.distances(features)
        averages, limit = self.chart(distances)
        return {
            "levels": features.astype(np.float32),
            "distance": distances.astype(np.float32),
            "average": averages.astype(np.float32),
            "state": (averages > limit).astype(np.uint8),
        }


def as_rust(model):
    """The constants as a module."""
    number = lambda x: np.format_float_positional(np.float32(x), unique=True, trim="0")
    row = lambda values: "[" + ", ".join(number(x) for x in values) + "]"
    centres = ",\n        ".join(row(centre) for centre in model.centres)
    bands = "\n".join(f"    [{low}.0, {high}.0]," for low, high in zip(BANDS_HZ[:-1], BANDS_HZ[1:]))
    return f"""\
//! What a healthy bearing is like. Written by `train.py`; do not edit.
#![allow(clippy::excessive_precision, reason = "the digits that numpy gives")]
#![cfg_attr(rustfmt, rustfmt_skip)]

use dunlin_blocks::cluster::Centroids;
use dunlin_blocks::scale::Scaler;

use crate::BANDS;

/// The bands, in hertz.
pub(crate) const BANDS_HZ: [[f64; 2]; BANDS] = [
{bands}
];

/// Median and interquartile range of the levels, in dB.
pub(crate) const SCALER: Scaler<BANDS> = Scaler::robust(
    {row(model.median)},
    {row(model.iqr)},
);

/// Where scaled levels of healthy bearings lie.
pub(crate) const CENTROIDS: Centroids<{CENTROIDS}, BANDS> = Centroids {{
    centres: [
        {centres},
    ],
}};

/// Mean and standard deviation of the distance to the nearest centroid.
pub(crate) const DISTANCE: [f32; 2] = [{number(model.mean)}, {number(model.deviation)}];

/// Of the control chart: the weight of the newest distance.
pub(crate) const LAMBDA: f32 = {LAMBDA};
/// And the limit, in standard deviations of the average.
pub(crate) const LIMIT: f32 = {number(model.limit)};
"""


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


def tensor_set(rows, answers):
    return npz_bytes({"input/acceleration": rows} | {f"output/{name}": values for name, values in answers.items()})


def main():
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description="Fits the vibration example.")
    parser.add_argument("--data", type=Path, default=here / "data")
    parser.add_argument("--output-dir", type=Path, default=here)
    arguments = parser.parse_args()
    load = lambda name: np.load(arguments.data / f"{name}.npy")
    model = Model(load("train"))

    first_rows = np.concatenate([load("healthy")[::1000], load("outer-4")[:1], load("outer-1")[:1], load("inner-4")[:1]])
    alone = [model.answers(row[None]) for row in first_rows]
    golden = {name: np.concatenate([answers[name] for answers in alone]) for name in alone[0]}
    worn = load("wear")[np.r_[:8, -8:0]]
    files = {
        "src/healthy.rs": as_rust(model).encode(),
        "golden.npz": tensor_set(first_rows, golden),
        "reference.npz": tensor_set(worn, model.answers(worn)),
    }
    for name, content in files.items():
        path = arguments.output_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"{name:<16} {len(content):>6} bytes")
    print(f"distance of healthy rows: {model.mean} +- {model.deviation}; limit {model.limit} deviations")
    print("golden states    ", *golden["state"])
    print("reference states ", *model.answers(worn)["state"])


if __name__ == "__main__":
    main()
