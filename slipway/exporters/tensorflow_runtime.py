"""TensorFlow and tf2onnx imported without their noise.

Their banners would push a crash's own last words out of the message. What belongs here: imports and
settings of the process. What does not: any work on models.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any, Final


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Send what native code writes to standard error to nowhere.

    TensorFlow 2.21 says that there is no GPU before any setting of its log level is read.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


# Read at import: no oneDNN, since its kernels round otherwise on another processor, and the golden
# set is part of what is released.
_SETTINGS: Final = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
with _silent():
    import tensorflow as tf
    import tf2onnx
    from tf2onnx import tf_loader

logging.getLogger("tensorflow").setLevel(logging.CRITICAL)
# It logs an operator that it cannot convert as an error, and then returns a model all the same;
# the graph is looked at instead.
logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)

__all__ = [
    "freeze_function",
    "known_operators",
    "make_tensor_proto",
    "saved_model_message",
    "tf",
    "tf2onnx",
    "tf_loader",
]

make_tensor_proto = tf.make_tensor_proto


def freeze_function(function: Any) -> Any:  # noqa: ANN401 - tf's ConcreteFunction
    """The function with its variables as constants and its calls inlined, loops left whole."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function, lower_control_flow=False)


@cache
def known_operators() -> dict[str, bool]:
    """Every operator of this TensorFlow, and whether it declares to have state."""
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session

    operators = OpList()
    operators.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {operator.name: operator.is_stateful for operator in operators.op}


def saved_model_message() -> Any:  # noqa: ANN401 - a protobuf message
    """An empty message of what saved_model.pb holds."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    return SavedModel()
