"""Counts alarms of the module on generated recordings: the figures of README.md.

    python score.py MODULE.wasm [--dunlin dunlin] [--data data]

Each recording is a stream of its own, run with `dunlin run`. An alarm is a row with the state `worn`.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from data import FAULTS, RATE_HZ, ROW, ROWS, STRIKES

ROW_S = ROW / RATE_HZ


def states(dunlin, module, rows):
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/rows.npy", rows)
        subprocess.run([dunlin, "run", module, "--input", f"acceleration={folder}/rows.npy", "--output-dir", folder],
                       check=True, stdout=subprocess.DEVNULL)
        return np.load(f"{folder}/state.npy").astype(bool)


def main():
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description="Counts alarms of the vibration example.")
    parser.add_argument("module")
    parser.add_argument("--dunlin", default="dunlin")
    parser.add_argument("--data", type=Path, default=here / "data")
    arguments = parser.parse_args()
    load = lambda name: np.load(arguments.data / f"{name}.npy")
    run = lambda rows: states(arguments.dunlin, arguments.module, rows)

    for name in ["healthy"] + [f"{fault}-{strike}" for fault in FAULTS for strike in STRIKES]:
        rows = load(name)
        alarms = [run(part) for part in np.split(rows, len(rows) // ROWS)]
        raised = [alarm for alarm in alarms if alarm.any()]
        line = f"{name:<10} {len(raised):>2} of {len(alarms)} recordings"
        if raised:
            line += f", after {np.median([alarm.argmax() + 1 for alarm in raised]) * ROW_S:.2f} s (median)"
        print(line)

    alarms, labels = run(load("wear")), load("wear_labels")
    begins = labels.argmax()
    first = begins + alarms[begins:].argmax()
    strike = 4 * (first + 1 - begins) / (len(labels) - begins)
    print(f"wear       false alarms in {alarms[:begins].sum()} of {begins} rows; first alarm {(first + 1 - begins) * ROW_S:.1f} s "
          f"after the fault begins, at strikes of {strike:.1f} m/s²; from then on in {alarms[first:].mean():.1%} of the rows")


if __name__ == "__main__":
    main()
