"""What scipy, librosa and numpy take for the same work, in microseconds: a thousand frames in one call, by a thousand.

One frame a call would time Python. Everything is float32 and on one thread; a figure is the median of 15 calls.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import time

import librosa
import numpy as np
import scipy.fft
import scipy.signal

FRAMES = 1000
RATE = 16_000


def median_us(work):
    work()
    times = []
    for _ in range(15):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return np.median(times) * 1e6 / FRAMES


def main():
    rng = np.random.default_rng(2026)
    signal = rng.normal(size=FRAMES * 1024).astype(np.float32)
    frames = signal.reshape(FRAMES, 1024)
    short = np.ascontiguousarray(frames[:, :256])
    sections = scipy.signal.butter(6, 900, fs=RATE, output="sos").astype(np.float32)
    taps = scipy.signal.firwin(63, 1000, fs=RATE).astype(np.float32)
    weights = rng.normal(size=(256, 64)).astype(np.float32)
    speech = np.ascontiguousarray(signal[: FRAMES * 512])
    rows = {
        "FFT and power, 256 samples (scipy.fft)": lambda: np.abs(scipy.fft.rfft(short)) ** 2,
        "FFT and power, 1024 samples (scipy.fft)": lambda: np.abs(scipy.fft.rfft(frames)) ** 2,
        "MFCC, 512 samples, 40 mels, 13 coefficients (librosa)": lambda: librosa.feature.mfcc(
            y=speech, sr=RATE, n_fft=512, hop_length=512, n_mels=40, n_mfcc=13, fmin=20, center=False),
        "Butterworth of order 6, 1024 samples (scipy.signal.sosfilt)": lambda: scipy.signal.sosfilt(sections, signal),
        "FIR of 63 taps, 1024 samples (scipy.signal.lfilter)": lambda: scipy.signal.lfilter(taps, np.float32([1]), signal),
        "median, 1024 samples (numpy)": lambda: np.median(frames, axis=1),
        "dense 256 to 64 (numpy, OpenBLAS)": lambda: short @ weights,
    }
    for name, work in rows.items():
        print(f"{name:<62} {median_us(work):8.2f}")


if __name__ == "__main__":
    main()
