"""Clients that people have, against a running agent: Triton's, with its binary tensors and with JSON.

    python tests/peers/inference.py --dunlin target/debug/dunlin
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import tritonclient.http as triton

DIGITS = pathlib.Path(__file__).resolve().parents[2] / "examples/digits"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class World:
    """A fleet of one device that serves the digits."""

    def __init__(self, dunlin, folder):
        self.dunlin, self.folder = dunlin, folder
        self.api = f"127.0.0.1:{free_port()}"
        self.broker = subprocess.Popen([dunlin, "broker", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        url = self.broker.stdout.readline().strip().removeprefix("listening on ")
        fleet, wasm, bundle = f"{folder}/fleet", f"{folder}/digits.wasm", f"{folder}/press"
        at = ["--fleet", fleet, "--broker", url]
        self.run("init", fleet, "--fleet", "peers", "--no-passphrase")
        self.run("enroll", "press", *at, "--channel", "stable", "-o", bundle, "--listen", self.api,
                 "--first-connect-jitter-s", "0")
        self.run("compile", DIGITS / "digits.onnx", "-o", wasm, "--batch", "16")
        self.run("release", wasm, "--fleet", fleet, "--name", "digits", "--version", "1.0.0")
        self.run("publish", "digits@1.0.0", *at)
        self.run("deploy", "digits@1.0.0", *at, "--to", "stable")
        self.agent = subprocess.Popen([dunlin, "agent", "--config", f"{bundle}/agent.toml"], stderr=subprocess.DEVNULL)

    def run(self, *arguments):
        subprocess.run([self.dunlin, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    def end(self):
        for process in (self.agent, self.broker):
            process.terminate()
            process.wait()


def check(world):
    client = triton.InferenceServerClient(world.api)
    deadline = time.monotonic() + 60
    while True:
        try:
            if client.is_model_ready("digits"):
                break
        except Exception:
            pass  # The agent is not there yet.
        assert time.monotonic() < deadline, "the model does not serve"
        time.sleep(0.1)
    passed = 0
    assert client.is_server_live() and client.is_server_ready(), "health"
    assert client.is_model_ready("digits", "1.0.0") and not client.is_model_ready("digits", "2.0.0"), "version"
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"], "extensions"
    metadata = client.get_model_metadata("digits")
    assert metadata["inputs"][0]["shape"] == [-1, 64], metadata
    index = client.get_model_repository_index()
    assert index == [{"name": "digits", "version": "1.0.0", "state": "READY", "reason": ""}], index
    statistics = client.get_inference_statistics("digits")["model_stats"][0]
    assert statistics["inference_stats"]["success"]["count"] == 0, statistics
    passed += 6
    images = np.load(DIGITS / "test_images.npy").astype(np.float32).reshape(-1, 64)[:40]
    answers = []
    for sent_binary in (True, False):
        for wanted_binary in (True, False, None):
            pixels = triton.InferInput("pixels", list(images.shape), "FP32")
            pixels.set_data_from_numpy(images, binary_data=sent_binary)
            output = metadata["outputs"][0]["name"]
            # Without outputs the client asks for all of them in binary.
            wanted = None if wanted_binary is None else [triton.InferRequestedOutput(output, binary_data=wanted_binary)]
            for version in ("", "1.0.0"):
                answer = client.infer("digits", [pixels], model_version=version, outputs=wanted, request_id="7")
                assert answer.get_response()["id"] == "7"
                answers.append(answer.as_numpy(output))
                passed += 1
    assert all(np.array_equal(answers[0], answer) for answer in answers), "JSON and binary carry the same bits"
    try:
        pixels = triton.InferInput("pixels", [1, 63], "FP32")
        pixels.set_data_from_numpy(np.zeros((1, 63), np.float32))
        client.infer("digits", [pixels])
        raise SystemExit("a wrong shape was taken")
    except triton.InferenceServerException as error:
        assert "shape" in str(error), error
        passed += 1
    return passed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(str(pathlib.Path(arguments.dunlin).resolve()), folder)
        try:
            print(f"tritonclient: {check(world)} passed")
        finally:
            world.end()


if __name__ == "__main__":
    sys.exit(main())
