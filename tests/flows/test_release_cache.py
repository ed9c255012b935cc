"""What a change makes run again, and what it leaves in the cache."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.artifacts import ArtifactRef
from slipway.errors import IntegrityError
from slipway.settings import Settings
from slipway.stores import open_store
from tests.flows.running import Ran, changed, run
from tests.tiny_release import tiny_spec

pytestmark = pytest.mark.usefixtures("prefect_client", "home")

ALWAYS = {"fetch tiny", "unpack tiny", "register tiny"}
STAGES = 15


def worked(ran: Ran) -> set[str]:
    """The stages that worked, less those that always do."""
    names = ran.worked(STAGES)
    assert ran.report.passed
    assert names >= ALWAYS
    return names - ALWAYS


def model_of(ran: Ran, precision: str) -> ArtifactRef:
    model = ran.variant(precision).model
    assert model is not None
    return model


def test_another_tolerance_validates_again_and_converts_nothing(tiny: dict[str, Any]) -> None:
    ran = run(changed(tiny, parity={"fp16": {"rtol": 0.02, "atol": 0.02}}))
    assert worked(ran) == {
        *(f"validate tiny {name}" for name in ("fp32", "fp16", "int8-dynamic", "int8-static")),
        "bundle tiny",
        "self-test tiny",
    }


def test_other_calibration_data_makes_again_what_is_made_with_it_and_nothing_else(
    tiny: dict[str, Any],
) -> None:
    x = np.random.default_rng(1).standard_normal((80, 6)).astype(np.float32) * 3
    np.savez(Path(tiny["data"]["calibration"]), x=x)
    assert worked(run(tiny)) == {
        "convert tiny to fp16",  # to the same bytes, so that it is not validated again
        "convert tiny to int8-static",
        "validate tiny int8-static",
        "benchmark tiny on cpu",  # all variants are measured side by side
        "bundle tiny",
        "self-test tiny",
    }


def test_files_that_lie_elsewhere_change_nothing(tiny_files: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_files, tmp_path / "elsewhere")
    assert worked(run(tiny_spec(tmp_path / "elsewhere"))) == set()


def test_a_model_that_was_deleted_from_the_store_is_made_again(
    tiny: dict[str, Any], first: Ran
) -> None:
    lost = model_of(first, "fp16")
    store = open_store(Settings().store_uri)
    store.delete(lost.digest)
    ran = run(tiny)
    # The bundle's record refers to the same bytes, but they are back when it is read.
    assert worked(ran) == {"convert tiny to fp16"}
    assert model_of(ran, "fp16").digest == lost.digest
    assert store.contains(lost.digest)


def test_a_model_that_rotted_in_the_store_is_told_and_then_made_again(
    tiny: dict[str, Any], first: Ran
) -> None:
    rotten = open_store(Settings().store_uri)
    path = Settings().root / "store" / "sha256"
    digest = model_of(first, "fp16").digest.removeprefix("sha256:")
    file = path / digest[:2] / digest
    file.chmod(0o644)
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])

    measured_anew = changed(tiny, benchmark={"fresh": True})
    ended = run(measured_anew)
    assert isinstance(ended.found, IntegrityError)
    assert f"sha256:{digest}" not in set(rotten.digests())

    healed = run(measured_anew)
    assert healed.report.passed
    assert rotten.contains(f"sha256:{digest}")


def test_a_bundle_that_was_changed_on_disk_is_refused(tiny: dict[str, Any], home: Path) -> None:
    (report,) = home.glob("bundles/sha256/*/evidence/report.html")
    report.write_text("better numbers", encoding="utf-8")
    ended = run(tiny)
    assert isinstance(ended.found, IntegrityError)
    assert "is not the bundle that was sealed" in str(ended.found)
    assert ended.state.is_failed()
