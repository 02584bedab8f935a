"""Makes the models that tests/peers/bench measures, into a folder: too large to be committed.

    .venv/bin/python tests/models/mlperf.py DIR       # needs onnx and numpy only

The four architectures of MLPerf Tiny, node by node as the public models have them (batch
normalisations folded into the layers, float32, batch 1, NCHW, opset 17), two recurrent ones, and next to
nothing:

    ad.onnx     anomaly detection, autoencoder 640-128x4-8-128x4-640      x[1,640] -> y[1,640]
    kws.onnx    keyword spotting, DS-CNN                                  x[1,1,49,10] -> y[1,12]
    ic.onnx     image classification, ResNet-8                            x[1,3,32,32] -> y[1,10]
    vww.onnx    visual wake words, MobileNetV1 0.25                       x[1,3,96,96] -> y[1,2]
    lstm.onnx   LSTM, 50 steps of 32 inputs, 64 hidden, a dense layer     x[1,50,32] -> y[1,10]
    gru.onnx    GRU, the same (linear_before_reset, as PyTorch has it)    x[1,50,32] -> y[1,10]
    call.onnx   one ReLU: what a call costs                               x[1,64] -> y[1,64]

Weights are random with a fixed seed: speed does not depend on them, as long as they are normal
numbers. The same folder holds the same bytes every time.

`--check DIR` compares the four with models of the same names in DIR: every node's operator,
attributes and weight shapes. It exits with 1 at the first difference.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 17, 8


class Network:
    """A graph that grows node by node; `value` is the newest one, with `channels`."""

    def __init__(self, seed, *shape):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], []
        self.shape = shape
        self.value, self.channels, self.count = "x", shape[0], 0

    def weight(self, *shape, fan=None):
        """A random weight at a usual scale; a bias where there is no `fan`."""
        scale = np.sqrt(2 / fan) if fan else 0.1
        array = (self.rng.standard_normal(shape) * scale).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def constant(self, values):
        array = np.array(values, np.int64)
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, operator, *inputs, outputs=1, **attributes):
        names = [f"{operator.lower()}{self.count}{'abc'[index]}" for index in range(outputs)]
        self.count += 1
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        self.value = names[0]
        return names[-1]

    def relu(self):
        return self.node("Relu", self.value)

    def conv(self, channels, kernel, strides=1, pads=None, groups=1):
        """`pads` as ONNX has them: top, left, bottom, right."""
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        fan = self.channels // groups * kernel[0] * kernel[1]
        weight = self.weight(channels, self.channels // groups, *kernel, fan=fan)
        pads = pads or [kernel[0] // 2, kernel[1] // 2] * 2
        self.channels = channels
        return self.node(
            "Conv", self.value, weight, self.weight(channels),
            group=groups, kernel_shape=kernel, pads=pads, strides=[strides] * 2,
        )  # fmt: skip

    def separable(self, channels, strides=1):
        """Depthwise and pointwise; at a stride of 2 TensorFlow pads at the end only."""
        pads = [1, 1, 1, 1] if strides == 1 else [0, 0, 1, 1]
        self.conv(self.channels, 3, strides, pads, groups=self.channels)
        self.relu()
        self.conv(channels, 1)
        return self.relu()

    def dense(self, outputs):
        weight = self.weight(outputs, self.channels, fan=self.channels)
        self.channels = outputs
        return self.node("Gemm", self.value, weight, self.weight(outputs), transB=1)

    def classify(self, classes):
        self.node("GlobalAveragePool", self.value)
        self.node("Flatten", self.value, axis=1)
        self.dense(classes)
        self.node("Softmax", self.value, axis=1)

    def model(self, name):
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *self.shape])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, self.channels])],
            initializer=self.weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, ir_version=IR, opset_imports=opsets)
        onnx.checker.check_model(model, full_check=True)
        return model


def ad():
    net = Network(1, 640)
    for width in [128] * 4 + [8] + [128] * 4:
        net.dense(width)
        net.relu()
    net.dense(640)
    return net


def kws():
    net = Network(2, 1, 49, 10)
    net.conv(64, (10, 4), strides=2, pads=[4, 1, 5, 1])
    net.relu()
    for _ in range(4):
        net.separable(64)
    net.classify(12)
    return net


def ic():
    net = Network(3, 3, 32, 32)
    net.conv(16, 3)
    net.relu()
    for channels, strides in [(16, 1), (32, 2), (64, 2)]:
        entry, inputs = net.value, net.channels
        net.conv(channels, 3, strides, [1, 1, 1, 1] if strides == 1 else [0, 0, 1, 1])
        net.relu()
        main, skip = net.conv(channels, 3), entry
        operands = [skip, main]
        if strides == 2:
            net.value, net.channels = entry, inputs
            operands = [net.conv(channels, 1, strides), main]
        net.node("Add", *operands)
        net.relu()
    net.classify(10)
    return net


def vww():
    net = Network(4, 3, 96, 96)
    net.conv(8, 3, strides=2, pads=[0, 0, 1, 1])
    net.relu()
    layout = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for channels, strides in layout:
        net.separable(channels, strides)
    net.classify(2)
    return net


def recurrent(operator, gates, seed, **attributes):
    """[1, steps, inputs], transposed to the order of ONNX; the last state goes to a dense layer."""
    steps, inputs, hidden = 50, 32, 64
    net = Network(seed, steps, inputs)
    net.node("Transpose", net.value, perm=[1, 0, 2])
    last = net.node(
        operator,
        net.value,
        net.weight(1, gates * hidden, inputs, fan=2 * inputs),
        net.weight(1, gates * hidden, hidden, fan=2 * hidden),
        net.weight(1, 2 * gates * hidden),
        outputs=2,
        hidden_size=hidden,
        **attributes,
    )
    net.node("Squeeze", last, net.constant([0]))
    net.channels = hidden
    net.dense(10)
    return net


def call():
    net = Network(7, 64)
    net.relu()
    return net


NETWORKS = {
    "ad": ad,
    "kws": kws,
    "ic": ic,
    "vww": vww,
    "lstm": lambda: recurrent("LSTM", 4, 5),
    "gru": lambda: recurrent("GRU", 3, 6, linear_before_reset=1),
    "call": call,
}
PUBLIC = ["ad", "kws", "ic", "vww"]


def structure(model):
    """Every node: its operator, attributes, where its inputs come from, and the shapes of weights."""
    shapes = {tensor.name: ("weight", *tensor.dims) for tensor in model.graph.initializer}
    made = {"x": "input"}
    lines = []
    for place, node in enumerate(model.graph.node):
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        origins = [shapes.get(name) or made[name] for name in node.input]
        lines.append(f"{node.op_type} {dict(sorted(attributes.items()))} of {origins}")
        made.update({name: f"node {place}" for name in node.output})
    return lines


def check(folder):
    for name in PUBLIC:
        ours = structure(NETWORKS[name]().model(name))
        theirs = structure(onnx.load(folder / f"{name}.onnx"))
        for place, (one, other) in enumerate(zip(ours, theirs)):
            if one != other:
                raise SystemExit(f"{name}, node {place}:\n  ours   {one}\n  theirs {other}")
        if len(ours) != len(theirs):
            raise SystemExit(f"{name}: {len(ours)} nodes, theirs has {len(theirs)}")
        print(f"{name}: {len(ours)} nodes, the same")


def main():
    parser = argparse.ArgumentParser(description="Makes the models of the benchmark.")
    parser.add_argument("folder", type=Path, nargs="?", help="where to write them")
    parser.add_argument("--check", type=Path, metavar="DIR", help="compare with the models there")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
    elif arguments.folder is None:
        parser.error("name a folder to write to")
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for name, network in NETWORKS.items():
            data = network().model(name).SerializeToString(deterministic=True)
            (arguments.folder / f"{name}.onnx").write_bytes(data)
            print(f"{name}.onnx {len(data):>8} bytes")


if __name__ == "__main__":
    sys.exit(main())
