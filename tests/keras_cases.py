"""Small seeded models of every layer class of Keras, and the files that they are saved in.

A case is a model; its name begins with the class. `EXCLUDED` says of every other class why it
cannot stand in a model. Imported only where TensorFlow is installed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.exporters.tensorflow_runtime import tf
from slipway.protocols import ExportRequest
from slipway.samples.arrays import Array, save_npz
from slipway.specs import SourceSpec, TensorSpec
from tests.models import keras as keras_models

import keras  # isort: skip - tensorflow_runtime sets which backend it reads

layers = keras.layers
OPEN: Final = 5  # a size for every dimension but the batch that a model leaves open
ROWS: Final = 32


@dataclass(frozen=True)
class Case:
    """A model made anew from a seed, what fills its inputs, and how it is exported."""

    make: Callable[[], Any]
    data: Mapping[str, Array] = field(default_factory=dict)
    as_nchw: tuple[str, ...] = ()
    factory: str = ""
    inputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    trusted: bool = False
    moved: bool = True

    def build(self) -> Any:
        """The model; its weights, zeros and ones too, moved a little from where they begin."""
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = self.make()
        random = np.random.default_rng(0)
        for weight in model.weights:
            if self.moved and weight.dtype == "float32":
                # Never below zero where it was not: moving variances stay positive.
                noise = 0.1 * random.random(weight.shape, np.float32)
                weight.assign(np.asarray(weight.value) + noise)
        return model

    def filled(self, model: Any) -> dict[str, Array]:
        """Rows for each input, by name, as the model itself takes them."""
        random = np.random.default_rng(1)
        wanted: dict[str, tuple[Sequence[int | str | None], str]]
        if self.inputs:
            wanted = {name: (spec.shape[1:], spec.dtype) for name, spec in self.inputs.items()}
        else:
            wanted = {tensor.name: (tensor.shape[1:], tensor.dtype) for tensor in model.inputs}
        return {
            name: self.data[name]
            if name in self.data
            else _random(random, (ROWS, *(int(size or OPEN) for size in shape)), dtype)
            for name, (shape, dtype) in wanted.items()
        }

    def as_arguments(self, model: Any, rows: Mapping[str, Array]) -> Any:
        """Rows by name as the model's one argument: a tensor, a list or a dict of them."""
        tensors = {name: tf.constant(array) for name, array in rows.items()}
        tree = getattr(model, "input", None)
        if tree is None or isinstance(tree, keras.KerasTensor):
            return next(iter(tensors.values()))
        return keras.tree.map_structure(lambda leaf: tensors[leaf.name], tree)


def to_nchw(images: Array) -> Array:
    """NHWC to NCHW."""
    return np.moveaxis(images, -1, 1)


def _random(random: np.random.Generator, shape: Sequence[int], dtype: str) -> Array:
    if dtype.startswith(("int", "uint")):
        return random.integers(0, 8, shape).astype(dtype)
    if dtype == "bool":
        return random.random(shape) > 0.3
    return random.standard_normal(shape).astype(dtype)


def save(case: Case, folder: Path) -> ExportRequest:
    """As a `.keras` file, with golden inputs; a subclassed one with its factory."""
    model = case.build()
    path = keras_models.save(model, folder / "model.keras")
    golden = {
        name: to_nchw(array) if name in case.as_nchw else array
        for name, array in case.filled(model).items()
    }
    save_npz(folder / "golden.npz", golden)
    more: dict[str, Any] = {}
    if case.factory:
        more = {"factory_path": folder / "factory.py", "inputs": dict(case.inputs)}
        more["factory_path"].write_text(case.factory, encoding="utf-8")
    return ExportRequest(
        source=SourceSpec(
            framework="keras",
            uri=str(path),
            inputs_as_nchw=case.as_nchw,
            factory="factory.py:build" if case.factory else None,
            **({"trusted": True, "sha256": "0" * 64} if case.trusted else {}),
        ),
        path=path,
        golden_inputs=folder / "golden.npz",
        **more,
    )


