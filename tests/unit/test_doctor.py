"""What `slipway doctor` says of environments that are made for one provider."""

from importlib.metadata import PackageNotFoundError

import pytest

from slipway.cli import doctor
from slipway.providers import runtime


def test_another_build_of_onnxruntime_is_an_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "onnxruntime-openvino":
            return "1.24.1"
        raise PackageNotFoundError(package)

    monkeypatch.setattr(runtime, "version", version)
    found = {examined.name: examined for examined in doctor._packages()}
    assert found["onnxruntime"].ok
    assert found["onnxruntime"].detail == "onnxruntime-openvino 1.24.1"
