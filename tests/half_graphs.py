"""Small graphs that converters to float16 get wrong, with inputs that show it.

Every case holds a matrix product, so that converting it is worth its casts.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from slipway.samples.arrays import Array


@dataclass(frozen=True)
class HalfCase:
    """A model with weights, and inputs of which the first dimension counts samples."""

    model: Callable[[], onnx.ModelProto]
    feeds: dict[str, Array]
    evaluated: bool = True
    """Whether onnx's evaluator (1.23) is right on it; else onnxruntime's CPU provider judges."""


def random(*shape: int, scale: float = 1.0, seed: int = 0) -> Array:
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return values.astype(np.float32)


def graph(
    body: str,
    *,
    inputs: str = "float[batch, 8] x",
    outputs: str = "float[batch, 8] y",
    constants: str = "",
    opset: int = 18,
    extra: str = "",
    functions: str = "",
    **weights: Array,
) -> Callable[[], onnx.ModelProto]:
    """A model from text; `w` is an 8 x 8 weight unless another one is given."""
    given = {"w": random(8, 8, scale=0.3), **weights}
    text = f"""<ir_version: 9, opset_import: ["" : {opset}{extra}]>
    g ({inputs}) => ({outputs}) {f"<{constants}>" if constants else ""} {{ {body} }}
    {functions}"""

    def build() -> onnx.ModelProto:
        model = parser.parse_model(text)
        used = {name for g in _graphs(model.graph) for node in g.node for name in node.input}
        for name, values in given.items():
            if name in used:
                model.graph.initializer.append(numpy_helper.from_array(values, name))
        return model

    return build


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    inner = [
        found
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
        for found in _graphs(attribute.g)
    ]
    return [graph, *inner]


def unnamed() -> onnx.ModelProto:
    """The dynamo exporter's nodes have names; those of older tools have none."""
    return graph("h = MatMul (x, w) a = Relu (h) b = Exp (x) c = Mul (b, x) y = Add (a, c)")()


def weights_as_inputs() -> onnx.ModelProto:
    """IR 3 lists every weight among the inputs."""
    model = graph("y = MatMul (x, w)")()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [8, 8]))
    model.ir_version = 3
    model.opset_import[0].version = 11
    return model


X: Final = {"x": random(4, 8)}
_MASK: Final = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int64)
_SEQUENCE: Final = {"x": random(2, 5, 8)}
_SCORES: Final = """
    k = Transpose <perm = [0, 2, 1]> (x) s = MatMul (x, k) {mask}
    masked = Add (s, penalty) p = Softmax <axis = -1> (masked) y = MatMul (p, x)
"""
_ATTENTION: Final = "float[batch, seq, 8] x, int64[batch, seq] mask"

