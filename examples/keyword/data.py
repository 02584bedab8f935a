"""Synthesises spoken words as `.npy` files: nobody spoke them.

    apt-get install espeak-ng
    python data.py [--output-dir data]

espeak-ng (a formant synthesiser, https://github.com/espeak-ng/espeak-ng) says "start", "stop" and other words, some of
them chosen to sound alike, in many voices, pitches and speeds. Each clip is one second at 8 kHz: a word
somewhere in it, at some loudness, in white, pink or humming noise 5 to 30 dB below it; or noise alone.

    train.npy     i16 [9600, 8000]   as a microphone gives them
    test.npy      i16 [1100, 8000]   in voices that train.npy has not, and with other words beside the keywords
    *_labels.npy  u8                 0 noise, 1 start, 2 stop, 3 another word

Everything is drawn from a seed; other versions of espeak-ng speak otherwise.
"""

import argparse
import subprocess
from pathlib import Path

import numpy as np
import scipy.signal

RATE_HZ = 8000
CLIP = 8000
LABELS = ("noise", "start", "stop", "other")
SEED = 2026
ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-gb-x-rp")
# The voices that sound like people; those of robots and whispers are left out.
VOICES = """adam Alex Alicia Andrea Andy Annie antonio aunty belinda benjamin boris caleb david Denis Diogo ed edward
    edward2 Gene Gene2 Gustave Henrique Hugo iven iven2 iven3 iven4 Jacky john Lee linda marcelo Marco Mario max Michael
    michel miguel mike Nguyen pablo paul pedro quincy rob robert steph steph2 steph3 victor zac anika f1 f2 f3 f4 f5 m1 m2
    m3 m4 m5 m6 m7 m8""".split()
TEST_VOICES = VOICES[::4]
TRAIN_VOICES = [voice for voice in VOICES if voice not in TEST_VOICES]
TRAIN_WORDS = """star stock stuck step still store stand part art smart tart heart dark card top shop chop step drop
    yes no up down left right go on off one two three four five six open close hello machine level pump valve motor""".split()
TEST_WORDS = """stark stopper starch stack stage steep strop dart cart mop spot seven eight nine zero forward back
    faster slower please thanks engine lamp water""".split()


def spoken(rng, word, voices, throats):
    """The word without silence around it, peak 1, f64 [at most 7200]. `throats` is the range of a factor by which it is
    played faster, which moves formants as a shorter throat does."""
    voice = f"{rng.choice(ACCENTS)}+{rng.choice(voices)}"
    how = ["-s", str(rng.integers(120, 220)), "-p", str(rng.integers(20, 80)), "-a", "100"]
    wav = subprocess.run(["espeak-ng", "-v", voice, *how, "--stdout", word], check=True, capture_output=True).stdout
    # Behind a header of 44 bytes, at 22,050 Hz.
    samples = np.frombuffer(wav, "<i2", offset=44).astype(np.float64)
    samples = scipy.signal.resample_poly(samples, 160, round(441 * rng.uniform(*throats)))
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1][:7200]
    return samples / np.abs(samples).max()


def noise(rng):
    """Noise with a root mean square of 1."""
    kind = rng.integers(3)
    samples = rng.normal(size=CLIP)
    if kind == 1:  # pink
        spectrum = np.fft.rfft(samples)
        samples = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 8)), CLIP)
    if kind == 2:  # a hum of the mains and its harmonics
        time = np.arange(CLIP) / RATE_HZ
        hum = sum(np.sin(2 * np.pi * 50 * h * time + rng.uniform(0, 6.28)) / h for h in range(1, 12))
        samples = 0.3 * samples + hum
    return samples / np.sqrt((samples**2).mean())


def clip(rng, label, voices, words, throats):
    samples = np.zeros(CLIP)
    level = 0.1
    if label > 0:
        word = spoken(rng, LABELS[label] if label < 3 else rng.choice(words), voices, throats)
        level = np.sqrt((word**2).mean())
        at = rng.integers(0, CLIP - len(word) + 1)
        samples[at : at + len(word)] = word
    samples += noise(rng) * level * 10 ** (-rng.uniform(5, 30) / 20)
    samples *= 10 ** (-rng.uniform(0, 24) / 20) * 0.5
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def clips(seed, counts, *how):
    """Clips of each label in turn, as often as `counts` says, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(LABELS), dtype=np.uint8), counts))
    return np.stack([clip(rng, label, *how) for label in labels]), labels


def main():
    parser = argparse.ArgumentParser(description="Synthesises the clips of the keyword example.")
    parser.add_argument("--output-dir", type=Path, default=Path(__file__).parent / "data")
    folder = parser.parse_args().output_dir
    folder.mkdir(parents=True, exist_ok=True)
    for name, how in {
        "train": (SEED, (800, 2400, 2400, 4000), TRAIN_VOICES, TRAIN_WORDS, (0.85, 1.15)),
        "test": (SEED + 1, (100, 300, 300, 400), TEST_VOICES, TEST_WORDS, (1, 1)),
    }.items():
        samples, labels = clips(*how)
        np.save(folder / f"{name}.npy", samples)
        np.save(folder / f"{name}_labels.npy", labels)
        print(f"{name}: {len(labels)} clips")


if __name__ == "__main__":
    main()
