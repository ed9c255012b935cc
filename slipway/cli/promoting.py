"""The commands of a release manager: promote, rollback, history, pull."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from slipway.cli.output import answer, answering, say
from slipway.errors import RequestError

if TYPE_CHECKING:
    from pydantic import BaseModel

Request = TypeVar("Request", bound="BaseModel")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Name = Annotated[str, typer.Argument(help="The registered model's name.", metavar="NAME")]
Alias = Annotated[str, typer.Option("--alias", help="The alias to move.")]
Expect = Annotated[
    int | None, typer.Option("--expect", min=1, help="The version that the alias must be at now.")
]
By = Annotated[str | None, typer.Option("--by", help="Who asks; the system's user if absent.")]
Why = Annotated[str | None, typer.Option("--reason", help="Why; it is recorded.")]


def promote(
    name: Name,
    version: Annotated[int, typer.Option("--version", min=1, help="The version to promote.")],
    alias: Alias = "champion",
    to: Annotated[
        str | None,
        typer.Option(
            help="Promote into another environment: the registered model there, such as prod.NAME; "
            "the version is copied to it first."
        ),
    ] = None,
    to_registry: Annotated[
        str | None, typer.Option(help="The other environment's registry; this one if absent.")
    ] = None,
    to_store: Annotated[
        str | None, typer.Option(help="The other environment's store; this one if absent.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="What must hold (YAML); the release's own policy if absent."),
    ] = None,
    expect: Expect = None,
    override: Annotated[
        str | None, typer.Option(help="Move although a rule fails, for this reason; recorded.")
    ] = None,
    reason: Why = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Point an alias at a version whose evidence satisfies the policy, here or elsewhere."""
    with answering(as_json=as_json, working="weighing"):
        from slipway.cli.flows import run_promotion
        from slipway.cli.promotion_view import print_promotion
        from slipway.specs import PromotionRequest, load_policy

        elsewhere = any((to, to_registry, to_store))
        request = _asked(
            PromotionRequest,
            name=name,
            version=version,
            alias=alias,
            to={"name": to, "registry": to_registry, "store": to_store} if elsewhere else None,
            expect=expect,
            policy=load_policy(policy) if policy else None,
            override=override,
            reason=reason,
            by=by or getpass.getuser(),
        )
        report = run_promotion(request)
        answer(
            report,
            as_json=as_json,
            words=lambda: print_promotion(report),
            passed=report.passed,
        )


def rollback(
    name: Name,
    alias: Alias = "champion",
    expect: Expect = None,
    reason: Why = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Point an alias back at the version where it was before."""
    with answering(as_json=as_json, working="looking"):
        from slipway.cli.flows import run_rollback
        from slipway.cli.promotion_view import print_promotion
        from slipway.specs import RollbackRequest

        request = _asked(
            RollbackRequest,
            name=name,
            alias=alias,
            expect=expect,
            reason=reason,
            by=by or getpass.getuser(),
        )
        report = run_rollback(request)
        answer(report, as_json=as_json, words=lambda: print_promotion(report))


def history(
    name: Name,
    alias: Annotated[str | None, typer.Option("--alias", help="One alias; all if absent.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Point aliases where their logs say.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell where aliases pointed, when, and who moved them; exit 1 where the registry disagrees."""
    with answering(as_json=as_json, working="looking"):
        from slipway.cli.promotion_view import print_history
        from slipway.stages.histories import history as read

        report = read(name, alias=alias, repair=repair)
        answer(report, as_json=as_json, words=lambda: print_history(report), passed=report.passed)


def pull(
    address: Annotated[str, typer.Argument(help="The version.", metavar="NAME@ALIAS|NAME/VERSION")],
    out: Annotated[Path, typer.Option("--out", help="The folder; must not exist.")],
    as_json: Json = False,
) -> None:
    """Take a registered bundle out of the store: verified and self-tested, or not at all."""
    with answering(as_json=as_json, working="pulling"):
        from slipway.stages.pulling import pull as take

        report = take(address, out)

        def words() -> None:
            signed = f", signature by {report.signature}" if report.signature else ""
            say(f"{report.path}: {report.name} version {report.version}, {report.digest}")
            say(f"verified {report.files} files{signed}")
            for variant in report.selftest.variants:
                say(f"{variant.precision}: repeats its answers")

        answer(report, as_json=as_json, words=words)


COMMANDS: tuple[Callable[..., None], ...] = (promote, rollback, history, pull)


def _asked(model: type[Request], **values: Any) -> Request:  # noqa: ANN401 - the model checks them
    from pydantic import ValidationError

    from slipway.specs.mistakes import explain

    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestError("\n".join(f"--{line}" for line in explain(error, model))) from error
