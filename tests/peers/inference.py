"""Clients that people have, against a running agent: Triton's, with its binary tensors, with JSON and with
sequences; and curl, over TCP and over the Unix socket.

    python tests/peers/inference.py --dunlin target/debug/dunlin --smoother smoother.wasm

`smoother.wasm` is the example of the guest SDK, a model that remembers.
"""

import argparse
import json
import subprocess
import sys
import tempfile

import numpy as np
import tritonclient.http as triton

from world import DIGITS, World


def refusal(call, *words):
    """The message of a call that is refused."""
    try:
        call()
    except triton.InferenceServerException as error:
        assert all(word in str(error) for word in words), error
        return
    raise SystemExit(f"not refused: {words}")


def check(world):
    client = triton.InferenceServerClient(world.api)
    passed = 0
    assert client.is_server_live() and client.is_server_ready(), "health"
    assert client.is_model_ready("digits", "1.0.0") and not client.is_model_ready("digits", "2.0.0"), "version"
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"], "extensions"
    metadata = client.get_model_metadata("digits")
    assert metadata["inputs"][0]["shape"] == [-1, 64], metadata
    index = client.get_model_repository_index()
    assert index[0] == {"name": "digits", "version": "1.0.0", "state": "READY", "reason": ""}, index
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
    pixels = triton.InferInput("pixels", [1, 63], "FP32")
    pixels.set_data_from_numpy(np.zeros((1, 63), np.float32))
    refusal(lambda: client.infer("digits", [pixels]), "shape")
    return passed + 1


def check_sequences(world):
    """Two streams of a model that remembers, interleaved; the model's own rule in Python says what is right."""
    client = triton.InferenceServerClient(world.api)
    assert {"sequence", "sequence(string_id)"} <= set(client.get_server_metadata()["extensions"])

    def ask(temperature, **sequence):
        channel = triton.InferInput("channel", [], "UINT8")
        channel.set_data_from_numpy(np.array(1, np.uint8))
        degrees = triton.InferInput("temperature", [], "FP32")
        degrees.set_data_from_numpy(np.array(temperature, np.float32))
        return float(client.infer("smoother", [channel, degrees], **sequence).as_numpy("smooth"))

    passed, means = 0, {}
    for step in range(20):
        for stream in (42, "press-3"):
            temperature = np.float32(20 + step * (1 if stream == 42 else -2))
            mean = means.get(stream, temperature)
            means[stream] = mean + (temperature - mean) / np.float32(16)
            end = step == 19
            smooth = ask(temperature, sequence_id=stream, sequence_start=step == 0, sequence_end=end)
            assert smooth == float(means[stream]), (stream, step, smooth, means[stream])
            passed += 1
    refusal(lambda: ask(20, sequence_id=42), "42", "not open")
    refusal(lambda: ask(20), "sequence_id")
    pixels = triton.InferInput("pixels", [1, 64], "FP32")
    pixels.set_data_from_numpy(np.zeros((1, 64), np.float32))
    refusal(lambda: client.infer("digits", [pixels], sequence_id=1, sequence_start=True), "remembers nothing")
    return passed + 3


def curl(*arguments):
    """The status and the body."""
    done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", *arguments], check=True, capture_output=True, text=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def check_curl(world):
    image = np.load(DIGITS / "test_images.npy").astype(np.float64).reshape(-1, 64)[:1]
    request = json.dumps({"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": image.tolist()}]})
    path, kind = "/v2/models/digits/infer", ["-H", "Content-Type: application/json"]
    answers, passed = [], 0
    for where in ([f"http://{world.api}"], ["--unix-socket", world.socket, "http://device"]):
        *options, origin = where
        at = lambda path, *more: curl(*options, *more, origin + path)
        assert at("/v2/health/ready") == (200, {"ready": True})
        status, answer = at(path, *kind, "-d", request)
        assert status == 200, answer
        answers.append(answer["outputs"])
        status, error = at(path, *kind, "-d", request.replace("pixels", "pixel"))
        assert (status, error["code"]) == (400, "input-unknown"), error
        assert at("/openapi.json")[1]["openapi"].startswith("3."), "the description"
        passed += 4
    assert answers[0] == answers[1], "TCP and the Unix socket give the same"
    status, error = curl("-H", "Host: evil.example", f"http://{world.api}/v2")
    assert (status, error["code"]) == (403, "request-host"), error
    return passed + 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin", required=True)
    parser.add_argument("--smoother", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, World(
        arguments.dunlin, folder, {"smoother": arguments.smoother}
    ) as world:
        print(f"tritonclient: {check(world)} passed, sequences: {check_sequences(world)} passed")
        print(f"curl: {check_curl(world)} passed")


if __name__ == "__main__":
    sys.exit(main())