def save_folder(case: Case, folder: Path) -> ExportRequest:
    """As a SavedModel's folder, as `model.export` writes it, with golden inputs."""
    model = case.build()
    path = folder / "saved"
    rows = case.filled(model)
    if case.factory:
        model(*(array[:2] for array in rows.values()), training=False)
    model.export(path, verbose=False)
    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    keys = list(function.structured_input_signature[1])
    if set(keys) != set(rows):
        rows = dict(zip(keys, rows.values(), strict=True))
    golden = {
        name: to_nchw(array) if name in case.as_nchw else array for name, array in rows.items()
    }
    save_npz(folder / "golden.npz", golden)
    return ExportRequest(
        source=SourceSpec(framework="tensorflow", uri=str(path), inputs_as_nchw=case.as_nchw),
        path=path,
        golden_inputs=folder / "golden.npz",
    )


def model_of(*stack: Any, shape: Sequence[int | None] = (6,), dtype: str = "float32") -> Any:
    """A functional model of layers one after another."""
    x = given = keras.Input(shape, dtype=dtype, name="x")
    for layer in stack:
        x = layer(x)
    return keras.Model(given, x)


def model_on(call: Callable[..., Any], **shapes: Sequence[int | None]) -> Any:
    """A functional model of several inputs."""
    given = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    return keras.Model(list(given.values()), call(*given.values()))


CASES: dict[str, Callable[[], Case]] = {}


def case(name: str, make: Callable[[], Any], **options: Any) -> None:
    """One line of the table."""
    assert name not in CASES, name
    CASES[name] = lambda: Case(make, **options)


FLAT: Final = (6,)
LINE: Final = (12, 4)
IMAGE: Final = (10, 8, 4)
PICTURE: Final = (16, 16, 3)
ANY_IMAGE: Final = (None, None, 4)
VOLUME: Final = (6, 6, 5, 4)
SERIES: Final = (None, 4)
FRAMES: Final = (3, 8, 6, 2)
SHAPES: Final = {1: LINE, 2: IMAGE, 3: VOLUME}
Options = Mapping[str, Any]


def layer_case(
    title: str,
    kind: Any,
    shape: Sequence[int | None],
    *arguments: Any,
    dtype: str = "float32",
    data: Mapping[str, Array] | None = None,
    **options: Any,
) -> None:
    """A model of one layer."""
    name = getattr(kind, "__name__", str(kind))
    shown = f"{name} {title}" if title else name
    case(
        shown,
        lambda: model_of(kind(*arguments, **options), shape=shape, dtype=dtype),
        data=data or {},
    )


def _some(dimensions: int, *options: Options) -> Sequence[Options]:
    """All options in two dimensions, the first two in others: they share their code."""
    return options if dimensions == 2 else options[:2]


def _titled(options: Options) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items())


