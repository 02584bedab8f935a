"""The architectures in Keras, converted by tf2onnx; `make.py` writes the files.

Images are NHWC, as TensorFlow has them, so the files are full of transposes. tf2onnx is called both
as a user of TensorFlow calls it, on a `tf.function`, and through `model.export(format="onnx")` of
Keras. Names end in `-b1` where the batch is fixed to 1; everywhere else it is symbolic.
"""

import os
import tempfile
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

# tf2onnx 1.17 asks NumPy for names that it no longer has.
warnings.simplefilter("ignore", FutureWarning)

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers


def conv(x, channels, kernel=3, strides=1, activation="relu"):
    """Convolution, batch normalisation, activation."""
    x = layers.Conv2D(channels, kernel, strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def dense(x):
    x = layers.Dense(40, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(24, activation="selu")(x)
    return layers.Dense(6, activation="softmax")(x)


def cnn(x):
    x = layers.MaxPooling2D(2)(conv(x, 8))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(conv(x, 12))
    return layers.Dense(10, activation="softmax")(layers.Flatten()(x))


def depthwise(x):
    x = conv(x, 8, strides=2, activation="relu6")
    for channels, strides in [(12, 1), (16, 2), (24, 1)]:
        x = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = conv(x, channels, kernel=1, activation="relu6")
    x = layers.SeparableConv2D(16, 3, padding="valid", activation="swish")(x)
    return layers.Dense(4)(layers.GlobalAveragePooling2D()(x))


def residual(x):
    x = conv(x, 8)
    for channels, strides in [(8, 1), (16, 2), (16, 1)]:
        skip = x
        if strides != 1 or x.shape[-1] != channels:
            skip = conv(x, channels, kernel=1, strides=strides, activation=None)
        x = conv(conv(x, channels, strides=strides), channels, activation=None)
        x = layers.ReLU()(layers.Add()([x, skip]))
    x = layers.AveragePooling2D(2)(x)
    return layers.Dense(10)(layers.GlobalAveragePooling2D()(x))


def unet(x):
    first = conv(x, 6)
    second = conv(layers.MaxPooling2D()(first), 12)
    x = conv(layers.MaxPooling2D()(second), 16)
    x = layers.Conv2DTranspose(12, 3, strides=2, padding="same")(x)
    x = conv(layers.Concatenate()([x, second]), 12, activation="elu")
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = conv(layers.Concatenate()([layers.UpSampling2D(1)(x), first]), 6)
    return layers.Conv2D(1, 1, activation="sigmoid")(x)


def nearest(x):
    x = layers.UpSampling2D((2, 3), interpolation="nearest")(conv(x, 8, strides=2))
    return conv(layers.Cropping2D(((1, 2), (0, 1)))(x), 4)


def lstm(x):
    x = layers.LSTM(12, return_sequences=True)(x)
    return layers.Dense(4)(layers.LSTM(8)(x))


def bilstm(x):
    return layers.Dense(4)(layers.Bidirectional(layers.LSTM(8))(x))


def gru(x):
    return layers.Dense(4)(layers.GRU(12)(x))


def gru_unrolled(x):
    return layers.Dense(4)(layers.GRU(12, unroll=True)(x))


def conv1d(x):
    x = layers.Conv1D(12, 5, padding="causal", dilation_rate=2)(x)
    x = layers.MaxPooling1D(2)(layers.LeakyReLU(0.2)(layers.BatchNormalization()(x)))
    x = layers.Conv1D(16, 3, strides=2, padding="same", activation="tanh")(x)
    return layers.Dense(3)(layers.GlobalMaxPooling1D()(x))


def attention(x):
    x = layers.Dense(24)(x)
    mixed = layers.MultiHeadAttention(3, 8)(x, x)
    x = layers.LayerNormalization(epsilon=1e-5)(layers.Add()([x, mixed]))
    return layers.Dense(4)(layers.GlobalAveragePooling1D()(x))


# Name, what it is, how to make it, the shape of one sample.
ARCHITECTURES = [
    ("dense", "3 dense layers, BN, SELU, softmax", dense, (20,)),
    ("cnn", "2 x (conv, BN, ReLU, max pooling), dense", cnn, (28, 28, 1)),
    ("depthwise", "MobileNet blocks, ReLU6, separable convolution", depthwise, (24, 24, 3)),
    ("residual", "ResNet with 3 blocks, average pooling", residual, (16, 16, 3)),
    ("unet", "U-Net: transposed convolution, bilinear upsampling", unet, (16, 16, 2)),
    ("nearest", "nearest-neighbour upsampling, cropping", nearest, (10, 8, 3)),
    ("lstm", "2 LSTM layers", lstm, (15, 6)),
    ("bilstm", "LSTM, bidirectional", bilstm, (15, 6)),
    ("gru", "GRU, which becomes a Loop", gru, (15, 6)),
    ("gru-unrolled", "GRU, unrolled", gru_unrolled, (8, 6)),
    ("conv1d", "1-D convolutions: causal, dilated", conv1d, (48, 5)),
    ("attention", "multi-head attention, layer normalisation", attention, (16, 10)),
]
FIXED = ["cnn", "depthwise", "unet", "lstm", "gru"]
EXPORTED_BY_KERAS = ["dense", "cnn", "residual", "lstm", "conv1d"]


def randomise(model, seed):
    """Weights at a usual scale, and statistics that a normalisation must not ignore."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name in ("moving_mean", "beta") or "bias" in weight.name:
            values = 0.3 * rng.standard_normal(shape)
        elif weight.name == "moving_variance":
            values = rng.uniform(0.3, 3.0, shape)
        elif weight.name == "gamma":
            values = rng.uniform(0.5, 1.5, shape)
        elif weight.name == "seed_generator_state":
            continue
        elif "depthwise" in weight.path:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-2]))
        else:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        weight.assign(np.asarray(values, np.float32))


def by_tf2onnx(model, shape):
    signature = [tf.TensorSpec(shape, tf.float32, name="x")]
    function = tf.function(lambda x: model(x, training=False), input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
    return proto.SerializeToString()


def by_keras(model, shape):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        signature = [keras.InputSpec(shape=shape, dtype="float32", name="x")]
        model.export(str(file), format="onnx", verbose=False, input_signature=signature)
        return file.read_bytes()


def models():
    """Name, architecture and bytes of each file."""
    for seed, (name, architecture, build, shape) in enumerate(ARCHITECTURES):
        keras.utils.clear_session()
        inputs = keras.Input(shape, name="x")
        model = keras.Model(inputs, build(inputs))
        randomise(model, 100 + seed)
        for batch in [None, 1] if name in FIXED else [None]:
            suffix = "" if batch is None else "-b1"
            yield f"keras-tf2onnx-{name}{suffix}", architecture, by_tf2onnx(model, (batch, *shape))
        if name in EXPORTED_BY_KERAS:
            yield f"keras-export-{name}", architecture, by_keras(model, (None, *shape))
