"""A fleet of one device that serves the digits, and what else a script asks for; no package is needed."""

import json
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

DIGITS = pathlib.Path(__file__).resolve().parents[2] / "examples/digits"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class World:
    """A broker, a fleet and its one agent, as processes; `api` is where it listens, `socket` its Unix socket."""

    def __init__(self, dunlin, folder, wasm=(), configure=lambda text: text):
        self.dunlin, self.folder = str(pathlib.Path(dunlin).resolve()), folder
        self.api, self.socket = f"127.0.0.1:{free_port()}", f"{folder}/api.sock"
        self.processes = []
        try:
            self.begin(dict(wasm), configure)
        except BaseException:
            self.end()
            raise

    def begin(self, wasm, configure):
        folder = self.folder
        broker = self.start("broker", "--listen", "127.0.0.1:0", stdout=subprocess.PIPE, text=True)
        url = broker.stdout.readline().strip().removeprefix("listening on ")
        fleet, digits, bundle = f"{folder}/fleet", f"{folder}/digits.wasm", f"{folder}/press"
        at = ["--fleet", fleet, "--broker", url]
        self.run("init", fleet, "--fleet", "peers", "--no-passphrase")
        self.run("enroll", "press", *at, "--channel", "stable", "-o", bundle, "--listen", self.api,
                 "--first-connect-jitter-s", "0")
        self.run("compile", DIGITS / "digits.onnx", "-o", digits, "--batch", "16")
        models = {"digits": digits, **wasm}
        for name, path in models.items():
            self.run("release", path, "--fleet", fleet, "--name", name, "--version", "1.0.0")
            self.run("publish", f"{name}@1.0.0", *at)
            self.run("deploy", f"{name}@1.0.0", *at, "--to", "stable")
        config = pathlib.Path(f"{bundle}/agent.toml")
        text = config.read_text().replace("[api]\n", f'[api]\nsocket_file = "{self.socket}"\n')
        config.write_text(configure(text))
        self.start("agent", "--config", config, stderr=subprocess.DEVNULL)
        for name in models:
            self.wait_for(name)

    def start(self, *arguments, **options):
        process = subprocess.Popen([self.dunlin, *map(str, arguments)], **options)
        self.processes.append(process)
        return process

    def run(self, *arguments):
        subprocess.run([self.dunlin, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.api}{path}", timeout=10) as answer:
            return json.load(answer)

    def wait_for(self, name):
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.get(f"/v2/models/{name}/ready")["ready"]:
                    return
            except (urllib.error.URLError, OSError):
                pass  # Not there yet.
            assert time.monotonic() < deadline, f"{name} does not serve"
            time.sleep(0.1)

    def end(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