_ACTIVATIONS: Final = (
    *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid"),
    *("hard_silu", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax"),
    *("mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax"),
    *("softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax"),
    *("squareplus", "tanh", "tanh_shrink"),
)


def _activations() -> None:
    for name in _ACTIVATIONS:
        case(
            f"Activation {name}",
            lambda name=name: model_of(layers.Dense(8), layers.Activation(name)),  # type: ignore[misc]
        )
    layer_case("", layers.ELU, FLAT, alpha=0.3)
    layer_case("", layers.LeakyReLU, FLAT)
    layer_case("", layers.PReLU, FLAT)
    layer_case("shared_axes", layers.PReLU, IMAGE, shared_axes=[1, 2])
    layer_case("", layers.ReLU, FLAT)
    layer_case(
        "of all options", layers.ReLU, FLAT, max_value=2.0, negative_slope=0.1, threshold=0.2
    )
    layer_case("", layers.Softmax, FLAT)
    layer_case("axis=1", layers.Softmax, IMAGE, axis=1)
    case("Softmax of two axes", lambda: model_of(layers.Softmax(axis=(1, 2)), shape=LINE))


def _convolutions() -> None:
    for dim, shape in SHAPES.items():
        conv, back = getattr(layers, f"Conv{dim}D"), getattr(layers, f"Conv{dim}DTranspose")
        for options in _some(
            dim,
            {"strides": 2, "padding": "same", "use_bias": False},
            {"groups": 2},
            {"dilation_rate": 2},
        ):
            layer_case(_titled(options), conv, shape, 6, 3, **options)
        for options in _some(
            dim,
            {"strides": 2, "padding": "same"},
            {"strides": 3, "output_padding": 1},
            {},
        ):
            layer_case(_titled(options), back, shape, 6, 3, **options)
    layer_case("causal", layers.Conv1D, LINE, 6, 3, padding="causal")
    layer_case("any size", layers.Conv2D, ANY_IMAGE, 6, 3, strides=2, padding="same")
    layer_case("any size", layers.Conv2DTranspose, ANY_IMAGE, 6, 3, strides=2, padding="same")
    for dim, shape in ((1, LINE), (2, IMAGE)):
        for kind, first in (("Depthwise", ()), ("Separable", (6,))):
            layer = getattr(layers, f"{kind}Conv{dim}D")
            for options in _some(
                dim,
                {"strides": 2, "padding": "same"},
                {"depth_multiplier": 2},
                {"dilation_rate": 2},
            ):
                layer_case(_titled(options), layer, shape, *first, 3, **options)


def _pools() -> None:
    for dim, shape in SHAPES.items():
        for kind in ("Max", "Average"):
            pool = getattr(layers, f"{kind}Pooling{dim}D")
            for options in ({"pool_size": 3}, {"pool_size": 2, "strides": 1, "padding": "same"}):
                layer_case(_titled(options), pool, shape, **options)
            layer_case("", getattr(layers, f"Global{kind}Pooling{dim}D"), shape)
            adaptive = getattr(layers, f"Adaptive{kind}Pooling{dim}D")
            for size in (2, 3):
                layer_case(f"to {size}", adaptive, shape, size)
        crop, pad = getattr(layers, f"Cropping{dim}D"), getattr(layers, f"ZeroPadding{dim}D")
        layer_case("", crop, shape, 1)
        layer_case("", pad, shape, 1)
        layer_case("", getattr(layers, f"UpSampling{dim}D"), shape, 2)
    layer_case("to 1", layers.AdaptiveMaxPooling2D, IMAGE, 1)
    layer_case("keepdims any size", layers.GlobalAveragePooling2D, ANY_IMAGE, keepdims=True)
    layer_case("uneven", layers.ZeroPadding2D, IMAGE, ((1, 0), (2, 3)))
    layer_case("uneven", layers.Cropping2D, IMAGE, ((1, 0), (2, 3)))
    for mode in ("bilinear", "bicubic", "lanczos3", "lanczos5"):
        layer_case(mode, layers.UpSampling2D, IMAGE, 2, interpolation=mode)
    layer_case("any size", layers.UpSampling2D, ANY_IMAGE, 2)
    layer_case("bilinear any size", layers.UpSampling2D, ANY_IMAGE, 2, interpolation="bilinear")


def _norms() -> None:
    layer_case("", layers.BatchNormalization, FLAT)
    layer_case("of images", layers.BatchNormalization, IMAGE)
    layer_case("axis=1", layers.BatchNormalization, IMAGE, axis=1)
    layer_case("scale=False", layers.BatchNormalization, IMAGE, scale=False, center=False)
    layer_case("", layers.LayerNormalization, FLAT)
    layer_case("of two axes", layers.LayerNormalization, LINE, axis=[1, 2])
    layer_case("", layers.RMSNormalization, FLAT)
    layer_case("", layers.GroupNormalization, IMAGE, groups=2)
    layer_case("of each channel", layers.GroupNormalization, IMAGE, groups=-1)
    layer_case("", layers.UnitNormalization, FLAT)
    layer_case("adapted", layers.Normalization, FLAT, mean=0.5, variance=2.0)
    layer_case("inverted", layers.Normalization, FLAT, mean=0.5, variance=2.0, invert=True)

    def adapted() -> Any:
        layer = layers.Normalization()
        layer.adapt(np.random.default_rng(0).random((32, 6), np.float32))
        return model_of(layer, layers.Dense(2))

    # Moving its weights would not reach the constants that it has made of them.
    case("Normalization of data", adapted, moved=False)
    case("SpectralNormalization", lambda: model_of(layers.SpectralNormalization(layers.Dense(3))))
    case(
        "SpectralNormalization of images",
        lambda: model_of(layers.SpectralNormalization(layers.Conv2D(3, 3)), shape=IMAGE),
    )


def _joins() -> None:
    for name in "Add Average Maximum Minimum Multiply Concatenate".split():  # noqa: SIM905
        case(
            name,
            lambda name=name: model_on(  # type: ignore[misc]
                lambda *three: getattr(layers, name)()(list(three)), x=FLAT, y=FLAT, z=FLAT
            ),
        )
    case("Subtract", lambda: model_on(lambda x, y: layers.Subtract()([x, y]), x=FLAT, y=FLAT))
    case("Add broadcast", lambda: model_on(lambda x, y: layers.Add()([x, y]), x=(3, 4), y=(1, 4)))
    for title, options in (
        ("", {"axes": 1}),
        ("normalized", {"axes": 1, "normalize": True}),
        ("of matrices", {"axes": (2, 1)}),
    ):
        shapes = {"x": (3, 4), "y": (4, 5)} if title == "of matrices" else {"x": FLAT, "y": FLAT}
        case(
            f"Dot {title}".strip(),
            lambda options=options, shapes=shapes: model_on(  # type: ignore[misc]
                lambda x, y: layers.Dot(**options)([x, y]), **shapes
            ),
        )


def _core() -> None:
    layer_case("", layers.Dense, FLAT, 3)
    layer_case("of steps", layers.Dense, SERIES, 3)
    layer_case("", layers.EinsumDense, LINE, "abc,cd->abd", output_shape=(None, 5), bias_axes="d")
    layer_case("", layers.Embedding, (None,), 10, 4, dtype="int64")
    layer_case("int32", layers.Embedding, (5,), 10, 4, dtype="int32")
    layer_case("", layers.ReversibleEmbedding, (5,), 10, 4, dtype="int32")

    def tied() -> Any:
        x = keras.Input((5,), dtype="int32", name="x")
        table = layers.ReversibleEmbedding(10, 4)
        return keras.Model(x, table(layers.Dense(4)(table(x)), reverse=True))

    case("ReversibleEmbedding reversed", tied)
    layer_case("", layers.Flatten, IMAGE)
    layer_case("", layers.Reshape, LINE, (6, 8))
    layer_case("-1", layers.Reshape, LINE, (-1, 2))
    layer_case("", layers.Permute, IMAGE, (3, 1, 2))
    layer_case("", layers.RepeatVector, FLAT, 3)
    layer_case("", layers.Identity, FLAT)
    layer_case("", layers.ActivityRegularization, FLAT, l2=0.1)
    layer_case("", layers.Masking, SERIES)
    for name in ("Dropout", "AlphaDropout", "GaussianDropout"):
        layer_case("", getattr(layers, name), FLAT, 0.3)
    layer_case("", layers.GaussianNoise, FLAT, 0.3)
    for dim, shape in SHAPES.items():
        layer_case("", getattr(layers, f"SpatialDropout{dim}D"), shape, 0.3)
    case(
        "InputLayer", lambda: keras.Sequential([layers.InputLayer(FLAT, name="x"), layers.Dense(2)])
    )
    case(
        "Lambda refused",
        lambda: model_of(layers.Lambda(lambda x: x * 2, output_shape=FLAT)),
    )
    case(
        "Lambda trusted",
        lambda: model_of(layers.Lambda(lambda x: x * 2, output_shape=FLAT)),
        trusted=True,
    )


_RECURRENT: Final[tuple[tuple[str, Sequence[int | None], dict[str, Any]], ...]] = (
    ("", SERIES, {}),
    ("return_sequences", SERIES, {"return_sequences": True}),
    ("go_backwards", (5, 4), {"go_backwards": True, "return_sequences": True}),
    ("unrolled", (5, 4), {"unroll": True}),
)


def _recurrent() -> None:
    for name in ("SimpleRNN", "GRU", "LSTM"):
        kind = getattr(layers, name)
        for title, shape, options in _RECURRENT:
            layer_case(title, kind, shape, 3, **options)
        case(
            f"{name} return_state",
            lambda kind=kind: model_on(kind(3, return_state=True), x=(5, 4)),  # type: ignore[misc]
        )
        case(
            f"{name} masked",
            lambda kind=kind: model_of(layers.Masking(), kind(3), shape=(5, 4)),  # type: ignore[misc]
            data={"x": _with_gaps()},
        )
        case(
            f"{name} of embedded tokens",
            lambda kind=kind: model_of(  # type: ignore[misc]
                layers.Embedding(10, 4, mask_zero=True), kind(3), shape=(None,), dtype="int64"
            ),
            data={"x": np.random.default_rng(0).integers(1, 10, (ROWS, 5))},
        )
        cell = getattr(layers, f"{name}Cell")
        case(
            f"{name}Cell in RNN",
            lambda cell=cell: model_of(layers.RNN(cell(3)), shape=(5, 4)),  # type: ignore[misc]
        )
    layer_case("reset_after=False", layers.GRU, (5, 4), 3, reset_after=False)
    layer_case("relu", layers.SimpleRNN, (5, 4), 3, activation="relu")
    layer_case("hard_sigmoid", layers.LSTM, (5, 4), 3, recurrent_activation="hard_sigmoid")

    def with_state() -> Any:
        x, state = keras.Input((5, 4), name="x"), keras.Input((3,), name="state")
        return keras.Model([x, state], layers.GRU(3)(x, initial_state=state))

    case("GRU with a state", with_state)
    for title, merge in (("", {}), ("sum", {"merge_mode": "sum"})):
        for name in ("LSTM", "GRU"):
            case(
                f"Bidirectional {name} {title}".strip(),
                lambda name=name, merge=merge: model_of(  # type: ignore[misc]
                    layers.Bidirectional(getattr(layers, name)(3, return_sequences=True), **merge),
                    shape=SERIES,
                ),
            )
    case(
        "StackedRNNCells",
        lambda: model_of(
            layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(2)])),
            shape=(5, 4),
        ),
    )
    case(
        "RNN return_sequences",
        lambda: model_of(layers.RNN(layers.SimpleRNNCell(3), return_sequences=True), shape=SERIES),
    )
    case(
        "TimeDistributed",
        lambda: model_of(layers.TimeDistributed(layers.Conv2D(3, 3)), shape=FRAMES),
    )
    case(
        "TimeDistributed Dense",
        lambda: model_of(layers.TimeDistributed(layers.Dense(3)), shape=SERIES),
    )
    for dim, frames in ((1, (3, 8, 2)), (2, FRAMES), (3, (3, 5, 4, 4, 2))):
        kind = getattr(layers, f"ConvLSTM{dim}D")
        layer_case("", kind, frames, 3, 3)
        layer_case("same", kind, frames, 3, 3, padding="same", return_sequences=True)


