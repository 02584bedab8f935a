"""Convolutions, pools, Resize and Upsample."""

import numpy as np

from conformance.builder import NotPossible
from conformance.families.registry import step


def spatial(b, needed=None):
    """A tensor [batch, channels, spatial...] with one or two spatial axes."""
    rank = needed or b.pick([1, 2, 2])
    return b.ranked(rank + 2)


def window(b, extents, dilate=True):
    """Kernel, strides, dilations and pads that fit the extents."""
    kernel, strides, dilations, begin, end = [], [], [], [], []
    for extent in extents:
        k, s, d = b.pick([1, 1, 2, 3, 3, 5]), b.pick([1, 1, 1, 2, 3]), b.pick([1, 1, 1, 2]) if dilate else 1
        reach = d * (k - 1) + 1
        low, high = (b.integer(0, k - 1), b.integer(0, k - 1)) if b.chance(0.6) else (0, 0)
        if b.chance(0.4) and k % 2:
            low = high = (reach - 1) // 2
        if low + high + extent < reach:
            low, high = k - 1, k - 1
            if low + high + extent < reach:
                k, low, high, d = 1, 0, 0, 1
        kernel, strides, dilations = [*kernel, k], [*strides, s], [*dilations, d]
        begin, end = [*begin, low], [*end, high]
    return kernel, strides, dilations, begin, end


def padding(b, begin, end, kernel, extents, strides):
    """The pads, or a word for them."""
    if b.chance(0.75):
        return {"pads": [*begin, *end]}
    word = b.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
    if any(k < s for k, s in zip(kernel, strides, strict=True)):
        # The padding would be negative: onnxruntime refuses it, clamps it or shifts the window, by operator.
        word = "VALID"
    if word == "VALID" and any(k > e for k, e in zip(kernel, extents, strict=True)):
        return {"pads": [*begin, *end]}
    return {"auto_pad": word}


