#!/usr/bin/env python3
"""What `dunlin` signs, verified by a second implementation, and the reverse: securesystemslib, the library of
TUF and in-toto, and the cryptography package, which is OpenSSL.

    python signatures.py --dunlin target/debug/dunlin

Makes a fleet, enrols a device and signs a release in a temporary folder; then verifies every envelope with
the public keys of the root, and sees that another key, another payload type or another byte does not verify.
Then a root is signed here that `dunlin` must take, and key files go both ways, encrypted and not.
Exits with 1 if anything is otherwise than it must be.
"""

import argparse
import base64
import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
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


def public_of(key):
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    return key.public_key().public_bytes(*raw).hex()


def reverse(run, fleet):
    """What is made here, and what `dunlin` makes of it: pairs of a text and whether it holds."""
    carol = Ed25519PrivateKey.generate()
    run("root", "add-key", "root", "carol", public_of(carol), "--fleet", fleet, "--draft")
    run("root", "set-threshold", "root", "2", "--fleet", fleet, "--draft")
    run("root", "sign", "--fleet", fleet)
    [pending] = (fleet / "pending").glob("root-*.json")
    document = json.loads(pending.read_text())
    message = Envelope.from_dict(copy.deepcopy(document)).pae()
    document["signatures"].append({"keyid": "carol", "sig": base64.b64encode(carol.sign(message)).decode()})
    signed = fleet / "signed-by-carol.json"
    signed.write_text(json.dumps(document, indent=2))
    run("import", signed, "--fleet", fleet)
    yield "a root with a signature of another library is taken", (fleet / "root/2.json").exists()

    # Key files of OpenSSL, as it writes them by itself and with scrypt.
    password = b"correct horse"
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    for number, (what, encryption) in enumerate(
        [("not encrypted", serialization.NoEncryption()),
         ("encrypted", serialization.BestAvailableEncryption(password))], start=3):
        file = fleet / "keys/carol.key"
        file.touch(0o600)
        file.write_bytes(carol.private_bytes(*pem, encryption))
        run("root", "renew", "--fleet", fleet)
        yield f"a key file of another library, {what}, signs", (fleet / f"root/{number}.json").exists()

    for what, flags, opened in [("not encrypted", ["--no-passphrase"], None), ("encrypted", [], password)]:
        file = fleet / f"made-{len(flags)}.key"
        made = json.loads(run("key", "generate", "made", "-o", file, "--json", *flags))
        key = serialization.load_pem_private_key(file.read_bytes(), opened)
        yield f"a key file of dunlin, {what}, is opened by another library", public_of(key) == made["public"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin", required=True, type=pathlib.Path)
    dunlin = parser.parse_args().dunlin.resolve()

    with tempfile.TemporaryDirectory() as folder:
        fleet = pathlib.Path(folder) / "fleet"

        def run(*arguments):
            environment = {**os.environ, "DUNLIN_PASSPHRASE": "correct horse"}
            command = [dunlin, *map(str, arguments)]
            return subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout

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
        for what, good in reverse(run, fleet):
            print(f"{'ok   ' if good else 'FAIL '} {what}")
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