def _with_gaps() -> Array:
    rows = np.random.default_rng(0).standard_normal((ROWS, 5, 4)).astype(np.float32)
    rows[::3, 3:] = 0
    rows[1::3, 1] = 0
    return rows


def _attention() -> None:
    three = {"x": (3, 4), "y": (6, 4), "z": (6, 4)}
    for kind, options in (
        (layers.Attention, {}),
        (layers.Attention, {"use_scale": True, "score_mode": "concat"}),
        (layers.AdditiveAttention, {}),
    ):
        case(
            f"{kind.__name__} {_titled(options)}".strip(),
            lambda kind=kind, options=options: model_on(  # type: ignore[misc]
                lambda x, y, z: kind(**options)([x, y, z]), **three
            ),
        )
    case(
        "Attention causal",
        lambda: model_on(lambda x: layers.Attention()([x, x], use_causal_mask=True), x=(5, 4)),
    )
    for kind, first in (
        (layers.MultiHeadAttention, (2, 4)),
        (layers.GroupQueryAttention, (4, 4, 2)),
    ):
        for title, shape, how in (
            ("", (5, 8), {}),
            ("of any length", (None, 8), {}),
            ("causal", (5, 8), {"use_causal_mask": True}),
            ("with scores", (5, 8), {"return_attention_scores": True}),
        ):
            case(
                f"{kind.__name__} {title}".strip(),
                lambda kind=kind, first=first, shape=shape, how=how: model_on(  # type: ignore[misc]
                    lambda x: kind(*first)(x, x, **how), x=shape
                ),
            )

    def masked() -> Any:
        x = keras.Input((5, 8), name="x")
        mask = keras.Input((5, 5), dtype="bool", name="mask")
        attended = layers.MultiHeadAttention(2, 4)(x, x, attention_mask=mask)
        return keras.Model([x, mask], attended)

    case("MultiHeadAttention masked", masked)

    def block() -> Any:
        tokens = keras.Input((None,), dtype="int64", name="x")
        x = layers.Embedding(10, 8)(tokens)
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(8)(layers.Dense(16, "gelu")(x)))
        return keras.Model(tokens, layers.GlobalAveragePooling1D()(x))

    case("MultiHeadAttention in a block", block)


