"""Keras: an architecture of each family of keras.applications, random weights, small images."""

import functools
from collections.abc import Callable
from typing import Any, Final

from benchmarks.coverage_cases.keras import from_keras, own_answers
from benchmarks.coverage_judge import Framework
from tests import keras_cases
from tests.keras_cases import Case

import keras  # isort: skip - tensorflow_runtime, which keras_cases imports, sets its backend

# The smallest side that an architecture takes, where it is not 32.
_SMALLEST: Final = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
_CLASSES: Final = 10
# The smallest of each family; the others repeat its blocks.
_ARCHITECTURES: Final = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2"),
    *("InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *("NASNetMobile", "ResNet50", "ResNet50V2", "VGG16", "VGG19", "Xception"),
)


def _case(name: str) -> Case:
    side = _SMALLEST.get(name, 32)
    build = getattr(keras.applications, name)

    def make() -> Any:  # noqa: ANN401 - Keras ships no types
        image = keras.Input((side, side, 3), name="image")
        return build(weights=None, input_tensor=image, classes=_CLASSES)

    return Case(make, moved=False)


def _cases() -> dict[str, Callable[[], Case]]:
    return {name: functools.partial(_case, name) for name in _ARCHITECTURES}


FRAMEWORK = Framework(
    _cases, keras_cases.save, from_keras, own_answers, group=1, limit_s=900, memory_gib=17
)
