"""What HTTP costs above the model: one client, one connection, one request at a time, on loopback. Beside
Dunlin, in the same run and with the same client: onnxruntime behind the smallest server that Python's
library makes, and MLServer around onnxruntime where it is installed.

    python tests/peers/latency.py --dunlin target/release/dunlin [--other before=/path/to/dunlin]

Needs numpy and onnxruntime. Each server gives the time that its model took in each answer; what is above it
is the rest of the time that the client waited: the client's own part, the system's, and the server's.
"""

import argparse
import http.server
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

# `onnxruntime.py` beside this file must not stand in for the package.
sys.path.append(sys.path.pop(0))

import numpy as np
import onnxruntime

from world import DIGITS, World, free_port

ROUNDS, WARM = 5, 300


def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(DIGITS / "digits.onnx"), options, providers=["CPUExecutionProvider"])


def serve_onnxruntime(port):
    """Raw float32 in, raw float32 out."""
    model = session()
    name = model.get_inputs()[0].name

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            pixels = np.frombuffer(body, np.float32).reshape(-1, 64)
            began = time.perf_counter()
            output = model.run(None, {name: pixels})[0]
            called = time.perf_counter() - began
            answer = output.tobytes()
            self.send_response(200)
            self.send_header("X-Called-Us", str(round(called * 1e6)))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


MLSERVER_MODEL = '''
import time, numpy, onnxruntime
from mlserver import MLModel
from mlserver.types import InferenceResponse, Parameters, ResponseOutput

class Digits(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.model = onnxruntime.InferenceSession({path!r}, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload):
        given = payload.inputs[0]
        pixels = numpy.array(given.data.root, numpy.float32).reshape(given.shape)
        began = time.perf_counter()
        output = self.model.run(None, {{self.model.get_inputs()[0].name: pixels}})[0]
        called = round((time.perf_counter() - began) * 1e6)
        out = ResponseOutput(name="y", shape=list(output.shape), datatype="FP32", data=output.ravel().tolist())
        return InferenceResponse(
            model_name=self.name, outputs=[out], parameters=Parameters(called_us=called)
        )
'''


def start_mlserver(folder, port):
    folder = pathlib.Path(folder)
    folder.mkdir()
    (folder / "digits_model.py").write_text(MLSERVER_MODEL.format(path=str(DIGITS / "digits.onnx")))
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "digits", "implementation": "digits_model.Digits"})
    )
    command = [str(pathlib.Path(sys.executable).with_name("mlserver")), "start", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Client:
    """One connection that is kept."""

    def __init__(self, where):
        self.stream = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        self.stream.connect(where)
        if not isinstance(where, str):
            self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request):
        """The seconds until the whole answer was there; its head and body."""
        began = time.perf_counter()
        self.stream.sendall(request)
        answer = self.stream.recv(1 << 16)
        while True:
            head, end, body = answer.partition(b"\r\n\r\n")
            if end:
                lower = head.lower()
                length = int(lower.split(b"content-length: ")[-1].split(b"\r\n")[0])
                if len(body) >= length:
                    return time.perf_counter() - began, head, body
            more = self.stream.recv(1 << 16)
            assert more, "the server hung up"
            answer += more


def post(path, body, *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def dunlin_binary(pixels):
    text = json.dumps({
        "inputs": [{"name": "pixels", "datatype": "FP32", "shape": list(pixels.shape),
                    "parameters": {"binary_data_size": pixels.nbytes}}],
        "parameters": {"binary_data_output": True},
    }).encode()
    header = f"Inference-Header-Content-Length: {len(text)}"
    return post("/v2/models/digits/infer", text + pixels.tobytes(), header)


def v2_json(pixels):
    text = json.dumps({"inputs": [
        {"name": "pixels", "datatype": "FP32", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
    ]})
    return post("/v2/models/digits/infer", text.encode(), "Content-Type: application/json")


def called_in_json(head, body):
    text = body.split(b'"called_us":')[1] if b'"called_us":' in body else b"0"
    return int(text.split(b",")[0].split(b"}")[0])


def called_in_header(head, body):
    return int(head.lower().split(b"x-called-us: ")[1].split(b"\r\n")[0])


def wait_for(where, request):
    deadline = time.monotonic() + 60
    while True:
        try:
            _, head, _ = Client(where).ask(request)
            if b" 200 " in head.split(b"\r\n")[0]:
                return
        except (OSError, AssertionError):
            pass
        assert time.monotonic() < deadline, f"{where} does not answer"
        time.sleep(0.2)


def measure(rows, requests):
    """All in turns, so that what else the machine does falls on each alike."""
    seen = {name: [] for name, *_ in rows}
    for _ in range(ROUNDS):
        for name, where, request, called in rows:
            client = Client(where)
            for number in range(WARM + requests // ROUNDS):
                took, head, body = client.ask(request)
                assert b" 200 " in head.split(b"\r\n")[0], head
                if number >= WARM:
                    seen[name].append((took * 1e6, called(head, body)))
    print("| server | requests | p50 | p99 | model, p50 | above the model, p50 |")
    print("|---|---|---|---|---|---|")
    for name, samples in seen.items():
        took = sorted(took for took, _ in samples)
        model = statistics.median(called for _, called in samples)
        above = statistics.median(took - called for took, called in samples)
        p99 = took[len(took) * 99 // 100]
        print(f"| {name} | {len(took)} | {statistics.median(took):.0f} µs | {p99:.0f} µs | {model:.0f} µs | {above:.0f} µs |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=DUNLIN")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--serve-onnxruntime", type=int, metavar="PORT")
    arguments = parser.parse_args()
    if arguments.serve_onnxruntime:
        return serve_onnxruntime(arguments.serve_onnxruntime)
    pixels = np.load(DIGITS / "test_images.npy").astype(np.float32).reshape(-1, 64)[:1]
    binary, text = dunlin_binary(pixels), v2_json(pixels)
    live = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    rows, worlds, processes = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        try:
            builds = [("Dunlin", arguments.dunlin), *(other.split("=", 1) for other in arguments.other)]
            for number, (name, dunlin) in enumerate(builds):
                home = pathlib.Path(f"{folder}/{number}")
                home.mkdir()
                world = World(dunlin, str(home))
                worlds.append(world)
                host, port = world.api.split(":")
                address = (host, int(port))
                rows += [
                    (f"{name}, binary tensors, TCP", address, binary, called_in_json),
                    (f"{name}, binary tensors, Unix socket", world.socket, binary, called_in_json),
                    (f"{name}, JSON, TCP", address, text, called_in_json),
                    # What HTTP and the client cost without any model.
                    (f"{name}, `/v2/health/live`, TCP", address, live, lambda *_: 0),
                ]
            port = free_port()
            processes.append(subprocess.Popen([sys.executable, __file__, "--serve-onnxruntime", str(port)]))
            raw = post("/", pixels.tobytes())
            wait_for(("127.0.0.1", port), raw)
            rows.append(("onnxruntime, http.server, raw bytes, TCP", ("127.0.0.1", port), raw, called_in_header))
            try:
                import mlserver
            except ImportError:
                print("MLServer is not installed")
            else:
                port = free_port()
                processes.append(start_mlserver(f"{folder}/mlserver", port))
                wait_for(("127.0.0.1", port), text)
                rows.append((f"MLServer {mlserver.__version__}, JSON, TCP", ("127.0.0.1", port), text, called_in_json))
            print(f"onnxruntime {onnxruntime.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
            measure(rows, arguments.requests)
        finally:
            for process in processes:
                process.terminate()
                process.wait()
            for world in worlds:
                world.end()


if __name__ == "__main__":
    sys.exit(main())