def _pictures() -> Array:
    return np.random.default_rng(0).random((ROWS, *PICTURE), np.float32) * 255


def _preprocessing() -> None:
    layer_case("", layers.Rescaling, IMAGE, 1 / 255, offset=-0.5)
    layer_case("", layers.CenterCrop, IMAGE, 6, 5)
    layer_case("larger", layers.CenterCrop, IMAGE, 14, 12)
    for mode in ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5"):
        layer_case(mode, layers.Resizing, IMAGE, 7, 12, interpolation=mode)
    layer_case("any size", layers.Resizing, ANY_IMAGE, 7, 12)
    layer_case("crop_to_aspect_ratio", layers.Resizing, IMAGE, 6, 6, crop_to_aspect_ratio=True)
    layer_case("pad_to_aspect_ratio", layers.Resizing, IMAGE, 6, 6, pad_to_aspect_ratio=True)
    layer_case("", layers.Discretization, FLAT, [-1.0, 0.0, 2.0])
    layer_case("one_hot", layers.Discretization, (1,), [-1.0, 0.0, 2.0], output_mode="one_hot")
    for mode in ("one_hot", "multi_hot"):
        layer_case(mode, layers.CategoryEncoding, (1,), 9, output_mode=mode, dtype="int64")
    layer_case(
        "multi_hot of several",
        layers.CategoryEncoding,
        (3,),
        9,
        output_mode="multi_hot",
        dtype="int64",
    )
    count = {"x": np.random.default_rng(0).integers(0, 8, (ROWS, 3)).astype(np.int32)}
    layer_case(
        "count", layers.CategoryEncoding, (3,), 9, output_mode="count", dtype="int32", data=count
    )
    layer_case("", layers.Hashing, (3,), 5, dtype="int64")
    layer_case("of text", layers.Hashing, (3,), 5, dtype="string", data={"x": _words(3)})
    layer_case("salted", layers.Hashing, (3,), 5, salt=7, dtype="int64")

    def crossed() -> Any:
        x, y = (keras.Input((1,), dtype="int64", name=name) for name in ("x", "y"))
        return keras.Model([x, y], layers.HashedCrossing(5)((x, y)))

    case("HashedCrossing", crossed)
    layer_case("", layers.IntegerLookup, (3,), vocabulary=[1, 3, 5], dtype="int64")
    layer_case(
        "multi_hot",
        layers.IntegerLookup,
        (3,),
        vocabulary=[1, 3, 5],
        output_mode="multi_hot",
        dtype="int64",
    )
    layer_case(
        "inverted",
        layers.IntegerLookup,
        (3,),
        vocabulary=[1, 3, 5, 7, 9, 11, 13],
        invert=True,
        dtype="int64",
    )
    words: dict[str, Any] = {"dtype": "string", "data": {"x": _words(3)}}
    layer_case("", layers.StringLookup, (3,), vocabulary=["red", "blue"], **words)
    layer_case(
        "one_hot",
        layers.StringLookup,
        (1,),
        vocabulary=["red", "blue"],
        output_mode="one_hot",
        dtype="string",
        data={"x": _words(1)},
    )
    layer_case(
        "inverted",
        layers.StringLookup,
        (3,),
        vocabulary=["a", "b", "c", "d", "e", "f", "g", "h"],
        invert=True,
        dtype="int64",
    )
    text = {"x": np.array(["Red, blue!", "green red"] * 16).reshape(ROWS, 1)}
    for mode in ("int", "multi_hot", "tf_idf"):
        more: dict[str, Any] = {"idf_weights": [0.5, 0.7]} if mode == "tf_idf" else {}
        layer_case(
            mode,
            layers.TextVectorization,
            (1,),
            output_mode=mode,
            vocabulary=["red", "blue"],
            dtype="string",
            data=text,
            **more,
        )
    layer_case("", layers.STFTSpectrogram, (64, 1), frame_length=16, frame_step=8, fft_length=16)
    layer_case("stft", layers.STFTSpectrogram, (64, 1), mode="imag", frame_length=16, fft_length=16)
    layer_case(
        "",
        layers.MelSpectrogram,
        (128,),
        fft_length=32,
        sequence_stride=16,
        num_mel_bins=8,
        sampling_rate=800,
        max_freq=400,
    )


