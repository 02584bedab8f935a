"""Sends clips to a device, and prints what they were taken for and how long an answer took. Needs numpy alone.

    python ask.py data/test.npy data/test_labels.npy [--device 127.0.0.1:8500] [--two]

With `--two` the front end and the compiled network are two models, and the coefficients travel between them. Tensors
go as binary data of the Open Inference Protocol, over one connection.
"""

import argparse
import http.client
import json
import time

import numpy as np

KINDS = {"int16": "INT16", "float32": "FP32"}


def ask(connection, model, name, tensor):
    """One call: a tensor in, the one output back, f32 without its shape."""
    head = json.dumps({
        "inputs": [{"name": name, "datatype": KINDS[str(tensor.dtype)], "shape": tensor.shape,
                    "parameters": {"binary_data_size": tensor.nbytes}}],
        "parameters": {"binary_data_output": True},
    }).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    connection.request("POST", f"/v2/models/{model}/infer", head + tensor.tobytes(), headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{model}: {answer.status} {body.decode()}")
    return np.frombuffer(body[int(answer.headers["Inference-Header-Content-Length"]) :], "<f4")


def main():
    parser = argparse.ArgumentParser(description="Sends clips to a device.")
    parser.add_argument("clips")
    parser.add_argument("labels")
    parser.add_argument("--device", default="127.0.0.1:8500")
    parser.add_argument("--two", action="store_true", help="ask the front end, then the network")
    arguments = parser.parse_args()
    connection = http.client.HTTPConnection(arguments.device, timeout=10)
    right, times = 0, []
    clips, labels = np.load(arguments.clips), np.load(arguments.labels)
    for clip, label in zip(clips, labels, strict=True):
        start = time.perf_counter()
        if arguments.two:
            coefficients = ask(connection, "front-end", "audio", clip[None]).reshape(1, 13, 61)
            probabilities = ask(connection, "network", "coefficients", coefficients)
        else:
            probabilities = ask(connection, "keyword", "audio", clip[None])
        times.append(time.perf_counter() - start)
        right += probabilities.argmax() == label
    print(f"{right} of {len(labels)} right; an answer took {np.median(times) * 1e6:.0f} us (median), "
          f"{np.quantile(times, 0.99) * 1e6:.0f} us (p99)")


if __name__ == "__main__":
    main()