def conv(b, x, kernel=None, groups=None, same=False, channels=None):
    """A convolution; `same` keeps the shape."""
    extents = x.shape[2:]
    size, strides, dilations, begin, end = window(b, extents)
    if kernel is not None:
        size = [kernel] * len(extents)
        strides, dilations, begin, end = [1] * len(size), [1] * len(size), [0] * len(size), [0] * len(size)
    attributes = {}
    if same:
        size = [k if k % 2 else 3 for k in size]
        dilations = [b.pick([1, 1, 2]) for _ in size]
        begin = end = [d * (k - 1) // 2 for k, d in zip(size, dilations, strict=True)]
        strides = [1] * len(size)
        attributes = {"pads": [*begin, *end]}
    else:
        if b.chance(0.25) and kernel is None:
            dilations = [1] * len(size)
            attributes = padding(b, begin, end, size, extents, strides)
        else:
            attributes = {"pads": [*begin, *end]}
    inputs = x.shape[1]
    if groups is None:
        divisors = [g for g in range(1, inputs + 1) if inputs % g == 0]
        groups = b.pick([1, 1, inputs, b.pick(divisors)])
    outputs = channels or (inputs if same else groups * b.pick([1, 1, 2, 3, 5]))
    if outputs % groups:
        groups = 1
    scale = 1 / np.sqrt(max(1, inputs // groups * np.prod(size)))
    weights = b.constant(b.numbers([outputs, inputs // groups, *size]) * np.float32(scale))
    bias = b.constant(b.numbers([outputs])) if b.chance(0.5) else None
    if b.chance(0.8) or strides != [1] * len(size):
        attributes["strides"] = strides
    if dilations != [1] * len(size) or b.chance(0.3):
        attributes["dilations"] = dilations
    if groups != 1:
        attributes["group"] = groups
    return b.node("Conv", [x, weights, bias], kernel_shape=size, **attributes)


@step("Conv")
def any_conv(b, operator):
    return conv(b, spatial(b))


@step("ConvTranspose")
def conv_transpose(b, operator, x=None, same=False):
    x = x or spatial(b)
    extents = x.shape[2:]
    size, strides, dilations, begin, end = window(b, extents)
    inputs = x.shape[1]
    divisors = [g for g in range(1, inputs + 1) if inputs % g == 0]
    groups = b.pick([1, 1, inputs, b.pick(divisors)])
    per_group = b.pick([1, 1, 2, 3])
    attributes = {}
    if same:
        size = [k if k % 2 else 3 for k in size]
        strides, dilations = [1] * len(size), [1] * len(size)
        begin = end = [(k - 1) // 2 for k in size]
        groups, per_group = (inputs, 1) if b.chance(0.5) else (1, inputs)
    else:
        for axis, extent in enumerate(extents):
            whole = strides[axis] * (extent - 1) + dilations[axis] * (size[axis] - 1) + 1
            if begin[axis] + end[axis] >= whole:
                begin[axis] = end[axis] = 0
        if b.chance(0.3):
            attributes["output_padding"] = [
                b.integer(0, max(s, d) - 1) for s, d in zip(strides, dilations, strict=True)
            ]
        if b.chance(0.1):
            # Of a window shorter than its stride, ONNX's text and onnxruntime make different lengths.
            short = any(d * (k - 1) + 1 < s for k, s, d in zip(size, strides, dilations, strict=True))
            attributes["auto_pad"] = "VALID" if short else b.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
    weights = b.constant(
        b.numbers([inputs, per_group, *size])
        * np.float32(1 / np.sqrt(np.prod(size) * max(1, inputs // groups)))
    )
    bias = b.constant(b.numbers([groups * per_group])) if b.chance(0.4) else None
    if "auto_pad" not in attributes:
        if b.chance(0.1) and not same and "output_padding" not in attributes:
            attributes["output_shape"] = [
                s * (e - 1) + d * (k - 1) + 1 + b.integer(-1, 0) if e > 1 or k > 1 else s * (e - 1) + 1
                for s, e, d, k in zip(strides, extents, dilations, size, strict=True)
            ]
        else:
            attributes["pads"] = [*begin, *end]
    return b.node(
        "ConvTranspose",
        [x, weights, bias],
        kernel_shape=size,
        strides=strides,
        dilations=dilations,
        group=groups,
        **attributes,
    )


@step("MaxPool", "AveragePool", "LpPool")
def pool(b, operator, x=None, same=False):
    x = x or spatial(b)
    extents = x.shape[2:]
    dilate = (
        operator == "MaxPool"
        and b.opset >= 10
        or operator == "AveragePool"
        and b.opset >= 19
        or operator == "LpPool"
        and b.opset >= 18
    )
    size, strides, dilations, begin, end = window(b, extents, dilate)
    attributes = {}
    if same:
        size, strides, dilations = [3] * len(size), [1] * len(size), [1] * len(size)
        begin = end = [1] * len(size)
        attributes["pads"] = [*begin, *end]
    else:
        attributes = (
            padding(b, begin, end, size, extents, strides)
            if all(d == 1 for d in dilations)
            else {"pads": [*begin, *end]}
        )
        ceil = {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}[operator]
        if b.chance(0.3) and b.opset >= ceil and "pads" in attributes:
            attributes["ceil_mode"] = 1
    if operator == "AveragePool" and b.chance(0.4):
        attributes["count_include_pad"] = 1
    if operator == "LpPool":
        attributes["p"] = b.pick([1, 2, 2, 3])
    if dilations != [1] * len(size):
        attributes["dilations"] = dilations
    if b.chance(0.9):
        attributes["strides"] = strides
    return b.node(operator, [x], kernel_shape=size, **attributes)


@step("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(b, operator):
    attributes = {"p": b.pick([1, 2, 3])} if operator == "GlobalLpPool" else {}
    return b.node(operator, [spatial(b)], **attributes)


COORDINATES = [
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
    "half_pixel_symmetric",
]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
RATIOS = [1 / 3, 0.5, 0.6, 0.75, 1.0, 1.25, 4 / 3, 1.5, 5 / 3, 2.0, 2.5, 3.0, 0.3]


def ratio(b, extent):
    """A scale: what an exporter computes from a wanted length, a usual one, or any."""
    if b.chance(0.4):
        return b.integer(1, 3 * extent) / extent
    return b.pick(RATIOS) if b.chance(0.7) else float(b.rng.uniform(0.3, 3))


@step("Resize", since=11)
def resize(b, operator):
    x = b.ranked(b.pick([3, 4]))
    mode = b.pick(["nearest", "linear"])
    coordinates = b.pick(COORDINATES[:5] if b.opset < 19 else COORDINATES)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attributes["nearest_mode"] = b.pick(NEAREST)
    if coordinates == "tf_crop_and_resize" and b.chance(0.5):
        attributes["extrapolation_value"] = 0.5
    # Opset 11 wants a region even where none is read.
    region = None
    if coordinates == "tf_crop_and_resize":
        starts = [0.0, 0.0, *(round(float(b.rng.uniform(0, 0.4)), 2) for _ in x.shape[2:])]
        ends = [1.0, 1.0, *(round(float(b.rng.uniform(0.6, 1.2)), 2) for _ in x.shape[2:])]
        region = b.constant(np.array([*starts, *ends], np.float32))
    elif b.opset < 13:
        region = b.constant(np.array([], np.float32))
    if b.chance(0.6):
        scales = [1.0, 1.0, *(ratio(b, extent) for extent in x.shape[2:])]
        if any(np.floor(np.float32(s) * e) < 1 for s, e in zip(scales, x.shape, strict=True)):
            raise NotPossible("an axis would vanish")
        kept = [np.floor(np.float32(s) * e) == e for s, e in zip(scales, x.shape, strict=True)]
        crops = coordinates == "tf_crop_and_resize"
        if any(keeps and (crops or s != 1) for keeps, s in zip(kept[2:], scales[2:], strict=True)):
            # ONNX resamples an axis that keeps its extent under a scale or a region, onnxruntime copies it.
            raise NotPossible("ONNX and onnxruntime disagree")
        if coordinates == "align_corners" and any((s * e) % 1 for s, e in zip(scales, x.shape, strict=True)):
            # The new length is a fraction in ONNX's reference, and a whole number in onnxruntime and the frameworks.
            raise NotPossible("ONNX and onnxruntime disagree")
        return b.node(operator, [x, region, b.constant(np.array(scales, np.float32))], **attributes)
    if b.rows is not None:
        if b.opset < 18:
            raise NotPossible("sizes would fix the batch")
        sizes = [max(1, int(e * b.pick(RATIOS))) for e in x.shape[2:]]
        attributes["axes"] = list(range(2, x.rank))
        if region is not None:
            region = b.constant(np.array([*starts[2:], *ends[2:]], np.float32))
    else:
        sizes = [*x.shape[:2], *(max(1, int(e * b.pick(RATIOS))) for e in x.shape[2:])]
    keeps = any(s == e for s, e in zip(sizes[-len(x.shape[2:]) :], x.shape[2:], strict=True))
    if coordinates == "tf_crop_and_resize" and keeps:
        raise NotPossible("ONNX and onnxruntime disagree")
    empty = b.constant(np.array([], np.float32)) if b.opset < 13 else None
    return b.node(operator, [x, region, empty, b.constant(np.array(sizes, np.int64))], **attributes)


@step("Resize", since=10, until=10)
@step("Upsample", since=9, until=9)
def upsample(b, operator):
    x = b.ranked(b.pick([3, 4]))
    scales = [1.0, 1.0, *(b.pick([1.0, 2.0, 3.0, 1.5]) for _ in x.shape[2:])]
    return b.node(operator, [x, b.constant(np.array(scales, np.float32))], mode=b.pick(["nearest", "linear"]))


@step("Upsample", until=8)
def upsample_by_attribute(b, operator):
    x = b.ranked(4)
    return b.node(
        operator,
        [x],
        mode=b.pick(["nearest", "linear"]),
        scales=[1.0, 1.0, b.pick([1.0, 2.0]), b.pick([1.0, 2.0, 3.0])],
    )
