"""Promotion and rollback as flows: alias in MLflow, log in the store, page in the UI."""

from pathlib import Path

import pytest

from flows.promote import promote
from flows.rollback import rollback
from slipway.errors import AliasMoved
from slipway.promotion.records import PromotionReport
from slipway.registries import open_registry
from slipway.specs import PolicySpec, PromotionRequest, RollbackRequest
from slipway.stages.promoting import history
from tests.flows.running import Ran, changed, run
from tests.tiny_release import tiny_spec

pytestmark = [
    pytest.mark.usefixtures("prefect_client"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

LENIENT = PolicySpec(not_slower=False)  # 20 queries tell no speed


def promoted(version: int, **rest: object) -> Ran:
    request = {"name": "tiny", "version": version, "by": "anna", "policy": LENIENT, **rest}
    return Ran(promote(PromotionRequest.model_validate(request), return_state=True))


def report_of(ran: Ran) -> PromotionReport:
    assert isinstance(ran.found, PromotionReport), ran.found
    return ran.found


@pytest.mark.usefixtures("first")
def test_a_release_is_promoted_and_rolled_back(home: Path, tiny_files: Path) -> None:
    second = run(changed(tiny_spec(tiny_files), assets=[])).report.registered
    assert second is not None
    assert second.version == 2
    registry = open_registry(f"sqlite:///{home}/mlflow.db")

    assert report_of(promoted(1)).moved
    moved = promoted(2, reason="smaller")
    assert report_of(moved).verdict == "tiny@champion moved from version 1 to version 2"
    assert registry.aliases("tiny")["champion"] == 2
    about = registry.about("tiny", 2)
    assert about.tags["promotion.champion"].startswith("#2 sha256:")
    assert "by anna; policy passed; smaller" in about.description
    (page,) = moved.artifacts()
    assert page.key == "alias-tiny-champion"
    assert "| parity | passed |" in str(page.data)
    assert {run.name for run in moved.task_runs(2)} == {
        "weigh tiny version 2",
        "move tiny champion",
    }

    back = Ran(rollback(RollbackRequest(name="tiny", by="boris"), return_state=True))
    assert report_of(back).to_version == 1
    assert registry.aliases("tiny")["champion"] == 1
    assert [r.kind for r in history("tiny", alias="champion").aliases[0].records] == [
        *("promote", "promote", "rollback")
    ]

    with pytest.raises(AliasMoved, match="points at version 1, not at version 2"):
        raise promoted(2, expect=2).state.result(raise_on_failure=False)


@pytest.mark.usefixtures("first", "home")
def test_a_failed_rule_fails_the_run_with_its_reason() -> None:
    ran = promoted(1, policy=PolicySpec(slo_p99_ms={"cpu": 50}))
    assert ran.state.is_failed()
    assert "p99 on cpu: queries tell no p99" in str(ran.state.message)
    assert not report_of(ran).moved
    (page,) = ran.artifacts()
    assert "p99 on cpu | failed" in str(page.data)


@pytest.mark.usefixtures("first", "home")
def test_a_release_does_not_move_an_alias_that_promotions_move(tiny_files: Path) -> None:
    promoted(1)
    spec = changed(tiny_spec(tiny_files), register={"name": "tiny", "alias": "champion"})
    ran = run(spec)
    assert "is moved by promotions alone" in str(ran.found)
