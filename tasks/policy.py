"""The policy of every task: content keys, JSON results, retries on the transient branch alone.

`stage` makes a Prefect task of a function of the core. Delete the decorator and it still runs.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff
from pydantic import BaseModel

from slipway.artifacts import ArtifactRef, canonical_json, digest_bytes
from slipway.errors import Transient
from slipway.isolation.interpreters import versions_here
from slipway.reports import CacheReport
from tasks.results import JsonResults

P = ParamSpec("P")
R = TypeVar("R")

RETRIES: Final = 3
RUNTIME: Final = ("onnxruntime", "onnx", "numpy")
"""Packages that decide what a stage on an ONNX model makes."""
_PLACE: Final = "uri"

# Runs of cached tasks by flow run: those asked for, and those whose work was really done.
_ASKED: Final[set[tuple[UUID | None, UUID]]] = set()
_EXECUTED: Final[set[tuple[UUID | None, UUID]]] = set()

Reads = Callable[[dict[str, Any]], object]


def stage(
    *,
    name: str,
    run_name: str,
    code_version: int | None = None,
    reads: Reads | None = None,
    tools: Sequence[str] = (),
    retries: int = RETRIES,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A Prefect task under the house's policy.

    Args:
        name: The task's name.
        run_name: Template of its run's name over its parameters.
        code_version: Bumped by hand when the stage's own code changes what it makes. None for a
            task that must run each time: it fetches, or it changes something outside.
        reads: From the parameters, all that decides the result. None, or a value of None from
            it, means that this call is not cached.
        tools: Packages whose versions decide the result.
        retries: How often a transient failure is tried again.
    """

    def make(function: Callable[P, R]) -> Task[P, R]:
        def key(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
            _ASKED.add((context.task_run.flow_run_id, context.task_run.id))
            found = reads(parameters) if reads else None
            if found is None:
                return None
            return content_key(name, code_version, found, tools)

        cached = code_version is not None and reads is not None

        @functools.wraps(function)
        def watched(*args: P.args, **kwargs: P.kwargs) -> R:
            if (context := TaskRunContext.get()) is None:
                return function(*args, **kwargs)
            if cached:
                _EXECUTED.add((context.task_run.flow_run_id, context.task_run.id))
            begun = time.monotonic()
            made = function(*args, **kwargs)
            _tell_of(name, context, time.monotonic() - begun)
            return made

        made: Task[P, R] = Task(
            fn=watched,
            name=name,
            task_run_name=run_name,
            cache_key_fn=key if cached else None,
            **({} if cached else {"cache_policy": NO_CACHE}),  # type: ignore[arg-type]
            persist_result=cached,
            result_serializer="json",
            retries=retries,
            retry_delay_seconds=exponential_backoff(2),
            retry_jitter_factor=0.5,
            retry_condition_fn=is_transient,
        )
        if cached:
            # Set here and not above: Prefect wants storage to be a block saved on its server, and
            # ours is decided by each worker's settings alone.
            made.result_storage = JsonResults()
        return made

    return make


def _tell_of(name: str, context: TaskRunContext, wall_s: float) -> None:
    """One line in the run's log; where logs are JSON, its fields say what it is about."""
    # Formatted here: as JSON, Prefect writes a message's template and its values apart.
    line = f"{context.task_run.name} took {wall_s:.1f} s"
    get_run_logger().info(
        line,
        extra={"stage": name, "wall_s": wall_s, **subjects(context.parameters)},
    )


def subjects(given: Mapping[str, Any]) -> dict[str, str | None]:
    """The model and the variant that a stage is about, by its parameters."""
    named = (getattr(value, "name", None) for value in given.values())
    model = next((name for name in named if isinstance(name, str)), None)
    return {"model": model, "variant": given.get("precision")}


def content_key(name: str, code_version: int | None, reads: object, tools: Sequence[str]) -> str:
    """The digest of all that decides a result: contents, options, code and tools; never places."""
    return digest_bytes(
        canonical_json(
            {
                "task": name,
                "code": code_version,
                "reads": contents(reads),
                "tools": versions_here(tools),
            }
        )
    ).replace(":", "-")


def contents(value: object) -> Any:  # noqa: ANN401 - any JSON
    """A value as JSON, without the places that references say their bytes are at.

    A mapping keeps all its keys: what a user calls `uri` among the arguments of a factory is
    content like any other.

    Raises:
        TypeError: for what has no content of its own, such as a path or an open file.
    """
    if isinstance(value, BaseModel):
        left_out = {_PLACE} if isinstance(value, ArtifactRef) else set()
        return {
            name: contents(getattr(value, name))
            for name in type(value).model_fields
            if name not in left_out
        }
    if isinstance(value, dict):
        return {str(k): contents(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [contents(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no content that a cache key could hold")


def cache_report() -> CacheReport:
    """How many stages of the flow run that calls this came from the cache."""
    context = FlowRunContext.get()
    flow_run = context.flow_run.id if context is not None and context.flow_run else None
    asked = {run for owner, run in _ASKED if owner == flow_run}
    executed = {run for owner, run in _EXECUTED if owner == flow_run}
    return CacheReport(hits=len(asked - executed), misses=len(executed))


def is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether a failure may pass by itself: the one branch of our errors that is retried."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, Transient)
