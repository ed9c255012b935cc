"""A registry in this process's memory: for tests, demonstrations and short-lived runs."""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from slipway.artifacts import Digest
from slipway.errors import SourceNotFound
from slipway.protocols import Registration, VersionAbout
from slipway.registries.views import RegistryView, check_alias, check_name
from slipway.reports import RegisteredVersion, SeriesPoint


@dataclass
class _Model:
    versions: dict[int, Digest] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    series: defaultdict[str, list[SeriesPoint]] = field(default_factory=lambda: defaultdict(list))
    about: dict[int, VersionAbout] = field(default_factory=dict)


_LOCK = threading.Lock()
_SHARED: defaultdict[str, defaultdict[str, _Model]] = defaultdict(lambda: defaultdict(_Model))


class MemoryRegistry:
    """A registry that lives as long as the process.

    Registries of one name are the same, so that `memory://NAME` means the same to all tasks of a
    process; without a name it is private.
    """

    def __init__(self, name: str = "") -> None:
        self.uri = f"memory://{name}"
        with _LOCK:
            self._models = _SHARED[name] if name else defaultdict(_Model)

    def register(self, registration: Registration) -> RegisteredVersion:
        """Make or find the version, then set the alias."""
        name = check_name(registration.name)
        alias = check_alias(registration.alias) if registration.alias else None
        with _LOCK:
            versions = self._models[name].versions
            found = self._view(name).find(registration.bundle_digest)
            number = found.version if found else max(versions, default=0) + 1
            versions[number] = registration.bundle_digest
            self._models[name].about.setdefault(
                number,
                VersionAbout(
                    registered_s=time.time(),
                    tags=registration.tags,
                    description=registration.description,
                ),
            )
            if alias:
                self._models[name].aliases[alias] = number
            version = self._view(name).version(number, created=found is None)
        return version.model_copy(update={"alias": alias}) if alias else version

    def find(self, name: str, bundle_digest: str) -> RegisteredVersion | None:
        """The smallest version with this digest."""
        with _LOCK:
            return self._view(check_name(name)).find(bundle_digest)

    def resolve(self, name: str, alias: str) -> RegisteredVersion:
        """The version that an alias points to."""
        with _LOCK:
            return self._view(check_name(name)).resolve(check_alias(alias))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        with _LOCK:
            if version not in self._view(check_name(name)).versions:
                raise SourceNotFound(f"{self.uri} has no version {version} of {name}")
            self._models[name].aliases[check_alias(alias)] = version

    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        """All versions, oldest first."""
        with _LOCK:
            return self._view(check_name(name)).all()

    def names(self) -> tuple[str, ...]:
        """All names with a version, in order."""
        with _LOCK:
            return tuple(sorted(name for name, model in self._models.items() if model.versions))

    def record(self, name: str, series: str, point: SeriesPoint) -> None:
        """Add a point to a series."""
        with _LOCK:
            self._models[check_name(name)].series[series].append(point)

    def recorded(self, name: str, series: str) -> tuple[SeriesPoint, ...]:
        """The points of a series, oldest first."""
        with _LOCK:
            points = self._models.get(check_name(name), _Model()).series[series]
            return tuple(sorted(points, key=lambda point: point.at_s))

    def aliases(self, name: str) -> Mapping[str, int]:
        """All aliases."""
        with _LOCK:
            return dict(self._view(check_name(name)).aliases)

    def about(self, name: str, version: int) -> VersionAbout:
        """When a version was made, its tags and its description."""
        with _LOCK:
            return self._about(name, version)

    def annotate(
        self, name: str, version: int, *, tags: Mapping[str, str], description: str | None = None
    ) -> None:
        """Set tags, and the description where one is given."""
        with _LOCK:
            found = self._about(name, version)
            self._models[name].about[version] = VersionAbout(
                registered_s=found.registered_s,
                tags={**found.tags, **tags},
                description=found.description if description is None else description,
            )

    def _about(self, name: str, version: int) -> VersionAbout:
        model = self._models.get(check_name(name), _Model())
        if version not in model.about:
            raise SourceNotFound(f"{self.uri} has no version {version} of {name}")
        return model.about[version]

    def _view(self, name: str) -> RegistryView:
        model = self._models.get(name, _Model())
        return RegistryView(name, model.versions, model.aliases)
