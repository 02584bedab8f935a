"""The architectures in PyTorch, exported by both of its exporters; `make.py` writes the files.

The weights come from NumPy's generator, so they are the same in every version of PyTorch. Names
end in `-b1` where the batch is fixed to 1; everywhere else it is symbolic.
"""

import io
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional

# The fused encoder layer of inference has no counterpart in ONNX.
torch.backends.mha.set_fastpath_enabled(False)


def conv(inputs, outputs, kernel=3, stride=1, groups=1, activation=nn.ReLU):
    """Convolution, batch normalisation, activation."""
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    layers = [convolution, nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, activation()) if activation else nn.Sequential(*layers)


class Dense(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Linear(20, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 32), nn.Tanh(),
            nn.Linear(32, 24), nn.GELU(), nn.Linear(24, 7), nn.Softmax(dim=-1),
        )  # fmt: skip


class Cnn(nn.Sequential):
    def __init__(self):
        super().__init__(
            conv(1, 8), nn.MaxPool2d(2), conv(8, 16), nn.MaxPool2d(3, stride=2, padding=1),
            nn.Flatten(), nn.Linear(16 * 7 * 7, 10), nn.LogSoftmax(dim=1),
        )  # fmt: skip


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x):
        scale = functional.relu(self.reduce(functional.adaptive_avg_pool2d(x, 1)))
        return x * functional.hardsigmoid(self.expand(scale))


class Depthwise(nn.Module):
    """Blocks of MobileNet: depthwise and pointwise, ReLU6, hard swish, squeeze and excite."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 8, stride=2, activation=nn.ReLU6),
            conv(8, 8, groups=8, activation=nn.ReLU6),
            conv(8, 16, kernel=1, activation=nn.ReLU6),
            conv(16, 16, kernel=5, stride=2, groups=16, activation=nn.Hardswish),
            SqueezeExcite(16),
            conv(16, 24, kernel=1, activation=nn.Hardswish),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classify = nn.Linear(24, 5)

    def forward(self, x):
        x = self.features(x)
        return self.classify(x.view(x.size(0), -1))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.main = nn.Sequential(
            conv(inputs, outputs, stride=stride), conv(outputs, outputs, activation=None)
        )
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else conv(inputs, outputs, 1, stride, activation=None)

    def forward(self, x):
        return functional.relu(self.main(x) + self.skip(x))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 24, 2))
        self.pool = nn.AvgPool2d(2)
        self.classify = nn.Linear(24, 10)

    def forward(self, x):
        x = self.pool(self.blocks(self.stem(x)))
        return self.classify(x.mean(dim=(2, 3)))


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        leaky = lambda: nn.LeakyReLU(0.1)  # noqa: E731
        self.down = nn.ModuleList([conv(2, 6, activation=leaky), conv(6, 12), conv(12, 16)])
        self.up = nn.ModuleList(
            [
                nn.ConvTranspose2d(16, 12, 3, stride=2, padding=1, output_padding=1),
                nn.ConvTranspose2d(12, 6, 2, stride=2),
            ]
        )
        self.merge = nn.ModuleList([conv(24, 12), conv(12, 6)])
        self.head = nn.Conv2d(6, 1, 1)

    def forward(self, x):
        first = self.down[0](x)
        second = self.down[1](functional.max_pool2d(first, 2))
        x = self.down[2](functional.max_pool2d(second, 2))
        x = self.merge[0](torch.cat([self.up[0](x), second], dim=1))
        x = self.merge[1](torch.cat([self.up[1](x), first], dim=1))
        return torch.sigmoid(self.head(x))


class Nearest(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = conv(3, 8, stride=2), conv(8, 4)

    def forward(self, x):
        x = functional.interpolate(self.before(x), scale_factor=2, mode="nearest")
        return functional.interpolate(self.after(x), size=(30, 21), mode="nearest")


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = conv(3, 8, stride=2), conv(8, 4)
        self.half_pixel = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.corners = nn.Upsample(size=(27, 30), mode="bilinear", align_corners=True)

    def forward(self, x):
        return self.corners(self.after(self.half_pixel(self.before(x))))


class Recurrent(nn.Module):
    """A recurrent layer over [N, 15, 6], and a dense one on its last step; both are outputs."""

    def __init__(self, kind, bidirectional=False, layers=1):
        super().__init__()
        self.layer = kind(6, 12, layers, batch_first=True, bidirectional=bidirectional)
        self.classify = nn.Linear(24 if bidirectional else 12, 4)

    def forward(self, x):
        states, _ = self.layer(x)
        return self.classify(states[:, -1]), states


def encoder(norm_first=False):
    layer = nn.TransformerEncoderLayer(
        24, 4, 40, activation="gelu", batch_first=True, norm_first=norm_first
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Transformer(nn.Module):
    """A patch embedding of [N, 16, 10], two encoder layers, the mean, a dense layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(10, 24)
        self.position = nn.Parameter(torch.zeros(1, 16, 24))
        self.encoder = encoder()
        self.classify = nn.Linear(24, 6)

    def forward(self, x):
        return self.classify(self.encoder(self.embed(x) + self.position).mean(dim=1))


