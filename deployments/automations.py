"""What the server does by itself: ends runs that died in silence, and tells the operators."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from deployments import notifications
from deployments.changes import Change, settle
from tasks.pages import REGRESSED

HEARTBEAT: Final = timedelta(seconds=30)
"""How often a run of ours says that it lives; `prefect.yaml` sets it, with the tag."""
SILENCE: Final = timedelta(minutes=10)
"""How long a run may be silent: more than three heartbeats of a client that keeps Prefect's default
(180 seconds), so that neither it nor one whose server was restarted looks dead while it lives."""
TAG: Final = "slipway"

_OURS: Final = ResourceSpecification.model_validate(
    {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
)
_A_RUN: Final = ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"})


def wanted(webhook: UUID | None) -> Iterator[AutomationCore]:
    """The automations, those that tell somebody only where there is a webhook."""
    yield crash_silent_runs(SILENCE)
    if webhook is not None:
        yield tell(
            webhook,
            name="slipway: tell of a regression",
            event=REGRESSED,
            text="'Regressed: ' ~ event.payload.model ~ ' ' ~ event.payload.version ~ ': ' ~ "
            "(event.payload.regressions | join('; ')) ~ ' (' ~ event.payload.cause ~ ')'",
        )
        yield tell(
            webhook,
            name="slipway: tell of a crash",
            event="prefect.flow-run.Crashed",
            text="'Crashed: ' ~ flow.name ~ ', run ' ~ flow_run.name ~ ' ' ~ (flow_run | ui_url)",
            related=_OURS,
        )


def crash_silent_runs(silence: timedelta) -> AutomationCore:
    """Mark a run Crashed that was alive and has said nothing for so long.

    Every event of a run is a sign of life, so one that was suspended, or has ended, is left alone.
    """
    return AutomationCore(
        name="slipway: end runs that died in silence",
        description=f"No sign of life from a run for {silence}: its machine or its worker is gone.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match=_A_RUN,
            match_related=_OURS,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"No sign of life for {silence}: its machine or its worker is gone.",
            )
        ],
    )


def tell(
    webhook: UUID, *, name: str, event: str, text: str, related: ResourceSpecification | None = None
) -> AutomationCore:
    """Call the webhook for each event.

    Args:
        webhook: The block with its address.
        name: The automation's name.
        event: The event.
        text: What to say: an expression of Jinja over the event.
        related: What else the event must concern.
    """
    return AutomationCore(
        name=name,
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={event},
            match_related=related or ResourceSpecification.model_validate({}),
            threshold=1,
        ),
        actions=[
            CallWebhook(
                block_document_id=webhook, payload=f'{{"text": {{{{ ({text}) | tojson }}}}}}'
            )
        ],
    )


def apply(client: SyncPrefectClient) -> dict[str, Change]:
    """Bring the server's automations to those wanted."""
    changes = {}
    for automation in wanted(_webhook(client)):
        named = client.read_automations_by_name(automation.name)
        changes[f"automation {automation.name}"] = settle(
            _fields(automation),
            _fields(named[0]) if named else None,
            make=lambda: client.create_automation(automation),  # noqa: B023 - called at once
            change=lambda: client.update_automation(named[0].id, automation),  # noqa: B023
        )
    return changes


def _webhook(client: SyncPrefectClient) -> UUID | None:
    try:
        return client.read_block_document_by_name(notifications.NAME, "webhook").id
    except ObjectNotFound:
        return None


def _fields(automation: AutomationCore) -> dict[str, Any]:
    core = AutomationCore.model_validate(automation.model_dump())
    fields = core.model_dump(mode="json", exclude={"owner_resource", "tags", "enabled"})
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Without the ids that the server gives, and with sets in one order."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k != "id"}
    if isinstance(value, list):
        return sorted(map(_plain, value), key=str)
    return value
