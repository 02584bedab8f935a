"""Sends rows to a device as one stream, and prints where the state changes. Needs numpy alone.

    python send.py data/wear.npy [--device http://127.0.0.1:8500] [--every-ms 0]
"""

import argparse
import json
import time
import urllib.request

import numpy as np


def ask(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {output["name"]: output["data"] for output in json.load(answer)["outputs"]}


def main():
    parser = argparse.ArgumentParser(description="Sends rows of acceleration to a device.")
    parser.add_argument("rows")
    parser.add_argument("--device", default="http://127.0.0.1:8500")
    parser.add_argument("--every-ms", type=float, default=0, help="43 is real time")
    arguments = parser.parse_args()
    rows, before = np.load(arguments.rows), None
    for number, row in enumerate(rows):
        last = number == len(rows) - 1
        outputs = ask(f"{arguments.device}/v2/models/vibration/infer", {
            "parameters": {"sequence_id": "machine-1", "sequence_start": number == 0, "sequence_end": last},
            "inputs": [{"name": "acceleration", "datatype": "FP32", "shape": [1, len(row)], "data": row.tolist()}],
        })
        state = ("healthy", "worn")[outputs["state"][0]]
        if state != before:
            print(f"row {number}: {state}, average distance {outputs['average'][0]:.2f}")
        before = state
        time.sleep(arguments.every_ms / 1000)


if __name__ == "__main__":
    main()
