"""Small seeded models of every module class of torch.nn, and the files that they are saved in.

A case is a module and what it takes; its name begins with the class. `EXCLUDED` says of every other
class why it cannot be a model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from slipway.artifacts import digest_file
from slipway.protocols import ExportRequest
from slipway.samples.arrays import save_npz
from slipway.specs import SourceSpec, TensorSpec

Inputs = Mapping[str, TensorSpec]

# Sizes of the example that a program is traced with, by the dimension's name.
EXAMPLE: Final = {"batch": 2, "sequence": 6, "other": 5, "height": 10, "width": 9}


@dataclass(frozen=True)
class Case:
    """A module, made anew from a seed, and the inputs that it takes."""

    make: Callable[[], nn.Module]
    inputs: Inputs

    def build(self) -> nn.Module:
        """The module in evaluation mode, after one batch in training mode where it takes one."""
        torch.manual_seed(0)
        module = self.make()
        if not isinstance(module, nn.SyncBatchNorm):
            with torch.no_grad():
                module.train()(*self.arguments())
        return module.eval()

    def arguments(self, given: Mapping[str, int] = EXAMPLE) -> tuple[torch.Tensor, ...]:
        """Values for each input, its named dimensions of the sizes given."""
        generator = torch.Generator().manual_seed(1)
        made = []
        for spec in self.inputs.values():
            sizes = [given[size] if isinstance(size, str) else size for size in spec.shape]
            if spec.dtype == "bool":
                padding = torch.rand(sizes, generator=generator) > 0.6
                padding[:, 0] = False  # nobody asks about a text that is padding alone
                made.append(padding)
            elif spec.dtype == "int64":
                made.append(torch.randint(0, 8, sizes, generator=generator))
            else:
                made.append(torch.randn(sizes, generator=generator, dtype=_DTYPES[spec.dtype]))
        return tuple(made)

    def dynamic_shapes(self) -> tuple[dict[int, str], ...]:
        """The named dimensions of each input."""
        return tuple(
            {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)}
            for spec in self.inputs.values()
        )


_DTYPES: Final = {"float32": torch.float32, "float64": torch.float64}


def save(case: Case, folder: Path) -> ExportRequest:
    """As a .pt2 program; where torch.export fails, as a whole module that is trusted by digest."""
    module = case.build()
    path = folder / "model.pt2"
    dynamic = tuple(
        {axis: torch.export.Dim(name) for axis, name in shapes.items()}
        for shapes in case.dynamic_shapes()
    )
    trust: dict[str, Any] = {}
    try:
        program = torch.export.export(module, case.arguments(), dynamic_shapes=dynamic)
        torch.export.save(program, path)
    except Exception:  # noqa: BLE001 - torch.export raises whatever it likes
        path = folder / "model.pt"
        torch.save(module, path)
        trust = {"trusted": True, "sha256": digest_file(path).removeprefix("sha256:")}
    golden = None
    if any(spec.dtype == "bool" for spec in case.inputs.values()):
        golden = folder / "golden.npz"
        rows = case.arguments({**EXAMPLE, "batch": 32})
        save_npz(golden, {name: row.numpy() for name, row in zip(case.inputs, rows, strict=True)})
    return ExportRequest(
        source=SourceSpec(framework="pytorch", uri=str(path), **trust),
        path=path,
        inputs=dict(case.inputs),
        golden_inputs=golden,
    )


class Unpooled(nn.Module):
    """Pools and puts the largest values back to where they were."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{dimensions}d")(2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{dimensions}d")(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled, indices = self.pool(x)
        return self.unpool(pooled, indices)  # type: ignore[no-any-return]


class Bags(nn.Module):
    """Bags of equal length, as a matrix of ids."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(10, 4, mode=mode)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.bag(ids)  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Attention of a sequence to itself, with or without weights and a mask."""

    def __init__(self, *, weights: bool, causal: bool = False, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.weights, self.causal = weights, causal

    def forward(self, x: torch.Tensor) -> Any:
        size = x.shape[1]
        mask = torch.full((size, size), float("-inf")).triu(1) if self.causal else None
        found, weights = self.attention(x, x, x, need_weights=self.weights, attn_mask=mask)
        return (found, weights) if self.weights else found


class Padded(nn.Module):
    """Attention or an encoder that is told which places are padding."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(x, x, x, key_padding_mask=padding)[0]  # type: ignore[no-any-return]
        return self.layer(x, src_key_padding_mask=padding)  # type: ignore[no-any-return]


class Last(nn.Module):
    """A recurrent layer's answer at the last step, through a head."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0][:, -1])  # type: ignore[no-any-return]


class Named(nn.Module):
    """Modules by name and in a list, as ModuleDict and ModuleList hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"first": nn.Linear(4, 5), "second": nn.Linear(5, 3)})
        self.rest = nn.ModuleList([nn.Linear(3, 3) for _ in range(2)])
        self.scales = nn.ParameterList([torch.rand(3)])
        self.shifts = nn.ParameterDict({"last": torch.rand(3)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.parts["second"](self.parts["first"](x).relu())
        for layer in self.rest:
            x = layer(x)
        return x * self.scales[0] + self.shifts["last"]  # type: ignore[no-any-return]


def floats(*shape: int | str) -> Inputs:
    """One input of numbers, called x."""
    return {"x": TensorSpec(shape=shape)}


def ids(*shape: int | str) -> Inputs:
    """One input of small whole numbers, called x."""
    return {"x": TensorSpec(dtype="int64", shape=shape)}


def several(**shapes: tuple[int | str, ...]) -> Inputs:
    """Inputs of numbers by name."""
    return {name: TensorSpec(shape=shape) for name, shape in shapes.items()}


FLAT: Final = floats("batch", 6)
LINE: Final = floats("batch", 4, 12)
IMAGE: Final = floats("batch", 4, 10, 9)
ANY_IMAGE: Final = floats("batch", 4, "height", "width")
VOLUME: Final = floats("batch", 4, 6, 6, 5)
SERIES: Final = floats("batch", "sequence", 8)
STEPS: Final = floats(5, "batch", 8)
SHAPES: Final = {1: LINE, 2: IMAGE, 3: VOLUME}
EVEN: Final = {1: LINE, 2: floats("batch", 4, 6, 8), 3: floats("batch", 4, 6, 4, 2)}
PADDED: Final = {
    "x": TensorSpec(shape=("batch", 6, 8)),
    "padding": TensorSpec(dtype="bool", shape=("batch", 6)),
}
CASES: dict[str, Case] = {}


def case(name: str, inputs: Inputs, make: Callable[[], nn.Module]) -> None:
    """One line of the table."""
    assert name not in CASES
    CASES[name] = Case(make, inputs)


_ACTIVATIONS: Final = (
    *("CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh"),
    *("LeakyReLU", "LogSigmoid", "Mish", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU"),
    *("Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "PReLU"),
    *("Identity", "Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout"),
)


def _activations() -> None:
    for name in _ACTIVATIONS:
        case(name, LINE, getattr(nn, name))
    case("Dropout2d", IMAGE, nn.Dropout2d)
    case("Dropout3d", VOLUME, nn.Dropout3d)
    case("GELU tanh", FLAT, lambda: nn.GELU(approximate="tanh"))
    case("GLU", FLAT, lambda: nn.GLU(dim=1))
    case("PReLU of channels", IMAGE, lambda: nn.PReLU(4))
    case("Softplus beta", FLAT, lambda: nn.Softplus(beta=2.0, threshold=1.0))
    case("ELU alpha", FLAT, lambda: nn.ELU(alpha=0.3))
    case("CELU alpha", FLAT, lambda: nn.CELU(alpha=0.3))
    case("Hardtanh bounds", FLAT, lambda: nn.Hardtanh(-0.5, 0.2))
    case("Threshold", FLAT, lambda: nn.Threshold(0.1, 20.0))
    case("Softmax", FLAT, lambda: nn.Softmax(dim=1))
    case("Softmax over channels", IMAGE, lambda: nn.Softmax(dim=1))
    case("Softmin", FLAT, lambda: nn.Softmin(dim=1))
    case("LogSoftmax", FLAT, lambda: nn.LogSoftmax(dim=1))
    case("Softmax2d", IMAGE, nn.Softmax2d)


def _convolutions() -> None:
    for dim, shape in SHAPES.items():
        conv, back = getattr(nn, f"Conv{dim}d"), getattr(nn, f"ConvTranspose{dim}d")
        lazy, lazy_back = getattr(nn, f"LazyConv{dim}d"), getattr(nn, f"LazyConvTranspose{dim}d")
        for options in _some(
            dim,
            {},
            {"groups": 2, "padding": "same"},
            {"stride": 2, "padding": 1, "bias": False},
            {"dilation": 2},
            {"padding": 1, "padding_mode": "circular"},
            {"padding": 1, "padding_mode": "reflect"},
            {"padding": 1, "padding_mode": "replicate"},
        ):
            case(
                _title(f"Conv{dim}d", options),
                shape,
                lambda conv=conv, options=options: conv(4, 8, 3, **options),  # type: ignore[misc]
            )
        for options in _some(
            dim,
            {"stride": 2, "padding": 1, "output_padding": 1},
            {},
            {"groups": 2},
            {"dilation": 2},
        ):
            case(
                _title(f"ConvTranspose{dim}d", options),
                shape,
                lambda back=back, options=options: back(4, 6, 3, **options),  # type: ignore[misc]
            )
        case(f"LazyConv{dim}d", shape, lambda lazy=lazy: lazy(5, 3))  # type: ignore[misc]
        case(f"LazyConvTranspose{dim}d", shape, lambda lazy=lazy_back: lazy(5, 3))  # type: ignore[misc]
    case("Conv2d any size", ANY_IMAGE, lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1))
    case("ConvTranspose2d any size", ANY_IMAGE, lambda: nn.ConvTranspose2d(4, 6, 3, stride=2))
    case("Unfold", IMAGE, lambda: nn.Unfold((3, 2), stride=2, padding=1))
    case("Fold", floats("batch", 12, 15), lambda: nn.Fold((6, 4), (2, 2)))


def _norms() -> None:
    for dim, shape in SHAPES.items():
        batch, instance = getattr(nn, f"BatchNorm{dim}d"), getattr(nn, f"InstanceNorm{dim}d")
        case(f"BatchNorm{dim}d", shape, lambda norm=batch: norm(4))  # type: ignore[misc]
        case(
            f"BatchNorm{dim}d track_running_stats=False",
            shape,
            lambda norm=batch: norm(4, track_running_stats=False),  # type: ignore[misc]
        )
        case(f"InstanceNorm{dim}d", shape, lambda norm=instance: norm(4))  # type: ignore[misc]
        case(
            f"InstanceNorm{dim}d track_running_stats",
            shape,
            lambda norm=instance: norm(4, track_running_stats=True),  # type: ignore[misc]
        )
        case(f"LazyBatchNorm{dim}d", shape, getattr(nn, f"LazyBatchNorm{dim}d"))
        case(f"LazyInstanceNorm{dim}d", shape, getattr(nn, f"LazyInstanceNorm{dim}d"))
    case("BatchNorm2d affine=False", IMAGE, lambda: nn.BatchNorm2d(4, affine=False))
    case("InstanceNorm2d affine", IMAGE, lambda: nn.InstanceNorm2d(4, affine=True))
    case("BatchNorm1d of rows", FLAT, lambda: nn.BatchNorm1d(6))
    case("SyncBatchNorm", IMAGE, lambda: nn.SyncBatchNorm(4))
    case("LayerNorm", FLAT, lambda: nn.LayerNorm(6))
    case("LayerNorm over images", IMAGE, lambda: nn.LayerNorm([4, 10, 9]))
    case("LayerNorm bias=False", FLAT, lambda: nn.LayerNorm(6, bias=False))
    case("LayerNorm affine=False", FLAT, lambda: nn.LayerNorm(6, elementwise_affine=False))
    case("RMSNorm", FLAT, lambda: nn.RMSNorm(6))
    case("GroupNorm", IMAGE, lambda: nn.GroupNorm(2, 4))
    case("GroupNorm affine=False", LINE, lambda: nn.GroupNorm(4, 4, affine=False))
    case("LocalResponseNorm", IMAGE, lambda: nn.LocalResponseNorm(3))
    case("CrossMapLRN2d", IMAGE, lambda: nn.CrossMapLRN2d(3))


def _pools() -> None:
    for dim, shape in SHAPES.items():
        largest, mean = getattr(nn, f"MaxPool{dim}d"), getattr(nn, f"AvgPool{dim}d")
        for options in _some(
            dim,
            {"return_indices": True},
            {"padding": 1, "ceil_mode": True},
            {},
            {"dilation": 2, "stride": 1},
        ):
            case(
                _title(f"MaxPool{dim}d", options),
                shape,
                lambda pool=largest, options=options: pool(2, **options),  # type: ignore[misc]
            )
        for options in _some(
            dim, {}, {"padding": 1, "count_include_pad": False}, {"ceil_mode": True}
        ):
            case(
                _title(f"AvgPool{dim}d", options),
                shape,
                lambda pool=mean, options=options: pool(2, **options),  # type: ignore[misc]
            )
        case(f"MaxUnpool{dim}d", EVEN[dim], lambda dim=dim: Unpooled(dim))  # type: ignore[misc]
        power = getattr(nn, f"LPPool{dim}d")
        case(f"LPPool{dim}d", shape, lambda pool=power: pool(2, 3))  # type: ignore[misc]
        for kind in ("Avg", "Max"):
            pool = getattr(nn, f"Adaptive{kind}Pool{dim}d")
            for size in (1, 3):
                case(
                    f"Adaptive{kind}Pool{dim}d to {size}",
                    shape,
                    lambda pool=pool, size=size: pool(size),  # type: ignore[misc]
                )
    case("AvgPool2d divisor_override", IMAGE, lambda: nn.AvgPool2d(2, divisor_override=3))
    case("AdaptiveAvgPool2d any size", ANY_IMAGE, lambda: nn.AdaptiveAvgPool2d(1))
    case("AdaptiveAvgPool2d any size to 2", ANY_IMAGE, lambda: nn.AdaptiveAvgPool2d(2))
    case("AdaptiveMaxPool2d any size", ANY_IMAGE, lambda: nn.AdaptiveMaxPool2d(1))
    case(
        "AdaptiveMaxPool1d return_indices",
        LINE,
        lambda: nn.AdaptiveMaxPool1d(3, return_indices=True),
    )
    case("MaxPool2d any size", ANY_IMAGE, lambda: nn.MaxPool2d(2))
    case("FractionalMaxPool2d", IMAGE, lambda: nn.FractionalMaxPool2d(2, output_size=(4, 4)))
    case("FractionalMaxPool3d", VOLUME, lambda: nn.FractionalMaxPool3d(2, output_size=(3, 3, 3)))


def _paddings() -> None:
    for dim, shape in SHAPES.items():
        for kind in ("Circular", "Reflection", "Replication", "Zero"):
            pad = getattr(nn, f"{kind}Pad{dim}d")
            case(f"{kind}Pad{dim}d", shape, lambda pad=pad: pad(2))  # type: ignore[misc]
        constant = getattr(nn, f"ConstantPad{dim}d")
        case(f"ConstantPad{dim}d", shape, lambda pad=constant: pad(1, 0.5))  # type: ignore[misc]
    case("ZeroPad2d of uneven sides", IMAGE, lambda: nn.ZeroPad2d((1, 0, 2, 3)))
    case("ZeroPad2d that crops", IMAGE, lambda: nn.ZeroPad2d((-1, 0, -2, 1)))
    case("ReflectionPad2d any size", ANY_IMAGE, lambda: nn.ReflectionPad2d(2))


def _shapes() -> None:
    case("Flatten", IMAGE, nn.Flatten)
    case("Flatten of a part", VOLUME, lambda: nn.Flatten(2, 3))
    case("Unflatten", floats("batch", 12), lambda: nn.Unflatten(1, (3, 4)))
    case("PixelShuffle", floats("batch", 8, 3, 5), lambda: nn.PixelShuffle(2))
    case("PixelUnshuffle", floats("batch", 2, 6, 4), lambda: nn.PixelUnshuffle(2))
    case("ChannelShuffle", IMAGE, lambda: nn.ChannelShuffle(2))
    for mode, shape in (("nearest", IMAGE), ("bilinear", IMAGE), ("bicubic", IMAGE)):
        case(
            f"Upsample {mode}",
            shape,
            lambda mode=mode: nn.Upsample(scale_factor=2, mode=mode),  # type: ignore[misc]
        )
    case("Upsample linear", LINE, lambda: nn.Upsample(scale_factor=2, mode="linear"))
    case("Upsample trilinear", VOLUME, lambda: nn.Upsample(scale_factor=2, mode="trilinear"))
    case("Upsample nearest of lines", LINE, lambda: nn.Upsample(scale_factor=3))
    case("Upsample nearest of volumes", VOLUME, lambda: nn.Upsample(scale_factor=2))
    case("Upsample uneven", IMAGE, lambda: nn.Upsample(scale_factor=1.5))
    case("Upsample to a size", IMAGE, lambda: nn.Upsample(size=(7, 13), mode="bilinear"))
    case(
        "Upsample align_corners",
        IMAGE,
        lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    )
    case(
        "Upsample bicubic align_corners",
        IMAGE,
        lambda: nn.Upsample(scale_factor=2, mode="bicubic", align_corners=True),
    )
    case(
        "Upsample any size",
        ANY_IMAGE,
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    )
    case("UpsamplingBilinear2d", IMAGE, lambda: nn.UpsamplingBilinear2d(scale_factor=2))
    case("UpsamplingNearest2d", IMAGE, lambda: nn.UpsamplingNearest2d(scale_factor=2))


def _linear() -> None:
    case("Linear", FLAT, lambda: nn.Linear(6, 3))
    case("Linear bias=False", SERIES, lambda: nn.Linear(8, 3, bias=False))
    case("LazyLinear", FLAT, lambda: nn.LazyLinear(3))
    case("Bilinear", several(x=("batch", 4), y=("batch", 5)), lambda: nn.Bilinear(4, 5, 3))
    pair = several(x=("batch", 4), y=("batch", 4))
    case("CosineSimilarity", pair, nn.CosineSimilarity)
    case("PairwiseDistance", pair, nn.PairwiseDistance)
    case("PairwiseDistance p=1", pair, lambda: nn.PairwiseDistance(p=1.0, keepdim=True))
    case("Embedding", ids("batch", "sequence"), lambda: nn.Embedding(10, 4, padding_idx=0))
    case("Embedding max_norm", ids("batch", 3), lambda: nn.Embedding(10, 4, max_norm=1.0))
    for mode in ("sum", "mean", "max"):
        case(f"EmbeddingBag {mode}", ids("batch", 5), lambda mode=mode: Bags(mode))  # type: ignore[misc]
    case("Sequential", FLAT, lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)))
    case("ModuleDict ModuleList ParameterList ParameterDict", floats("batch", 4), Named)


def _recurrent() -> None:
    for name in ("RNN", "GRU", "LSTM"):
        layer: Any = getattr(nn, name)
        for title, shape, options in (
            ("", STEPS, {}),
            (" batch_first", floats("batch", 5, 8), {"batch_first": True}),
            (" of any length", SERIES, {"batch_first": True}),
            (" bidirectional", floats("batch", 5, 8), {"bidirectional": True, "batch_first": True}),
            (" of two layers", floats("batch", 5, 8), {"num_layers": 2, "batch_first": True}),
            (" bias=False", floats("batch", 5, 8), {"bias": False, "batch_first": True}),
        ):
            case(
                name + title,
                shape,
                lambda layer=layer, options=options: layer(8, 4, **options),  # type: ignore[misc]
            )
        case(
            f"{name} and a head",
            SERIES,
            lambda layer=layer: Last(layer(8, 4, batch_first=True), 4),  # type: ignore[misc]
        )
        cell = getattr(nn, f"{name}Cell")
        case(f"{name}Cell", FLAT, lambda cell=cell: cell(6, 4))  # type: ignore[misc]
    case(
        "LSTM proj_size",
        floats("batch", 5, 8),
        lambda: nn.LSTM(8, 6, proj_size=3, batch_first=True),
    )
    case("RNN relu", STEPS, lambda: nn.RNN(8, 4, nonlinearity="relu"))
    case(
        "GRU with a state",
        several(x=(5, "batch", 8), state=(1, "batch", 4)),
        lambda: nn.GRU(8, 4),
    )
    case(
        "GRUCell with a state",
        several(x=("batch", 6), state=("batch", 4)),
        lambda: nn.GRUCell(6, 4),
    )


def _transformers() -> None:
    case("MultiheadAttention", SERIES, lambda: SelfAttention(weights=True))
    case("MultiheadAttention without weights", SERIES, lambda: SelfAttention(weights=False))
    case("MultiheadAttention causal", SERIES, lambda: SelfAttention(weights=False, causal=True))
    case(
        "MultiheadAttention add_bias_kv",
        floats("batch", 6, 8),
        lambda: SelfAttention(weights=True, add_bias_kv=True, add_zero_attn=True),
    )
    three = several(query=("batch", 3, 8), key=("batch", 6, 8), value=("batch", 6, 8))
    case(
        "MultiheadAttention of three", three, lambda: nn.MultiheadAttention(8, 2, batch_first=True)
    )
    wide = several(query=(3, "batch", 8), key=(6, "batch", 5), value=(6, "batch", 7))
    case("MultiheadAttention kdim", wide, lambda: nn.MultiheadAttention(8, 2, kdim=5, vdim=7))
    case(
        "MultiheadAttention padded",
        PADDED,
        lambda: Padded(nn.MultiheadAttention(8, 2, batch_first=True)),
    )
    case("TransformerEncoderLayer", SERIES, lambda: _layer(nn.TransformerEncoderLayer))
    case(
        "TransformerEncoderLayer norm_first gelu",
        SERIES,
        lambda: _layer(nn.TransformerEncoderLayer, norm_first=True, activation="gelu"),
    )
    case(
        "TransformerEncoderLayer steps first",
        STEPS,
        lambda: _layer(nn.TransformerEncoderLayer, batch_first=False),
    )
    case(
        "TransformerEncoder",
        SERIES,
        lambda: nn.TransformerEncoder(_layer(nn.TransformerEncoderLayer), 2),
    )
    case(
        "TransformerEncoder padded",
        PADDED,
        lambda: Padded(nn.TransformerEncoder(_layer(nn.TransformerEncoderLayer), 2)),
    )
    both = several(x=("batch", 5, 8), memory=("batch", 6, 8))
    case("TransformerDecoderLayer", both, lambda: _layer(nn.TransformerDecoderLayer))
    case(
        "TransformerDecoder",
        both,
        lambda: nn.TransformerDecoder(_layer(nn.TransformerDecoderLayer), 2),
    )
    lengths = several(source=("batch", "sequence", 8), target=("batch", "other", 8))
    for title, shapes in (
        ("Transformer", several(source=("batch", 5, 8), target=("batch", 6, 8))),
        ("Transformer of any length", lengths),
    ):
        case(
            title,
            shapes,
            lambda: nn.Transformer(8, 2, 1, 1, dim_feedforward=16, batch_first=True),
        )


def _layer(kind: Any, **options: Any) -> Any:
    return kind(8, 2, **{"dim_feedforward": 16, "batch_first": True, **options})


def _some(dimensions: int, *options: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """All options in two dimensions, the first two in others: they share their code."""
    return options if dimensions == 2 else options[:2]


def _title(name: str, options: Mapping[str, object]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


for _table in (
    _activations,
    _convolutions,
    _norms,
    _pools,
    _paddings,
    _shapes,
    _linear,
    _recurrent,
    _transformers,
):
    _table()

_LOSS: Final = "a loss: it compares answers with targets while training and is not served"
EXCLUDED: Final[dict[str, str]] = {
    **{name: _LOSS for name in dir(nn) if name.endswith(("Loss", "WithLoss"))},
    "NLLLoss2d": _LOSS,
    "Container": "holds other modules and computes nothing",
    "Module": "the base of all, computes nothing",
    "DataParallel": "spreads a module over GPUs while training",
    "RNNBase": "the base of RNN, GRU and LSTM",
    "RNNCellBase": "the base of the cells",
}
