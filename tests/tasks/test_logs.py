"""The lines of a run's log, as JSON: each says which run, which model and which variant."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.prefect_server import environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FLOW = """
from prefect import flow
from slipway.reports import CacheReport
from slipway.specs import Precision, ReleaseSpec
from slipway.stages.costs import Meter
from tasks.costs import settle_costs
from tasks.policy import cache_report, stage

@stage(name="convert", run_name="convert {spec.name} to {precision}",
       code_version=1, reads=lambda given: given["spec"])
def convert(spec: ReleaseSpec, precision: Precision) -> int:
    return 1

@flow
def small() -> None:
    meter = Meter()
    spec = ReleaseSpec.model_validate(
        {"name": "digits", "source": {"framework": "onnx", "uri": "model.onnx"}}
    )
    convert(spec, "fp16")
    convert(spec, "fp16")
    settle_costs(meter, cache_report(), model=spec.name)

small()
"""


@pytest.fixture(scope="module")
def lines(
    prefect_api: str, prefect_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Everything that the run of a small flow has logged."""
    home = tmp_path_factory.mktemp("logs")
    ran = subprocess.run(
        [sys.executable, "-c", FLOW],
        cwd=ROOT,
        env=environment(prefect_home, prefect_api)
        | {
            "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
            "SLIPWAY_HOME": str(home),
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_a_stage_says_which_run_model_and_variant_it_was_for(lines: list[dict[str, Any]]) -> None:
    (told,) = (line for line in lines if "stage" in line)
    assert (told["stage"], told["model"], told["variant"]) == ("convert", "digits", "fp16")
    assert told["msg"].startswith("convert digits to fp16 took ")
    assert told["wall_s"] >= 0
    (run,) = {line["flow_run_id"] for line in lines if line.get("flow_run_id")}
    assert told["flow_run_id"] == run
    assert told["task_run_id"]


def test_the_run_ends_with_what_it_has_cost(lines: list[dict[str, Any]]) -> None:
    (told,) = (line for line in lines if "cpu_s" in line)
    assert (told["model"], told["cache_hits"], told["cache_misses"]) == ("digits", 1, 1)
    assert told["cpu_s"] > 0
    assert told["msg"].endswith("found 1 of 2 stages in the cache.")
    assert told["flow_run_id"]
