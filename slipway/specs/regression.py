"""What a nightly regression looks at, and from where on a difference is a regression."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, ValidationError

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
    advisories: Literal["report", "fail", "off"] = Field(
        default="report",
        description="Ask the package index whether today's tools are yanked or known to be "
        "vulnerable: `fail` makes it a regression.",
    )


def regression_spec(
    *, models: Iterable[str] = (), specs: Iterable[str] = (), alias: str, latency: bool
) -> RegressionSpec:
    """A spec from a command line.

    Raises:
        SpecError: for a name or an alias that cannot be one.
    """
    try:
        return RegressionSpec(
            models=tuple(models), specs=tuple(specs), alias=alias, latency=latency
        )
    except ValidationError as error:
        raise SpecError("\n".join(explain(error, RegressionSpec))) from error
