"""The compiler's runner, `runtime/compiler/examples/conformance.rs`, as a process that answers case by case."""

import json
import os
import select
import subprocess

import numpy as np

SECONDS = 30  # what a case may take; the largest takes less than one
# What is not a verdict of the runner: the process did not answer in time, or ended.
HANG, CRASH = "hang", "crash"
BAD = ("wrong", "fault", "trap", HANG, CRASH)


class Runner:
    """Judges cases; restarts the process behind one that hangs or ends it."""

    def __init__(self, binary, simd="relaxed", seconds=SECONDS):
        self.command = [str(binary), "--stdin", "--simd", simd]
        self.seconds = seconds
        self.process = None
        self.rest = b""

    def judge(self, stem):
        """The verdict on STEM.onnx with STEM.npz: a dictionary with name, verdict, code and detail."""
        if self.process is None:
            # The verdicts have panics too.
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self.rest = b""
        name = os.path.basename(stem)
        try:
            self.process.stdin.write(f"{stem}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return self.give_up(name, CRASH, "the runner does not read")
        while True:
            line = self.line()
            if line is None:
                return self.give_up(name, HANG, f"no verdict after {self.seconds} s")
            if not line:
                return self.give_up(name, CRASH, f"the runner ended with {self.process.wait()}")
            said = json.loads(line)
            if "verdict" in said:
                return said

    def line(self):
        """The next line; empty at the end, None if it takes too long."""
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], self.seconds)[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                return b""
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def give_up(self, name, verdict, detail):
        self.close()
        return {"name": name, "verdict": verdict, "code": "", "detail": detail}

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def write_case(stem, model, inputs, outputs, **further):
    """Writes STEM.onnx and STEM.npz; `further` are arrays with their whole names."""
    with open(f"{stem}.onnx", "wb") as file:
        file.write(model.SerializeToString())
    arrays = {f"input/{name}": array for name, array in inputs.items()}
    arrays |= {f"output/{name}": array for name, array in outputs.items()}
    np.savez(f"{stem}.npz", **{name: contiguous(array) for name, array in (arrays | further).items()})


def contiguous(array):
    return np.asarray(array).reshape(-1).reshape(np.shape(array)) if np.ndim(array) else np.asarray(array)
