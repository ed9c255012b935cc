"""Promotion and rollback as flows: alias in MLflow, log in the store, page in the UI."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from httpx import HTTPStatusError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.flow_runs import resume_flow_run

from flows.promote import promote
from flows.rollback import rollback
from slipway.errors import AliasMoved
from slipway.promotion.records import PromotionReport
from slipway.registries import open_registry
from slipway.specs import PolicySpec, PromotionRequest, RollbackRequest
from slipway.stages.histories import history
from tasks import approval
from tests.flows.running import Ran, changed, run
from tests.tiny_release import tiny_spec

pytestmark = [
    pytest.mark.usefixtures("prefect_client"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

LENIENT = PolicySpec(not_slower=False)  # 20 queries tell no speed
FOUR_EYES = PolicySpec(not_slower=False, approvals=2)


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


@pytest.mark.usefixtures("first")
def test_a_release_goes_to_production_with_where_it_comes_from(home: Path) -> None:
    ran = promoted(1, to={"name": "prod.tiny"})
    assert report_of(ran).verdict == (
        "prod.tiny@champion moved from nowhere to version 1, a copy of version 1 of tiny"
    )
    registry = open_registry(f"sqlite:///{home}/mlflow.db")
    assert registry.aliases("prod.tiny") == {"champion": 1}
    assert (
        registry.versions("tiny")[0].bundle_digest
        == registry.versions("prod.tiny")[0].bundle_digest
    )
    (record,) = history("prod.tiny").aliases[0].records
    assert str(record.run).endswith(str(ran.flow_run_id))
    assert f"[Prefect run]({record.run})" in registry.about("prod.tiny", 1).description
    with get_client(sync_client=True) as client:
        name = client.read_flow_run(ran.flow_run_id).name
    assert name == "promote tiny 1 to prod.tiny@champion"
    (page,) = ran.artifacts()
    assert "copied from version 1 of tiny in sqlite" in str(page.data)


@pytest.mark.usefixtures("first", "home")
def test_a_failed_rule_fails_the_run_with_its_reason() -> None:
    ran = promoted(1, policy=PolicySpec(slo_p99_ms={"cpu": 50}))
    assert ran.state.is_failed()
    assert "queries tell no p99; 662 would" in str(ran.state.message)
    assert not report_of(ran).moved
    (page,) = ran.artifacts()
    assert "p99 on cpu | failed" in str(page.data)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Fill in the forms of runs that wait, one answer after the other; the texts of the forms."""
    monkeypatch.setattr(approval, "WAIT_S", 120)
    threads: list[threading.Thread] = []

    def answer(*inputs: dict[str, object]) -> list[str]:
        shown: list[str] = []
        # Prefect's settings are this thread's: the other one gets a copy.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(_answer_forms, inputs, shown))
        threads.append(thread)
        thread.start()
        return shown

    yield answer
    for thread in threads:
        thread.join()


def _answer_forms(inputs: tuple[dict[str, object], ...], shown: list[str]) -> None:
    # Other tests leave runs on this server that wait for ever.
    waiting = FlowRunFilter(
        name=FlowRunFilterName(like_="promote tiny"),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])),
    )
    deadline = time.monotonic() + 100
    with get_client(sync_client=True) as client:
        for given in inputs:
            while not (found := client.read_flow_runs(flow_run_filter=waiting)):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            state = found[0].state
            assert state is not None
            keys = state.state_details.run_input_keyset
            assert keys is not None
            while not (text := _description(client, found[0].id, keys["description"])):
                assert time.monotonic() < deadline
            shown.append(text)
            resume_flow_run(found[0].id, run_input=given)


def _description(client: SyncPrefectClient, run: UUID, key: str) -> str:
    try:
        return client.read_flow_run_input(run, key)
    except HTTPStatusError:  # the run has said that it waits, and not yet what for
        return ""


@pytest.mark.usefixtures("first", "home")
def test_two_people_approve_and_are_recorded(answering: Callable[..., list[str]]) -> None:
    shown = answering({"by": "boris", "approve": True}, {"by": "clara", "approve": True})
    report = report_of(promoted(1, policy=FOUR_EYES, reason="better"))
    assert (report.moved, report.approved_by) == (True, ("boris", "clara"))
    (record,) = history("tiny", alias="champion").aliases[0].records
    assert record.approved_by == ("boris", "clara")
    assert "## Point champion of tiny at version 1?" in shown[0]
    assert "asked by anna" in shown[0]
    assert "| parity | passed |" in shown[0]
    assert "| approvals |" not in shown[0], "it is what the form asks for"
    assert "approved so far by boris" in shown[1]


@pytest.mark.usefixtures("first", "home")
def test_one_who_declines_stops_it_with_the_reason(answering: Callable[..., list[str]]) -> None:
    answering({"by": "boris", "approve": False, "comment": "not on a Friday"})
    ran = promoted(1, policy=FOUR_EYES)
    assert not report_of(ran).moved
    assert "declined by boris: not on a Friday" in str(ran.state.message)
    assert history("tiny", alias="champion").aliases[0].records == ()


@pytest.mark.usefixtures("first", "home")
def test_nobody_is_asked_about_what_the_policy_refuses_anyway() -> None:
    ran = promoted(1, policy=FOUR_EYES.model_copy(update={"slo_p99_ms": {"cpu": 1e-6}}))
    assert "p99 on cpu: " in str(ran.state.message)


@pytest.mark.usefixtures("first", "home")
def test_a_release_does_not_move_an_alias_that_promotions_move(tiny_files: Path) -> None:
    promoted(1)
    spec = changed(tiny_spec(tiny_files), register={"name": "tiny", "alias": "champion"})
    ran = run(spec)
    assert "is moved by promotions alone" in str(ran.found)