CASES: Final[dict[str, HalfCase]] = {
    "plain": HalfCase(graph("h = MatMul (x, w) y = Relu (h)"), X),
    "cast in the graph": HalfCase(
        graph(
            "f = Cast <to = 1> (t) h = MatMul (x, w) y = Mul (h, f)",
            inputs="float[batch, 8] x, bool[batch, 8] t",
        ),
        {**X, "t": random(4, 8) > 0},
    ),
    "cast like": HalfCase(
        graph(
            "h = MatMul (x, w) f = CastLike (t, h) y = Mul (h, f)",
            inputs="float[batch, 8] x, bool[batch, 8] t",
        ),
        {**X, "t": random(4, 8) > 0},
    ),
    "constant of shape": HalfCase(
        graph("h = MatMul (x, w) s = Shape (h) z = ConstantOfShape (s) y = Add (h, z)"), X
    ),
    "constant node": HalfCase(
        graph(
            "c = Constant <value_floats = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> () "
            "h = MatMul (x, w) y = Add (h, c)"
        ),
        X,
    ),
    "output used inside": HalfCase(
        graph(
            "h = MatMul (x, w) r = Relu (h) y = MatMul (r, w)",
            outputs="float[batch, 8] h, float[batch, 8] y",
        ),
        X,
    ),
    "input is output": HalfCase(
        graph(
            "h = MatMul (x, w) y = Relu (h) z = Identity (x)",
            outputs="float[batch, 8] y, float[batch, 8] z",
        ),
        X,
    ),
    "unnamed nodes": HalfCase(unnamed, X),
    "weights as inputs": HalfCase(weights_as_inputs, X),
    "weight of 30000": HalfCase(
        graph("h = MatMul (x, w) y = Mul (h, c)", c=np.full(8, 30_000, np.float32)),
        {"x": random(4, 8, scale=0.1)},
    ),
    "weight of 70000": HalfCase(
        graph(
            "h = MatMul (x, w) a = Mul (h, c) y = Mul (a, d)",
            c=np.full(8, 70_000, np.float32),
            d=np.full(8, 1e-4, np.float32),
        ),
        X,
    ),
    "weights of 1e-8": HalfCase(
        graph("h = MatMul (x, w) y = MatMul (h, v)", v=random(8, 8, scale=1e-8)),
        {"x": random(4, 8, scale=1e4)},
    ),
    "epsilon of 1e-9": HalfCase(
        graph(
            "h = MatMul (x, w) q = Mul (h, h) m = ReduceMean <keepdims = 1> (q, axis) "
            "s = Add (m, e) r = Sqrt (s) y = Div (h, r)",
            constants="float e = {1e-9}, int64[1] axis = {1}",
        ),
        {"x": np.zeros((4, 8), np.float32)},
    ),
    "variance of 1e-9": HalfCase(
        graph(
            "h = Conv (x, k) y = BatchNormalization <epsilon = 1e-10> (h, g, b, m, v)",
            inputs="float[batch, 2, 4, 4] x",
            outputs="float[batch, 2, 4, 4] y",
            k=random(2, 2, 1, 1, scale=1e-4),
            g=np.ones(2, np.float32),
            b=np.zeros(2, np.float32),
            m=np.zeros(2, np.float32),
            v=np.array([1e-9, 2e-8], np.float32),
        ),
        {"x": random(2, 2, 4, 4)},
    ),
    "overflowing square": HalfCase(
        graph(
            "h = MatMul (x, w) a = Mul (h, c) b = Mul (a, a) y = Mul (b, d)",
            constants="float c = {300.0}, float d = {1e-5}",
        ),
        X,
    ),
    "underflowing square": HalfCase(
        graph(
            "h = MatMul (x, w) a = Mul (h, c) b = Mul (a, a) y = Mul (b, d)",
            constants="float c = {1e-4}, float d = {1e8}",
        ),
        X,
    ),
    "overflowing sum": HalfCase(
        graph(
            "h = MatMul (x, w) e = Expand (h, shape) s = ReduceSum <keepdims = 0> (e, axis) "
            "y = Mul (s, d)",
            constants="int64[3] shape = {9000, 1, 8}, int64[1] axis = {0}, float d = {1e-3}",
        ),
        {"x": random(4, 8, scale=40)},
    ),
    "mask of the lowest float": HalfCase(
        graph(
            _SCORES.format(
                mask="f = Cast <to = 1> (mask) g = Sub (one, f) wide = Unsqueeze (g, axis) "
                "penalty = Mul (wide, lowest)"
            ),
            inputs=_ATTENTION,
            outputs="float[batch, seq, 8] y",
            constants="float lowest = {-3.4028234663852886e38}, float one = {1.0}, "
            "int64[1] axis = {1}",
        ),
        {**_SEQUENCE, "mask": _MASK},
    ),
    "rows that are masked whole": HalfCase(
        graph(
            _SCORES.format(
                mask="f = Cast <to = 1> (mask) g = Sub (one, f) wide = Unsqueeze (g, axis) "
                "penalty = Mul (wide, lowest)"
            ),
            inputs=_ATTENTION,
            outputs="float[batch, seq, 8] y",
            constants="float lowest = {-3.4028234663852886e38}, float one = {1.0}, "
            "int64[1] axis = {1}",
        ),
        {"x": random(2, 5, 8, scale=0.5), "mask": np.zeros((2, 5), np.int64)},
    ),
    "mask of where": HalfCase(
        graph(
            _SCORES.format(
                mask="t = Cast <to = 9> (mask) wide = Unsqueeze (t, axis) "
                "penalty = Where (wide, zero, lowest)"
            ),
            inputs=_ATTENTION,
            outputs="float[batch, seq, 8] y",
            constants="float lowest = {-3.4028234663852886e38}, float zero = {0.0}, "
            "int64[1] axis = {1}",
        ),
        {**_SEQUENCE, "mask": _MASK},
    ),
    "clip without bounds": HalfCase(
        graph(
            "h = MatMul (x, w) y = Clip (h, low, high)",
            constants="float low = {0.0}, float high = {3.4028234663852886e38}",
        ),
        {"x": random(4, 8, scale=1000)},
    ),
    "rotary angles": HalfCase(
        graph(
            "f = Cast <to = 1> (position) u = Unsqueeze (f, axis) a = Mul (u, rate) c = Cos (a) "
            "h = MatMul (x, w) y = Mul (h, c)",
            inputs="float[batch, 8] x, int64[batch] position",
            constants="int64[1] axis = {1}",
            rate=(1.0 / 10_000 ** (np.arange(8) / 8)).astype(np.float32),
        ),
        {**X, "position": np.array([0, 100, 5001, 70_003], np.int64)},
    ),
    "range of positions": HalfCase(
        graph(
            "r = Range (zero, n, one) c = Sin (r) part = Slice (c, start, n8) h = MatMul (x, w) "
            "y = Mul (h, part)",
            constants="float zero = {0.0}, float n = {5000.0}, float one = {1.0}, "
            "int64[1] start = {-8}, int64[1] n8 = {5000}",
        ),
        X,
    ),
    "time stamps": HalfCase(
        graph(
            "f = Cast <to = 1> (t) d = Sub (f, origin) s = Mul (d, rate) h = MatMul (x, w) "
            "y = Add (h, s)",
            inputs="float[batch, 8] x, int64[batch, 8] t",
            constants="float origin = {1.7e9}, float rate = {1e-5}",
        ),
        {**X, "t": np.full((4, 8), 1_700_100_000, np.int64) + np.arange(8) * 1000},
    ),
    "resize between convolutions": HalfCase(
        graph(
            'a = Conv (x, k) b = Resize <mode = "nearest"> (a, , scales) y = Conv (b, k)',
            inputs="float[batch, 1, 4, 4] x",
            outputs="float[batch, 1, 8, 8] y",
            constants="float[4] scales = {1.0, 1.0, 2.0, 2.0}",
            k=np.full((1, 1, 1, 1), 0.5, np.float32),
        ),
        {"x": random(2, 1, 4, 4)},
    ),
    "pooling behind a pad": HalfCase(
        graph(
            "a = Conv (x, k) b = Pad (a, pads, low) y = MaxPool <kernel_shape = [3, 3]> (b)",
            inputs="float[batch, 1, 4, 4] x",
            outputs="float[batch, 1, 4, 4] y",
            constants="int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, "
            "float low = {-3.4028234663852886e38}",
            k=np.full((1, 1, 1, 1), -0.5, np.float32),
        ),
        {"x": np.abs(random(2, 1, 4, 4))},
    ),
    "function": HalfCase(
        graph(
            "h = MatMul (x, w) y = local.double (h)",
            extra=', "local" : 1',
            functions='<domain: "local", opset_import: ["" : 18]> double (a) => (b) '
            "{ two = Constant <value = float {2.0}> () b = Mul (a, two) }",
        ),
        X,
    ),
    "branch": HalfCase(
        graph(
            """h = MatMul (x, w) s = ReduceSum <keepdims = 0> (h) t = Greater (s, zero)
            y = If (t) <
              then_branch = a () => (float[batch, 8] p) { q = MatMul (h, w) p = Neg (q) },
              else_branch = b () => (float[batch, 8] p) { q = Relu (x) p = MatMul (q, w) }
            >""",
            constants="float zero = {0.0}",
        ),
        X,
    ),
    "loop": HalfCase(
        graph(
            """h = MatMul (x, w)
            y, all = Loop (three, go, h) <
              body = b (int64 i, bool c, float[batch, 8] v)
                => (bool c1, float[batch, 8] v1, float[batch, 8] o)
                { c1 = Identity (c) m = MatMul (v, w) v1 = Tanh (m) o = Mul (v1, half) }
            >""",
            outputs="float[batch, 8] y, float[n, batch, 8] all",
            constants="int64 three = {3}, bool go = {1}, float half = {0.5}",
        ),
        X,
        evaluated=False,  # it joins what a loop is to stack
    ),
    "branch in a loop": HalfCase(
        graph(
            """h = MatMul (x, w)
            y = Loop (three, go, h) <
              body = b (int64 i, bool c, float[batch, 8] v) => (bool c1, float[batch, 8] v1)
                { c1 = Identity (c) odd = Equal (i, one) v1 = If (odd) <
                    then_branch = t () => (float[batch, 8] p) { p = MatMul (v, w) },
                    else_branch = e () => (float[batch, 8] p) { p = Sub (v, h) }
                  > }
            >""",
            constants="int64 three = {3}, bool go = {1}, int64 one = {1}",
        ),
        X,
    ),
    "scan": HalfCase(
        graph(
            """h = MatMul (x, w)
            y, all = Scan <num_scan_inputs = 1,
              body = b (float[8] s, float[8] v) => (float[8] s1, float[8] o)
                { s1 = Add (s, v) o = Tanh (s1) }
            > (start, h)""",
            outputs="float[8] y, float[batch, 8] all",
            start=np.zeros(8, np.float32),
        ),
        X,
    ),
    "sequence": HalfCase(
        graph(
            "h = MatMul (x, w) s = SplitToSequence <axis = 1> (h, two) a = SequenceAt (s, one) "
            "y = MatMul (a, v)",
            constants="int64 two = {2}, int64 one = {1}",
            v=random(2, 8),
        ),
        X,
    ),
    "without a kernel": HalfCase(
        graph("h = MatMul (x, w) a = Celu (h) b = Softsign (a) y = MatMul (b, w)"), X
    ),
    "cumulative sum": HalfCase(
        graph(
            "h = MatMul (x, w) e = Abs (h) t = Transpose (e) c = CumSum (t, zero) "
            "u = Transpose (c) y = Mul (u, d)",
            constants="int64 zero = {1}, float d = {0.01}",
        ),
        {"x": random(4000, 8, scale=10)},
    ),
    "onnxruntime's operators": HalfCase(
        graph(
            "h = MatMul (x, w) a = com.microsoft.Gelu (h) y = com.microsoft.FusedMatMul (a, w)",
            extra=', "com.microsoft" : 1',
        ),
        X,
        evaluated=False,  # it does not know them
    ),
    "recurrent": HalfCase(
        graph(
            "y = LSTM <hidden_size = 4> (x, wi, wr)",
            inputs="float[seq, batch, 8] x",
            outputs="float[seq, 1, batch, 4] y",
            wi=random(1, 16, 8, scale=0.3),
            wr=random(1, 16, 4, scale=0.3),
        ),
        {"x": random(5, 2, 8)},
    ),
    "layer normalization": HalfCase(
        graph(
            "h = MatMul (x, w) y = LayerNormalization (h, g, b)",
            g=np.ones(8, np.float32),
            b=np.zeros(8, np.float32),
        ),
        {"x": random(4, 8, scale=1000)},
        evaluated=False,  # it squares in float16, whatever stash_type says
    ),
    "gelu in parts": HalfCase(
        graph(
            "h = MatMul (x, w) c = Pow (h, three) d = Mul (c, a) e = Add (h, d) f = Mul (e, r) "
            "t = Tanh (f) o = Add (t, one) m = Mul (h, o) n = Mul (m, half) y = MatMul (n, w)",
            constants="float three = {3.0}, float a = {0.044715}, float r = {0.7978846}, "
            "float one = {1.0}, float half = {0.5}",
        ),
        {"x": random(4, 8, scale=30)},
    ),
    "top k": HalfCase(
        graph(
            "h = MatMul (x, w) y, i = TopK (h, three)",
            outputs="float[batch, 3] y, int64[batch, 3] i",
            constants="int64[1] three = {3}",
        ),
        X,
    ),
    "normalised integers": HalfCase(
        graph(
            "f = Cast <to = 1> (t) d = Div (f, full) y = MatMul (d, w)",
            inputs="uint8[batch, 8] t",
            constants="float full = {255.0}",
        ),
        {"t": np.arange(32, dtype=np.uint8).reshape(4, 8) * 7},
    ),
}


def answers(model: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """The outputs in the arithmetic that the model states, float16 included.

    Raises:
        Exception: whatever onnx's evaluator does on an operator that it does not know.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ReferenceEvaluator(model).run(None, fitted(model, feeds))
    names = [value.name for value in model.graph.output]
    return {name: np.asarray(array) for name, array in zip(names, found, strict=True)}


def fitted(model: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """The feeds in the types of the model's inputs."""
    types = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }
    return {name: array.astype(types[name]) for name, array in feeds.items() if name in types}


def largest_error(actual: dict[str, Array], expected: dict[str, Array]) -> float:
    """The largest difference of any output, relative to that output's largest value."""
    errors = []
    for name, wanted in expected.items():
        difference = np.abs(actual[name].astype(np.float64) - wanted.astype(np.float64))
        scale = float(np.abs(wanted).max()) or 1.0
        errors.append(float(difference.max()) / scale)
    return float(np.max(errors))