def _words(columns: int) -> Array:
    chosen = np.random.default_rng(0).integers(0, 4, (ROWS, columns))
    return np.array(["red", "blue", "green", "x y"])[chosen]


def _augmentation() -> None:
    pictures = {"x": _pictures()}
    for name, arguments in (
        ("AugMix", ()),
        ("AutoContrast", ()),
        ("ContrastLimitedAdaptiveHistogramEqualization", ()),
        ("CutMix", ()),
        ("MixUp", ()),
        ("RandAugment", ()),
        ("RandomBrightness", (0.3,)),
        ("RandomColorDegeneration", (0.3,)),
        ("RandomColorJitter", ()),
        ("RandomContrast", (0.3,)),
        ("RandomCrop", (8, 8)),
        ("RandomElasticTransform", ()),
        ("RandomErasing", ()),
        ("RandomFlip", ()),
        ("RandomGaussianBlur", ()),
        ("RandomGrayscale", ()),
        ("RandomHue", (0.3,)),
        ("RandomInvert", ()),
        ("RandomPerspective", ()),
        ("RandomPosterization", (4,)),
        ("RandomRotation", (0.3,)),
        ("RandomSaturation", (0.3,)),
        ("RandomSharpness", (0.3,)),
        ("RandomShear", (0.3, 0.3)),
        ("RandomTranslation", (0.3, 0.3)),
        ("RandomZoom", (0.3,)),
        ("Solarization", ()),
    ):
        layer_case("", getattr(layers, name), PICTURE, *arguments, data=pictures)
    case(
        "Pipeline",
        lambda: model_of(
            layers.Pipeline([layers.RandomFlip(), layers.Rescaling(1 / 255)]), shape=PICTURE
        ),
        data=pictures,
    )
    case(
        "RandomFlip before a network",
        lambda: model_of(
            layers.RandomFlip(), layers.RandomRotation(0.1), layers.Conv2D(3, 3), shape=PICTURE
        ),
    )


