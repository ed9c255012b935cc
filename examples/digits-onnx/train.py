"""Train an MLP on scikit-learn's digits and write it as ONNX with external data, by hand.

It stands for an ONNX model that some other tool exported: out/model holds model.onnx and its
weights, and the release takes the folder as it is.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

OUT = Path(__file__).parent / "out"
GRAPH = """
<ir_version: 10, opset_import: ["" : 17]>
digits (float[N, 64] pixels) => (float[N, 10] probabilities)
{
    first = Gemm (pixels, first_weight, first_bias)
    hidden = Relu (first)
    scores = Gemm (hidden, second_weight, second_bias)
    probabilities = Softmax <axis = -1> (scores)
}
"""


def to_onnx(model: MLPClassifier) -> onnx.ModelProto:
    """The fitted layers as a graph."""
    graph = onnx.parser.parse_model(GRAPH)
    for layer, weight, bias in zip(
        ("first", "second"), model.coefs_, model.intercepts_, strict=True
    ):
        for name, array in ((f"{layer}_weight", weight), (f"{layer}_bias", bias)):
            graph.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    return graph


def main() -> None:
    """Train, split, save."""
    shutil.rmtree(OUT / "model", ignore_errors=True)
    (OUT / "model").mkdir(parents=True)
    digits = load_digits()
    images = (digits.data / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    fit_x, test_x, fit_y, test_y = train_test_split(
        images, labels, test_size=0.4, random_state=0, stratify=labels
    )
    model = MLPClassifier(128, max_iter=60, early_stopping=True, random_state=0).fit(fit_x, fit_y)
    onnx.save(
        to_onnx(model),
        OUT / "model" / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    np.savez(OUT / "calibration.npz", pixels=fit_x[:256])
    np.savez(OUT / "golden.npz", pixels=fit_x[256:320])
    np.savez(OUT / "evaluation.npz", pixels=test_x, label=test_y)
    print(f"{model.score(test_x, test_y):.4f} of {len(test_x)} unseen digits right: {OUT}")


if __name__ == "__main__":
    main()
