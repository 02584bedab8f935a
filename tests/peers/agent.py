"""One inference of an agent's binary, from an empty fleet: signed, published, pulled, proven by golden vectors,
served. Needs nothing but Python.

    python tests/peers/agent.py --dunlin target/debug/dunlin --agent target/small/dunlind --precompile x86_64-linux

With --precompile the agent is one without a compiler: the release carries machine code that the role
`precompiled` signs, and the device demands every layer of isolation. Without, the agent compiles.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from world import DIGITS, free_port


class Operator:
    """The operator's binary, and a broker that it runs for as long as this lasts; `url` is the broker's."""

    def __init__(self, dunlin):
        self.dunlin = dunlin

    def __enter__(self):
        self.broker = subprocess.Popen([self.dunlin, "broker", "--listen", "127.0.0.1:0"],
                                       stdout=subprocess.PIPE, text=True)
        self.url = self.broker.stdout.readline().strip().removeprefix("listening on ")
        return self

    def __exit__(self, *_):
        self.broker.terminate()
        self.broker.wait()

    def run(self, *words):
        command = [self.dunlin, *map(str, words)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def fleet(operator, folder, api, precompile):
    """A fleet with one device and a release of the digits for it; gives the device's configuration."""
    run, home, wasm, device = operator.run, f"{folder}/fleet", f"{folder}/digits.wasm", f"{folder}/device"
    at = ["--fleet", home, "--broker", operator.url]
    run("init", home, "--fleet", "one", "--no-passphrase")
    variant = []
    if precompile:
        key = json.loads(run("key", "generate", "native", "-o", f"{home}/keys/native.key", "--no-passphrase", "--json"))
        run("root", "add-key", "precompiled", "native", key["public"], "--fleet", home)
        variant = ["--precompile", precompile]
    run("enroll", "device", *at, "--channel", "stable", "-o", device, "--listen", api, "--first-connect-jitter-s", "0")
    run("compile", DIGITS / "digits.onnx", "-o", wasm, "--batch", "16", *variant)
    attached = [part for path in pathlib.Path(folder).glob("*.native") for part in ("--precompiled", path)]
    run("release", wasm, "--fleet", home, "--name", "digits", "--version", "1.0.0",
        "--golden", DIGITS / "golden.npz", *attached)
    run("publish", "digits@1.0.0", *at)
    run("deploy", "digits@1.0.0", *at, "--to", "stable")
    config = pathlib.Path(device) / "agent.toml"
    if precompile:
        with config.open("a") as file:
            file.write("\n[site]\nallow_precompiled = true\n\n[worker]\nrequire_isolation = true\n")
    return config


def infer(api, within_s):
    """The probabilities of an empty image, as soon as there is a model that gives them."""
    body = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}
    request = urllib.request.Request(f"http://{api}/v2/models/digits/infer", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    deadline = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)["outputs"][0]["data"]
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                sys.exit(f"no inference within {within_s} s: {error}")
            time.sleep(0.1)


def resident(pid):
    """Resident memory in kB of a process and of those that it started, by their names."""
    found = {}
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if str(pid) in (fields["Pid"].strip(), fields["PPid"].strip()) and "VmRSS" in fields:
            who = "control" if fields["Pid"].strip() == str(pid) else "worker"
            found[who] = int(fields["VmRSS"].split()[0])
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin", required=True, help="the operator's binary")
    parser.add_argument("--agent", required=True, help="the agent's binary, with an emulator before it if need be")
    parser.add_argument("--precompile", metavar="TARGET", help="the agent has no compiler: what it runs")
    parser.add_argument("--within-s", type=int, default=60)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, Operator(arguments.dunlin) as operator:
        api, log, agent = f"127.0.0.1:{free_port()}", pathlib.Path(folder) / "agent.log", None
        try:
            config = fleet(operator, folder, api, arguments.precompile)
            with log.open("w") as file:
                agent = subprocess.Popen([*shlex.split(arguments.agent), "--config", str(config)], stderr=file)
            probabilities = infer(api, arguments.within_s)
            print(f"an inference: {[round(value, 3) for value in probabilities]}")
            assert len(probabilities) == 10 and abs(sum(probabilities) - 1) < 1e-4, "these are no probabilities"
            print("resident, kB:", resident(agent.pid))
            proven = [line for line in log.read_text().splitlines() if "golden answers right" in line]
            assert proven, "golden vectors were not run"
            print(proven[-1].split("prepared:")[-1].strip())
        except BaseException:
            print(log.read_text() if log.exists() else "the agent was not started", file=sys.stderr)
            raise
        finally:
            if agent:
                agent.terminate()
                agent.wait()


if __name__ == "__main__":
    main()
