#!/usr/bin/env python3
"""What `dunlin` signs, verified by a second implementation: securesystemslib, the library of TUF and in-toto.

    python signatures.py --dunlin target/debug/dunlin

Makes a fleet, enrols a device and signs a release in a temporary folder; then verifies every envelope with
the public keys of the root, and sees that another key, another payload type or another byte does not verify.
Exits with 1 if anything is otherwise than it must be.
"""

import argparse
import base64
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "digits"


def key_of(root, role):
    """The one key of a role, as securesystemslib has it."""
    name = root["roles"][role]["keys"][0]
    public = next(key["public"] for key in root["keys"] if key["name"] == name)
    return SSlibKey(name, "ed25519", "ed25519", {"public": public})


def verifies(document, key):
    try:
        # from_dict takes its argument apart.
        Envelope.from_dict(copy.deepcopy(document)).verify([key], threshold=1)
        return True
    except VerificationError:
        return False


def altered(document):
    body = bytearray(base64.b64decode(document["payload"]))
    body[len(body) // 2] ^= 1
    return {**document, "payload": base64.b64encode(body).decode()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin", required=True, type=pathlib.Path)
    dunlin = parser.parse_args().dunlin.resolve()

    with tempfile.TemporaryDirectory() as folder:
        fleet = pathlib.Path(folder) / "fleet"

        def run(*arguments):
            subprocess.run([dunlin, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

        run("init", fleet, "--fleet", "peers", "--no-passphrase")
        run("enroll", "alpha", "--fleet", fleet, "--broker", "mqtt://127.0.0.1", "--channel", "stable",
            "-o", pathlib.Path(folder) / "alpha")
        wasm = pathlib.Path(folder) / "digits.wasm"
        run("compile", EXAMPLES / "digits.onnx", "-o", wasm)
        run("release", wasm, "--fleet", fleet, "--name", "digits", "--version", "1.0.0",
            "--golden", EXAMPLES / "golden.npz")

        read = lambda name: json.loads((fleet / name).read_text())
        root = json.loads(base64.b64decode(read("root/1.json")["payload"]))
        keys = {role: key_of(root, role) for role in ("root", "release", "deploy")}
        passed = failed = 0
        for name, role in [("root/1.json", "root"), ("releases/digits/1.json", "release"), ("devices.json", "deploy")]:
            document = read(name)
            other = keys["deploy" if role == "root" else "root"]
            checks = {
                "verifies": verifies(document, keys[role]),
                "not by another key": not verifies(document, other),
                "not as another type": not verifies({**document, "payloadType": "text/plain"}, keys[role]),
                "not with another byte": not verifies(altered(document), keys[role]),
            }
            for what, good in checks.items():
                print(f"{'ok   ' if good else 'FAIL '} {name}: {what}")
                passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
