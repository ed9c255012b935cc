"""The deployments of `prefect.yaml`, put on a server by Prefect's own command."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.utilities.callables import parameter_schema

from deployments.changes import Change

ROOT: Final = Path(__file__).resolve().parents[1]
FILE: Final = Path("deployments/prefect.yaml")
_OF_EACH_WRITING: Final = {
    "created",
    "updated",
    "updated_by",
    "last_polled",
    "status",
    "version_id",
}


def names() -> list[str]:
    """The deployments in the file, as Prefect names them: `flow/deployment`."""
    return [f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}" for one in _listed()]


def apply_benchmark(client: SyncPrefectClient, pool: str) -> None:
    """Deploy the file's benchmark on one pool, under the pool's name."""
    from flows.benchmark import benchmark

    entry = next(one for one in _listed() if one["entrypoint"] == "flows.benchmark.benchmark")
    client.create_deployment(
        flow_id=client.create_flow(benchmark),
        name=pool,
        work_pool_name=pool,
        work_queue_name=entry["work_pool"]["work_queue_name"],
        job_variables=entry["work_pool"]["job_variables"],
        entrypoint=entry["entrypoint"],
        pull_steps=entry["pull"],
        path=".",
        description=entry["description"],
        tags=entry["tags"],
        parameter_openapi_schema=parameter_schema(benchmark).model_dump(),
        enforce_parameter_schema=entry["enforce_parameter_schema"],
    )


def _listed() -> list[dict[str, Any]]:
    return list(yaml.safe_load((ROOT / FILE).read_text(encoding="utf-8"))["deployments"])


def apply(client: SyncPrefectClient) -> dict[str, Change]:
    """Deploy every flow of the file.

    Raises:
        ValueError: with what Prefect's command said, when it failed.
    """
    before = _deployed(client)
    ran = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", FILE, "--all"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise ValueError(f"prefect deploy failed: {ran.stdout}{ran.stderr}")
    after = _deployed(client)
    return {f"deployment {name}": _change(before.get(name), after[name]) for name in names()}


def _deployed(client: SyncPrefectClient) -> dict[str, dict[str, Any]]:
    flows = {flow.id: flow.name for flow in client.read_flows()}
    found = {
        f"{flows[one.flow_id]}/{one.name}": one.model_dump(mode="json")
        for one in client.read_deployments()
    }
    return {name: _lasting(value) for name, value in found.items()}


def _change(before: dict[str, Any] | None, after: dict[str, Any]) -> Change:
    if before is None:
        return "made"
    return "unchanged" if before == after else "changed"


def _lasting(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in _OF_EACH_WRITING}
    return [_lasting(item) for item in value] if isinstance(value, list) else value
