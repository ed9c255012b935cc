"""One name's versions and aliases as they were at a moment, and which names are possible."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.artifacts import Digest
from slipway.errors import RequestError, SourceNotFound
from slipway.reports import RegisteredVersion


@dataclass(frozen=True)
class RegistryView:
    """A registered model: its versions that carry a bundle's digest, and all its aliases.

    `url` is a template with `{version}`, or None where there is no page to show.
    """

    name: str
    versions: Mapping[int, Digest]
    aliases: Mapping[str, int]
    url: str | None = None

    def all(self) -> tuple[RegisteredVersion, ...]:
        """All versions, oldest first; a version with several aliases shows the first."""
        return tuple(self.version(number) for number in sorted(self.versions))

    def version(self, number: int, *, created: bool = False) -> RegisteredVersion:
        """One version."""
        mine = sorted(alias for alias, target in self.aliases.items() if target == number)
        return RegisteredVersion(
            name=self.name,
            version=number,
            bundle_digest=self.versions[number],
            alias=mine[0] if mine else None,
            url=self.url.format(version=number) if self.url else None,
            created=created,
        )

    def find(self, digest: str) -> RegisteredVersion | None:
        """The smallest version with this digest."""
        return next((v for v in self.all() if v.bundle_digest == digest), None)

    def resolve(self, alias: str) -> RegisteredVersion:
        """The version that an alias points to.

        Raises:
            SourceNotFound: when there is no such alias, or when its version is not a bundle's.
        """
        if alias not in self.aliases:
            known = ", ".join(sorted(self.aliases)) or "none"
            raise SourceNotFound(f"{self.name} has no alias {alias!r}; its aliases: {known}")
        number = self.aliases[alias]
        if number not in self.versions:
            raise SourceNotFound(
                f"{self.name}@{alias} is version {number}, which carries no bundle's digest; it "
                "was not registered by a release"
            )
        return self.version(number).model_copy(update={"alias": alias})


def check_name(name: str) -> str:
    """A name that a registry, a folder and an address can hold, or RequestError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}", name):
        raise RequestError(
            f"{name!r} cannot be a registered model's name: up to 120 letters, digits, '.', '_' "
            "and '-', the first a letter or a digit"
        )
    return name


def check_alias(alias: str) -> str:
    """An alias that MLflow can hold, or RequestError."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,120}", alias):
        raise RequestError(f"{alias!r} cannot be an alias: up to 120 letters, digits, '_' and '-'")
    if alias.lower() == "latest" or re.fullmatch(r"[vV][0-9]+", alias):
        raise RequestError(f"{alias!r} is reserved by MLflow; choose another alias")
    return alias
