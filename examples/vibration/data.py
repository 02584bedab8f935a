"""Generates accelerations of a bearing, healthy and damaged, as `.npy` files: nothing here was measured.

    python data.py [--output-dir data]

A row is 512 samples of one axis at 12 kHz in m/s², rows of a file follow each other without a gap. The signal is

    x(t) = gravity + shaft + gear + noise + fault

    shaft  sum over h = 1..4 of a[h] sin(2πh f t + phase)       unbalance and misalignment, f the shaft's frequency
    gear   a tone at 23 f, whose amplitude follows the load     a meshing gear
    noise  white, through a first-order low pass at 4 kHz       flow, rolling, the sensor
    fault  sum over k of A[k] e^(-ζω(t - t[k])) sin(ω(t - t[k])), t > t[k]

The fault is the model of P. D. McFadden and J. D. Smith, "Model for the vibration produced by a single point
defect in a rolling element bearing", Journal of Sound and Vibration 96 (1984): each time a ball meets the defect
it strikes the structure, which rings at its resonance (here 3.2 kHz, damping ζ 0.05). Strikes come at

    outer race  BPFO = f n/2 (1 - d/D)          A constant: the defect stands in the load
    inner race  BPFI = f n/2 (1 + d/D)          A follows the load zone, once a turn

of a 6205 (n = 9 balls of d = 7.94 mm on D = 39.04 mm), with a random slip of 1 % of the period a strike (J. Antoni and
R. B. Randall, "Differential diagnosis of gear and bearing faults", Journal of Vibration and Acoustics 124, 2002).

Recordings differ in speed (25 to 30 Hz), load, phases and mounting; each has a seed of its own.

    train.npy        f32 [3600, 512]   60 healthy recordings, to fit the model
    baseline.npy     f32 [400, 512]    8 more, for the drift baseline of a release
    healthy.npy      f32 [3000, 512]   50 more, to count false alarms; 60 rows (2.56 s) each
    <fault>-<A>.npy  f32 [600, 512]    10 recordings with strikes of A m/s²; A is 0.5, 1, 2 and 4
    wear.npy         f32 [1500, 512]   one machine (64 s); after 20 s an outer-race fault grows from 0 to 4 m/s²
    wear_labels.npy  u8 [1500]         0, and 1 from the row where it begins
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.signal

RATE_HZ = 12_000
ROW = 512
ROWS = 60  # of a recording
GRAVITY = 9.81
RESONANCE_HZ, DAMPING = 3200.0, 0.05
BALLS, BALL_MM, PITCH_MM = 9, 7.94, 39.04
SLIP = 0.01
STRIKES = (0.5, 1, 2, 4)  # m/s²
FAULTS = ("outer", "inner")


def fault_frequency(fault, shaft_hz):
    """BPFO or BPFI for a contact angle of 0."""
    sign = {"outer": -1, "inner": 1}[fault]
    return shaft_hz * BALLS / 2 * (1 + sign * BALL_MM / PITCH_MM)


def strikes(rng, fault, shaft_hz, amplitude, samples):
    """The sum of the ringing that the strikes leave; `amplitude` is one number, or one a sample."""
    period = RATE_HZ / fault_frequency(fault, shaft_hz)
    count = int(samples / period * 1.2) + 2
    times = np.cumsum(period * (1 + SLIP * rng.normal(size=count))) - period * rng.uniform()
    times = times[(times >= 0) & (times < samples - 1)]
    at = np.floor(times).astype(int)
    heights = np.broadcast_to(np.float64(amplitude), samples)[at]
    if fault == "inner":
        # The defect turns with the shaft through a load zone of 140 degrees.
        angle = np.cos(2 * np.pi * shaft_hz * times / RATE_HZ)
        heights = heights * np.clip((angle - np.cos(np.radians(70))) / (1 - np.cos(np.radians(70))), 0, 1)
    # A strike between two samples rings from its own moment.
    impulses = np.zeros(samples)
    share = times - at
    np.add.at(impulses, at, heights * (1 - share))
    np.add.at(impulses, at + 1, heights * share)
    time = np.arange(200) / RATE_HZ
    omega = 2 * np.pi * RESONANCE_HZ
    ringing = np.exp(-DAMPING * omega * time) * np.sin(omega * time)
    return np.convolve(impulses, ringing)[:samples]


def recording(seed, rows=ROWS, fault=None, amplitude=0.0):
    """One recording, f32 [rows, 512]."""
    rng = np.random.default_rng(seed)
    samples = rows * ROW
    time = np.arange(samples) / RATE_HZ
    shaft_hz, load = rng.uniform(25, 30), rng.uniform(0.3, 1)
    x = np.full(samples, GRAVITY)
    for harmonic, size in enumerate((0.8, 0.4, 0.2, 0.1), start=1):
        size *= rng.uniform(0.8, 1.2) * (shaft_hz / 30) ** 2
        x += size * np.sin(2 * np.pi * harmonic * shaft_hz * time + rng.uniform(0, 2 * np.pi))
    x += 0.5 * load * np.sin(2 * np.pi * 23 * shaft_hz * time + rng.uniform(0, 2 * np.pi))
    smooth = scipy.signal.butter(1, 4000, fs=RATE_HZ)
    x += scipy.signal.lfilter(*smooth, rng.normal(size=samples)) * 0.5 * rng.uniform(0.9, 1.1)
    if fault:
        x += strikes(rng, fault, shaft_hz, amplitude, samples)
    return x.astype(np.float32).reshape(rows, ROW)


def recordings(first_seed, count, **how):
    return np.concatenate([recording(first_seed + n, **how) for n in range(count)])


def wear():
    """A machine whose bearing is healthy for 20 s and then wears out, and the labels of its rows."""
    rows, begins = 1500, 469
    grown = np.clip((np.arange(rows * ROW) / ROW - begins) / (rows - begins), 0, 1) * 4
    return recording(900, rows=rows, fault="outer", amplitude=grown), (np.arange(rows) >= begins).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description="Generates the data of the vibration example.")
    parser.add_argument("--output-dir", type=Path, default=Path(__file__).parent / "data")
    folder = parser.parse_args().output_dir
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "train": recordings(1000, 60),
        "baseline": recordings(200, 8, rows=50),
        "healthy": recordings(300, 50),
    }
    for number, fault in enumerate(FAULTS):
        for size, amplitude in enumerate(STRIKES):
            first = 400 + 100 * number + 10 * size
            files[f"{fault}-{amplitude}"] = recordings(first, 10, fault=fault, amplitude=amplitude)
    files["wear"], files["wear_labels"] = wear()
    for name, array in files.items():
        np.save(folder / f"{name}.npy", array)
        print(f"{name:<12} {array.dtype} {list(array.shape)}")


if __name__ == "__main__":
    main()
