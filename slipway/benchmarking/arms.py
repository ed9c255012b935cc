"""What is measured side by side: a model under settings, on a provider."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slipway.benchmarking import placement
from slipway.benchmarking.inputs import BatchDimension, make_feeds
from slipway.providers import PROVIDERS
from slipway.providers.provider import Asked, Options
from slipway.providers.sessions import RECORD_ASSIGNMENT, Session
from slipway.reports import SessionSettings
from slipway.samples.arrays import Array, Arrays

Query = Callable[[], object]


@dataclass(frozen=True)
class Arm:
    """One model under one set of settings; `label` is its name among the others."""

    label: str
    model: Path
    provider: str
    settings: SessionSettings
    cache: Path
    options: Options
    precision: str = ""

    @property
    def provider_options(self) -> dict[str, str]:
        """The provider's options with the spec's on top.

        Raises:
            SpecError: for an option that the provider does not have.
        """
        return PROVIDERS[self.provider].settle(self._asked, self.options)

    @property
    def reported_options(self) -> dict[str, str]:
        """The same as they are reported: without a place of this machine."""
        return PROVIDERS[self.provider].portable(self._asked, self.options)

    @property
    def _asked(self) -> Asked:
        return Asked(
            precision=self.precision or self.label,
            threads=self.settings.intra_op_threads,
            cache=self.cache,
        )

    def open(self, *, record: bool = False, profile: Path | None = None) -> Session:
        """The session. `record` makes it remember which provider each node was assigned to."""
        entries = placement.session_entries(self.settings.intra_op_threads, placement.allotted())
        return Session(
            self.model,
            provider=self.provider,
            intra_op_threads=self.settings.intra_op_threads,
            execution_mode=self.settings.execution_mode,
            optimization=self.settings.graph_optimization,
            entries={**entries, **(RECORD_ASSIGNMENT if record else {})},
            provider_options=self.provider_options,
            profile=profile,
        )


def feeds_of(
    sessions: Mapping[str, Session], recorded: Arrays, *, batch: BatchDimension, size: int
) -> dict[str, Mapping[str, Array]]:
    """What each session is fed: the recorded inputs, repeated to the batch size."""
    return {
        label: make_feeds(session.inputs, recorded, batch=batch, size=size)
        for label, session in sessions.items()
    }


def bind_all(
    sessions: Mapping[str, Session], feeds: Mapping[str, Mapping[str, Array]]
) -> dict[str, Query]:
    """A query of every session on its inputs."""
    return {label: session.bind(feeds[label]) for label, session in sessions.items()}


@contextmanager
def pinned(arms: Sequence[Arm]) -> Iterator[None]:
    """Keep the calling thread on the first core while any arm's workers have the others."""
    with placement.caller_pinned(most_threads(arms), placement.allotted()):
        yield


def most_threads(arms: Sequence[Arm]) -> int:
    """The most threads that a query of any arm runs on."""
    return max(arm.settings.intra_op_threads for arm in arms)


def waits(arms: Sequence[Arm]) -> bool:
    """Whether a query waits by nature: for other threads, or for a device."""
    return any(
        arm.settings.intra_op_threads > 1 or PROVIDERS[arm.provider].device != "cpu" for arm in arms
    )
