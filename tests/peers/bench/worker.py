"""onnxruntime, native, one thread: the same protocol as `worker/src/main.rs`.

`python worker.py MODEL.onnx` runs the model once and prints one line of JSON, `{"output": [...],
"load_ms": ...}` or `{"refused": "..."}`. Each line on standard input is a number of calls, answered
by the median of their times in nanoseconds. Inputs and outputs are bound once, so that a call copies
nothing; each is timed with the call from Python.
"""

import json
import sys
import time

import numpy as np
import onnxruntime


def numbers(shape):
    """Between -1 and 1, scattered, the same in every candidate."""
    places = np.arange(np.prod(shape), dtype=np.uint64)
    scattered = ((places * 2654435761) & 0xFFFFFFFF) >> 8
    return (scattered.astype(np.float32) / np.float32(1 << 23) - 1).reshape(shape)


def load(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    kept = []
    for tensor in session.get_inputs():
        kept.append(onnxruntime.OrtValue.ortvalue_from_numpy(numbers(tensor.shape)))
        binding.bind_ortvalue_input(tensor.name, kept[-1])
    for tensor in session.get_outputs():
        kept.append(onnxruntime.OrtValue.ortvalue_from_shape_and_type(tensor.shape, np.float32))
        binding.bind_ortvalue_output(tensor.name, kept[-1])
    first = kept[len(session.get_inputs())]
    return session, binding, first, kept


def main():
    start = time.perf_counter()
    try:
        session, binding, first, _kept = load(sys.argv[1])
    except Exception as error:
        print(json.dumps({"refused": str(error)}), flush=True)
        return
    load_ms = (time.perf_counter() - start) * 1e3
    # The method of the C extension, without the Python around it.
    run, bound = session._sess.run_with_iobinding, binding._iobinding
    run(bound, None)
    output = [float(number) for number in first.numpy().ravel()[:64]]
    print(json.dumps({"output": output, "load_ms": load_ms}), flush=True)
    clock = time.perf_counter_ns
    for line in sys.stdin:
        calls = int(line)
        for _ in range(calls // 10):
            run(bound, None)
        times = []
        for _ in range(calls):
            begin = clock()
            run(bound, None)
            times.append(clock() - begin)
        print(sorted(times)[calls // 2], flush=True)


if __name__ == "__main__":
    main()
