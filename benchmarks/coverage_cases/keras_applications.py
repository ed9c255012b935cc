"""Keras: the architectures of keras.applications, random weights, at a small size of image."""

import functools
from collections.abc import Callable
from typing import Final

from benchmarks.coverage_cases.keras import from_keras, own_answers
from benchmarks.coverage_judge import Framework
from tests import keras_cases
from tests.keras_cases import Case

import keras  # isort: skip - tensorflow_runtime, which keras_cases imports, sets its backend

# The smallest side that an architecture takes, where it is not 32.
_SMALLEST: Final = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
_CLASSES: Final = 10


def _names() -> list[str]:
    return sorted(
        name
        for name in dir(keras.applications)
        if callable(getattr(keras.applications, name)) and not name.startswith("_")
    )


def _case(name: str) -> Case:
    side = _SMALLEST.get(name, 32)
    build = getattr(keras.applications, name)
    return Case(
        lambda: build(weights=None, input_shape=(side, side, 3), classes=_CLASSES), moved=False
    )


def _cases() -> dict[str, Callable[[], Case]]:
    return {name: functools.partial(_case, name) for name in _names()}


FRAMEWORK = Framework(
    _cases, keras_cases.save, from_keras, own_answers, group=1, limit_s=300, memory_gib=8
)