class Tokens(nn.Module):
    """Token ids [N, 12] of 50 tokens, two encoder layers (norm first), the first position."""

    def __init__(self):
        super().__init__()
        self.embed, self.position = nn.Embedding(50, 24), nn.Embedding(12, 24)
        self.encoder = encoder(norm_first=True)
        self.norm = nn.LayerNorm(24)
        self.classify = nn.Linear(24, 3)

    def forward(self, tokens):
        places = torch.arange(tokens.size(1))
        x = self.encoder(self.embed(tokens) + self.position(places))
        return self.classify(self.norm(x)[:, 0])


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.batch = nn.BatchNorm2d(3)
        self.first, self.group = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8)
        self.second = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.instance = nn.InstanceNorm2d(12, affine=True)
        self.layer = nn.LayerNorm([12, 6, 6])
        self.classify = nn.Linear(12 * 36, 5)

    def forward(self, x):
        x = functional.silu(self.group(self.first(self.batch(x))))
        x = functional.elu(self.instance(self.second(x)))
        return self.classify(self.layer(x).flatten(1))


class Conv1d(nn.Module):
    """A temporal network over [N, 5, 96]: causal padding, dilation, strides, pooling."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv1d(5, 12, 7, stride=2, padding=3), nn.BatchNorm1d(12)
        self.dilated = nn.Conv1d(12, 12, 3, dilation=4)
        self.depthwise = nn.Conv1d(12, 12, 5, padding=2, groups=12)
        self.grouped = nn.Conv1d(12, 16, 3, groups=4)
        self.classify = nn.Linear(16 * 11, 6)

    def forward(self, x):
        x = functional.max_pool1d(functional.relu(self.norm(self.first(x))), 2)
        x = x + functional.relu(self.dilated(functional.pad(x, (8, 0))))
        x = functional.softplus(self.grouped(functional.relu(self.depthwise(x))))
        return self.classify(functional.avg_pool1d(x, 2).flatten(1))


FLOAT, TOKENS = "float", "tokens"
# Name, what it is, how to make it, the shape of one sample, opset of the TorchScript exporter.
ARCHITECTURES = [
    ("dense", "4 dense layers, BN, GELU, softmax", Dense, (20,), 13),
    ("cnn", "2 x (conv, BN, ReLU, max pooling), dense", Cnn, (1, 28, 28), 11),
    ("depthwise", "MobileNet blocks, ReLU6, hard swish, squeeze-excite", Depthwise, (3, 24, 24), 17),
    ("residual", "ResNet with 3 blocks, average pooling", Residual, (3, 16, 16), 17),
    ("unet", "U-Net with 2 transposed convolutions", Unet, (2, 16, 16), 17),
    ("nearest", "2 nearest-neighbour resizes", Nearest, (3, 20, 14), 17),
    ("bilinear", "2 bilinear resizes, half pixel and aligned corners", Bilinear, (3, 18, 20), 17),
    ("lstm", "LSTM, 2 layers", lambda: Recurrent(nn.LSTM, layers=2), (15, 6), 14),
    ("bilstm", "LSTM, bidirectional", lambda: Recurrent(nn.LSTM, True), (15, 6), 17),
    ("gru", "GRU", lambda: Recurrent(nn.GRU), (15, 6), 17),
    ("transformer", "transformer encoder, 2 layers", Transformer, (16, 10), 17),
    ("tokens", "embedding, transformer encoder, 2 layers", Tokens, (12,), 17),
    ("norms", "batch, group, instance and layer normalisation", Norms, (3, 12, 12), 17),
    ("conv1d", "1-D convolutions: causal, dilated, depthwise, grouped", Conv1d, (5, 96), 17),
]
FIXED = ["cnn", "depthwise", "lstm", "gru", "transformer", "tokens"]
# What the newest operator sets have of their own: GroupNormalization, Attention.
NEWER = {"norms": 21, "transformer": 23}


def randomise(module, seed):
    """Weights at a usual scale, and statistics that a normalisation must not ignore."""
    rng = np.random.default_rng(seed)
    for name, tensor in sorted(module.state_dict().items()):
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            values = rng.uniform(0.3, 3.0, shape)
        elif name.endswith("running_mean") or "bias" in name:
            values = 0.3 * rng.standard_normal(shape)
        elif len(shape) == 1:  # the scale of a normalisation
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        tensor.copy_(torch.from_numpy(np.asarray(values, np.float32)))
    return module.eval()


def export(module, sample, exporter, dynamic, opset=None, unfused=False):
    """The bytes of the ONNX file; `unfused` leaves normalisations beside their convolutions."""
    with torch.no_grad():
        outputs = module(sample)
    count = len(outputs) if isinstance(outputs, tuple) else 1
    file = io.BytesIO()
    names = {"input_names": ["x"], "output_names": ["y", "states"][:count]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            axes = {name: {0: "batch"} for name in ["x", *names["output_names"]]} if dynamic else None
            mode = torch.onnx.TrainingMode.PRESERVE if unfused else torch.onnx.TrainingMode.EVAL
            torch.onnx.export(
                module, (sample,), file, dynamo=False, opset_version=opset, dynamic_axes=axes,
                training=mode, **names,
            )  # fmt: skip
            return file.getvalue()
        shapes = ({0: torch.export.Dim("batch", max=1024)},) if dynamic else None
        program = torch.onnx.export(
            module, (sample,), dynamo=True, opset_version=opset, dynamic_shapes=shapes,
            verbose=False, **names,
        )  # fmt: skip
    program.save(file)
    return file.getvalue()


def models():
    """Name, architecture and bytes of each file."""
    for seed, (name, architecture, make, shape, opset) in enumerate(ARCHITECTURES):
        module = randomise(make(), seed)
        dtype = torch.int64 if name == "tokens" else torch.float32
        # Neither 1 nor a size within: exporters specialise on both.
        sample = torch.zeros((2, *shape), dtype=dtype)
        for exporter, opsets in [("torchscript", opset), ("dynamo", None)]:
            file = f"pytorch-{exporter}-{name}"
            yield file, architecture, export(module, sample, exporter, True, opsets)
            if name in FIXED:
                yield f"{file}-b1", architecture, export(module, sample[:1], exporter, False, opsets)
        if name in NEWER:
            newer = export(module, sample, "dynamo", True, NEWER[name])
            yield f"pytorch-dynamo-{name}-opset{NEWER[name]}", architecture, newer
        if name == "residual":
            unfused = export(module, sample, "torchscript", True, opset, unfused=True)
            yield "pytorch-torchscript-residual-unfused", architecture, unfused
