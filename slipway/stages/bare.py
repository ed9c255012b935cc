"""The same work on bare files, for the command line: no store, no cache, no orchestrator."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from slipway.artifacts import digest_file
from slipway.errors import PrecisionFailed, RequestError, SourceNotFound
from slipway.isolation.runner import Limits, run_isolated
from slipway.protocols import (
    AnyPrecisionSpec,
    CheckRequest,
    ConvertRequest,
    ConvertResult,
    FilesBenchmarkRequest,
    ParityRequest,
    SelftestRequest,
)
from slipway.providers import PROVIDERS
from slipway.reports import BenchmarkSuite, CheckReport, ExplainedParity, SelftestReport
from slipway.settings import Settings
from slipway.specs import BenchmarkSpec, Precision, Tolerance
from slipway.stages.delivery import deliver_model
from slipway.stages.signing import check_folder

Result = TypeVar("Result", bound=BaseModel)


class ConvertedFile(ConvertResult):
    """A converted model written where it was asked for."""

    digest: str | None = None
    size_bytes: int | None = None


def check_file(model: Path) -> CheckReport:
    """Check one model file, isolated."""
    with scratch_folder() as scratch:
        return run_child(
            "slipway.stages.children:check",
            CheckRequest(model=existing(model)),
            returns=CheckReport,
            scratch=scratch,
            what=f"the check of {model.name}",
            reads=[model.parent],
        )


def compare_file(model: Path, golden: Path, *, tolerance: Tolerance) -> ExplainedParity:
    """Compare a model file with recorded answers, isolated."""
    with scratch_folder() as scratch:
        return run_child(
            "slipway.stages.children:parity",
            ParityRequest(model=existing(model), golden=existing(golden), tolerance=tolerance),
            returns=ExplainedParity,
            scratch=scratch,
            what=f"the comparison of {model.name}",
            reads=[model.parent, golden],
        )


def convert_file(
    model: Path,
    out: Path,
    *,
    precision: Precision,
    options: AnyPrecisionSpec,
    calibration: Path | None = None,
) -> ConvertedFile:
    """Write a model at another precision to `out`, whole or not at all.

    Raises:
        RequestError: when `out` exists.
        PrecisionFailed: when the precision does not apply or came out unusable, with the reason.
    """
    if out.exists():
        raise RequestError(f"{out} exists already; choose another name or remove it")
    data = existing(calibration) if calibration is not None else None
    with scratch_folder() as scratch:
        result = run_child(
            "slipway.precisions:convert",
            ConvertRequest(
                precision=precision, model=existing(model), options=options, calibration=data
            ),
            returns=ConvertResult,
            scratch=scratch,
            what=f"the conversion of {model.name} to {precision}",
            reads=[model.parent, *([data] if data else [])],
        )
        if result.model is None or result.status != "passed":
            raise PrecisionFailed(f"{model.name} to {precision}: {result.reason}")
        deliver_model(result.model, out)
    return ConvertedFile(
        **result.model_dump(exclude={"model"}),
        model=out,
        digest=digest_file(out),
        size_bytes=out.stat().st_size,
    )


def benchmark_files(
    models: Sequence[Path],
    *,
    golden: Path | None,
    provider: str,
    options: BenchmarkSpec,
    dimensions: Mapping[str, int] | None = None,
) -> BenchmarkSuite:
    """Measure model files against the first, interleaved, isolated.

    `dimensions` are sizes of named dimensions, where inputs are made up.

    Raises:
        RequestError: for a provider that there is not.
    """
    if provider not in PROVIDERS:
        raise RequestError(f"no provider {provider!r}; there are {', '.join(PROVIDERS)}")
    labels = _labels(models)
    with scratch_folder() as scratch:
        return run_child(
            "slipway.stages.children:benchmark_files",
            FilesBenchmarkRequest(
                models={
                    label: existing(model) for label, model in zip(labels, models, strict=True)
                },
                golden=existing(golden) if golden else None,
                dimensions=dict(dimensions or {}),
                provider=provider,
                options=options.model_copy(update={"providers": (provider,)}),
            ),
            returns=BenchmarkSuite,
            scratch=scratch,
            what=f"the benchmark of {', '.join(labels)}",
            reads=[*(model.parent for model in models), *([golden] if golden else [])],
        )


def selftest_folder(bundle: Path) -> SelftestReport:
    """Verify a bundle and replay its variants, isolated."""
    if not bundle.is_dir():
        raise SourceNotFound(f"no bundle at {bundle}")
    check_folder(bundle, Settings())
    with scratch_folder() as scratch:
        return run_child(
            "slipway.stages.children:selftest",
            SelftestRequest(bundle=bundle.resolve()),
            returns=SelftestReport,
            scratch=scratch,
            what=f"the self-test of {bundle.name}",
            reads=[bundle],
        )


def run_child(
    function: str,
    request: BaseModel,
    *,
    returns: type[Result],
    scratch: Path,
    what: str,
    reads: Sequence[Path],
    look: Callable[[], None] | None = None,
) -> Result:
    """Run a function of the core in a child of its own, under the limits of the settings."""
    settings = Settings()
    return run_isolated(
        function,
        request,
        returns=returns,
        scratch=scratch,
        what=what,
        reads=reads,
        limits=Limits(timeout_s=settings.timeout_s, memory_bytes=settings.memory_limit_bytes),
        look=look,
    )


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="slipway-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        yield scratch


def existing(path: Path) -> Path:
    """The absolute path of what must be there.

    Raises:
        SourceNotFound: when it is not.
    """
    if not path.exists():
        raise SourceNotFound(f"there is no file at {path}")
    return path.resolve()


def _labels(models: Sequence[Path]) -> list[str]:
    """File names, or whole paths where two files have the same name."""
    names = [model.name for model in models]
    labels = names if len(set(names)) == len(names) else [str(model) for model in models]
    if len(set(labels)) != len(labels):
        raise RequestError("the same file is named twice; compare a model with another one")
    return labels