SUBCLASSED: Final = """
import keras


@keras.saving.register_keras_serializable("cases")
class Small(keras.Model):
    def __init__(self, **more):
        super().__init__(**more)
        self.conv = keras.layers.Conv2D(4, 3, activation="relu")
        self.pool = keras.layers.GlobalMaxPooling2D()
        self.head = keras.layers.Dense(2)

    def call(self, x):
        hidden = self.pool(self.conv(x))
        return {"scores": self.head(hidden), "hidden": hidden}


def build():
    return Small()
"""


def _models() -> None:
    def sequential(*stack: Any, shape: Sequence[int | None]) -> Any:
        return keras.Sequential([keras.Input(shape, name="x"), *stack])

    case("Sequential", lambda: sequential(layers.Dense(5, "relu"), layers.Dense(2), shape=FLAT))

    def images() -> Any:
        return sequential(
            layers.Conv2D(4, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3, "softmax"),
            shape=PICTURE,
        )

    case("Sequential of images", images)
    case("Sequential of images as NCHW", images, as_nchw=("x",))
    case(
        "Sequential of series",
        lambda: sequential(layers.LSTM(4, return_sequences=True), layers.GRU(3), shape=SERIES),
    )
    case("Sequential nested", lambda: sequential(images(), layers.Dense(2), shape=PICTURE))

    def residual() -> Any:
        x = given = keras.Input(PICTURE, name="x")
        for _ in range(2):
            y = layers.Conv2D(3, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
            x = layers.Add()([x, y])
        pooled = layers.GlobalAveragePooling2D()(x)
        return keras.Model(given, {"scores": layers.Dense(3)(pooled), "features": pooled})

    case("Functional residual", residual)
    case("Functional residual as NCHW", residual, as_nchw=("x",))

    def two() -> Any:
        image, table = keras.Input(IMAGE, name="image"), keras.Input(FLAT, name="table")
        pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(image))
        joined = layers.Concatenate()([pooled, layers.Dense(3)(table)])
        return keras.Model({"image": image, "table": table}, layers.Dense(2)(joined))

    case("Functional of two inputs", two)
    case("Functional of two inputs, the image as NCHW", two, as_nchw=("image",))

    def shared() -> Any:
        x, y = keras.Input(FLAT, name="x"), keras.Input(FLAT, name="y")
        tower = keras.Sequential([layers.Dense(4, "tanh"), layers.Dense(3)])
        return keras.Model([x, y], layers.Dot(1)([tower(x), tower(y)]))

    case("Functional of shared towers", shared)

    def operations() -> Any:
        x = keras.Input((5, 4), name="x")
        ops = keras.ops
        y = ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))) / 2.0)
        z = ops.einsum("bij,bjk->bik", y, x)
        return keras.Model(x, [ops.max(z, axis=1), ops.argmax(z, axis=-1), ops.sort(x, axis=-1)])

    case("Functional of operations", operations)

    def subclassed() -> Any:
        namespace: dict[str, Any] = {"__name__": "factory"}
        exec(SUBCLASSED, namespace)  # noqa: S102 - the text above
        model = namespace["build"]()
        model(np.zeros((1, *IMAGE), np.float32))
        return model

    case(
        "Subclassed",
        subclassed,
        factory=SUBCLASSED,
        inputs={"x": TensorSpec(shape=("batch", *IMAGE))},
    )


for _table in (
    _activations,
    _convolutions,
    _pools,
    _norms,
    _joins,
    _core,
    _recurrent,
    _attention,
    _preprocessing,
    _augmentation,
    _models,
):
    _table()

_BASE: Final = "a base class that computes nothing itself"
EXCLUDED: Final[dict[str, str]] = {
    "Layer": _BASE,
    "Wrapper": _BASE,
    "InputSpec": "describes an input and is no layer",
    "FlaxLayer": "holds a model of JAX, which TensorFlow cannot trace",
    "JaxLayer": "holds a model of JAX, which TensorFlow cannot trace",
    "TorchModuleWrapper": "holds a model of PyTorch, which TensorFlow cannot trace",
    "TFSMLayer": "reads a SavedModel's folder from outside the file; release that folder itself",
    "Equalization": "Keras 3.15 makes a cycle of it in any functional or Sequential model",
    "MaxNumBoundingBoxes": "works on training labels, not on what a model is served with",
}
