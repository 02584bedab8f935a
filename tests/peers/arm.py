"""One inference of an agent's binary for ARM, on a whole emulated machine with Debian's kernel: unlike an emulator
of programs it has landlock, filters of system calls and processes that start themselves. The device demands every
layer of isolation. Needs nothing but Python, cpio, qemu-system-arm and Debian's packages of a kernel and of
busybox, unpacked.

    python tests/peers/arm.py --dunlin target/debug/dunlin --agent dunlind-aarch64 --machine arm64 --root DIR
    python tests/peers/arm.py … --agent dunlind-small-aarch64 --precompile aarch64-linux

DIR holds what `dpkg -x` made of `linux-image-*` and `busybox-static` of that architecture.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from agent import Operator, fleet

# The machine's own address of the host, by qemu's rules.
HOST = "10.0.2.2"
API = "127.0.0.1:8700"
MACHINES = {
    "arm64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53"],
    "armhf": ["qemu-system-arm", "-M", "virt", "-cpu", "cortex-a15"],
}
# What the network card needs, in order; a kernel may have some of them built in.
MODULES = ["virtio", "virtio_ring", "virtio_mmio", "failover", "net_failover", "virtio_net"]

INIT = f"""#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t tmpfs tmp /tmp
for module in {" ".join(MODULES)}; do [ -f /modules/$module.ko ] && busybox insmod /modules/$module.ko; done
busybox ifconfig lo 127.0.0.1 up
busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
/dunlind --config /device/agent.toml 2>/tmp/log &
agent=$!
answer=""
while [ -z "$answer" ] && busybox kill -0 $agent 2>/dev/null && ! busybox grep -q refused: /tmp/log; do
    busybox sleep 1
    answer=$(busybox wget -q -O - --header 'Content-Type: application/json' --post-file /request.json \\
        http://{API}/v2/models/digits/infer 2>/dev/null)
done
busybox cat /tmp/log
for status in /proc/[0-9]*/status; do
    busybox grep -qE '^Name:.*(dunlind|exe)$' $status && busybox grep -E '^(VmRSS|Seccomp|NoNewPrivs):' $status
done
echo
echo "ANSWER $answer"
busybox poweroff -f
"""


def image(folder, root, agent, device):
    """The machine's file system, packed as the kernel unpacks it."""
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    shutil.copy(next(root.rglob("bin/busybox")), tree / "bin/busybox")
    shutil.copy(agent, tree / "dunlind")
    shutil.copytree(device, tree / "device")
    for module in MODULES:
        for found in root.rglob(f"{module}.ko"):
            shutil.copy(found, tree / "modules")
    question = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}
    (tree / "request.json").write_text(json.dumps(question))
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))) + "\n"
    packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names.encode(),
                            stdout=subprocess.PIPE, check=True).stdout
    (folder / "image").write_bytes(packed)
    return folder / "image"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dunlin", required=True, help="the operator's binary")
    parser.add_argument("--agent", required=True, help="the agent's static binary")
    parser.add_argument("--machine", choices=MACHINES, required=True)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the unpacked packages")
    parser.add_argument("--precompile", metavar="TARGET", help="the agent has no compiler: what it runs")
    parser.add_argument("--within-s", type=int, default=300)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as home, Operator(arguments.dunlin) as operator:
        config = fleet(operator, home, API, arguments.precompile)
        port = operator.url.rsplit(":", 1)[1]
        text = config.read_text().replace(f"127.0.0.1:{port}", f"{HOST}:{port}")
        if "require_isolation" not in text:
            text += "\n[worker]\nrequire_isolation = true\n"
        config.write_text(text)
        packed = image(pathlib.Path(home), arguments.root, arguments.agent, config.parent)
        kernel = next(arguments.root.rglob("boot/vmlinuz-*"))
        machine = [*MACHINES[arguments.machine], "-m", "512", "-nographic", "-no-reboot",
                   "-kernel", kernel, "-initrd", packed, "-append", "console=ttyAMA0 panic=-1 quiet",
                   "-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"]
        command = ["timeout", str(arguments.within_s), *map(str, machine)]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              errors="replace").stdout
    answer = re.search(r"ANSWER (\{.*\})", said)
    if not answer:
        sys.exit(said + "\nno inference")
    probabilities = json.loads(answer[1])["outputs"][0]["data"]
    assert len(probabilities) == 10 and abs(sum(probabilities) - 1) < 1e-4, "these are no probabilities"
    print(f"an inference: {[round(value, 3) for value in probabilities]}")
    filters = re.findall(r"^Seccomp:\s*(\d)", said, re.M)
    assert sorted(filters) == ["0", "2"], f"control, and a worker with a filter of system calls: {filters}"
    for line in said.splitlines():
        if re.search(r"golden answers right|VmRSS", line):
            print(line.split("prepared:")[-1].strip())


if __name__ == "__main__":
    main()
