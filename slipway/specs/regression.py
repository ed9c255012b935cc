"""What a nightly regression looks at, and from where on a difference is a regression."""

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from slipway.artifacts import Value
from slipway.errors import SpecError
from slipway.specs.mistakes import explain
from slipway.specs.words import Alias, Name


class RegressionSpec(Value):
    """Which promoted models are made again with today's tools, and how they are compared."""

    models: tuple[Name, ...] = Field(
        default=(), description="Registered models to look at; all that have the alias if empty."
    )
    alias: Alias = Field(
        default="champion", description="The alias whose version is what today's is held against."
    )
    specs: tuple[str, ...] = Field(
        default=(),
        description="Release specs (paths on the worker) to look at as well: made from their own "
        "sources as those are today, held against the version that the alias names, if any.",
    )
    latency: bool = Field(
        default=True,
        description="Measure the promoted and the fresh variant side by side where their bytes "
        "differ; equal bytes are equally fast.",
    )
    size_growth: float = Field(
        default=0.05, ge=0, description="A fresh variant that is larger by more is a regression."
    )
    series: Name = Field(
        default="regression", description="Under which name the figures are kept in the registry."
    )
    advisories: Literal["report", "fail", "off"] = Field(
        default="report",
        description="Ask the package index whether today's tools are yanked or known to be "
        "vulnerable: `fail` makes it a regression.",
    )


class ToolchainSpec(Value):
    """An environment to make models in: this one where nothing is given."""

    lock: str | None = Field(
        default=None,
        description="Lock file (a path on the worker) that the environment is made from, once.",
    )
    python: str | None = Field(
        default=None, description="Interpreter of an environment that is there already."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.lock is not None and self.python is not None:
            raise ValueError("give a lock file or an interpreter, not both")
        return self


class MatrixSpec(Value):
    """One regression in several toolchains: may the next one be taken?"""

    toolchains: dict[Name, ToolchainSpec] = Field(
        default={"current": ToolchainSpec()},
        min_length=1,
        description="By name, such as `current` and `next`; columns of the table, in this order.",
    )
    regression: RegressionSpec = Field(
        default=RegressionSpec(), description="Which models, and how they are compared."
    )


def regression_spec(
    *,
    models: Iterable[str] = (),
    specs: Iterable[str] = (),
    alias: str = "champion",
    latency: bool = True,
) -> RegressionSpec:
    """A request from a command line.

    Raises:
        SpecError: for a name or an alias that cannot be one.
    """
    raw = {"models": tuple(models), "specs": tuple(specs), "alias": alias, "latency": latency}
    return checked_request(raw, where="the request")


def checked_request(raw: Any, *, where: str) -> RegressionSpec:  # noqa: ANN401 - whatever YAML holds
    """A request from plain values, or SpecError naming each mistake and where it is."""
    try:
        return RegressionSpec.model_validate(raw)
    except ValidationError as error:
        mistakes = "\n".join(explain(error, RegressionSpec))
        raise SpecError(f"{where}: {mistakes}") from error
