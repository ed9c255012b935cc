"""The packages of the environment that makes a bundle, as a CycloneDX 1.6 document.

Written from the installed packages' own metadata. No time and no random number is in it: the same
environment gives the same bytes, so that the bundle's digest is that of its content.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_string
from importlib.metadata import distributions
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement

from slipway.artifacts import canonical_json
from slipway.packaging.provenance import package_url

_SPEC: Final = "1.6"
_SPACE: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562's, for URLs


@dataclass(frozen=True)
class _Package:
    """What is told of an installed package, read once: there are hundreds."""

    name: str
    version: str
    licence: str | None
    requires: tuple[str, ...]


def describe_environment(name: str, *, tools: Mapping[str, str]) -> bytes:
    """The document for a bundle.

    Args:
        name: The bundle's.
        tools: Versions that were recorded where the model was exported, which may be another
            environment: those that differ from the packages here are components as well.
    """
    installed = {found.name: found for found in _installed()}
    components = {
        package_url(plain, found.version): _component(plain, found.version, found.licence)
        for plain, found in sorted(installed.items())
    }
    for tool, version in sorted(tools.items()):
        reference = package_url(_normal(tool), version)
        components.setdefault(reference, _component(_normal(tool), version))
    bundle = {"type": "machine-learning-model", "bom-ref": "bundle", "name": name}
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": _SPEC,
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": bundle},
        "components": list(components.values()),
        "dependencies": list(_dependencies(installed)),
    }
    serial = uuid.uuid5(_SPACE, canonical_json(content).decode())
    return canonical_json({**content, "serialNumber": f"urn:uuid:{serial}"})


def _installed() -> Iterator[_Package]:
    """Each package once: the one that an import finds."""
    seen = set()
    for found in distributions():
        # The headers alone: a description is long, and parsing it costs more than all else here.
        text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
        headers = message_from_string(text.replace("\r\n", "\n").partition("\n\n")[0])
        name = _normal(headers["Name"] or "")
        if name and name not in seen:
            seen.add(name)
            yield _Package(
                name=name,
                version=headers["Version"] or "",
                licence=headers["License-Expression"],
                requires=tuple(headers.get_all("Requires-Dist") or ()),
            )


def _component(name: str, version: str, licence: str | None = None) -> dict[str, Any]:
    reference = package_url(name, version)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
    }
    if licence is not None:
        component["licenses"] = [{"expression": licence}]
    return component


def _dependencies(installed: Mapping[str, _Package]) -> Iterator[dict[str, Any]]:
    """Which installed package needs which, extras left out."""
    for name, found in sorted(installed.items()):
        needed = {
            package_url(other, installed[other].version)
            for text in found.requires
            if (other := _needed(text)) in installed
        }
        yield {"ref": package_url(name, found.version), "dependsOn": sorted(needed)}


def _needed(text: str) -> str:
    """The package that a requirement names, where it holds on this machine; else nothing."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:  # old packages have requirements of their own making
        return ""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return ""
    return _normal(requirement.name)


def _normal(name: str) -> str:
    """The name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()
