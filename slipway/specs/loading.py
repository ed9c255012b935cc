"""Reading a spec or a policy from YAML, and standing relative paths on a folder."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from slipway.errors import SourceNotFound, SpecError
from slipway.specs.addresses import resolve_address
from slipway.specs.mistakes import explain
from slipway.specs.promoting import PolicySpec
from slipway.specs.regression import RegressionSpec, checked_request
from slipway.specs.release import ReleaseSpec

PATH_FIELDS = (
    ("source", "uri"),
    ("data", "golden"),
    ("data", "calibration"),
    ("data", "evaluation"),
)


class _SpecLoader(yaml.SafeLoader):
    """Plain YAML, in which a key that is there twice is an error and not the last one's."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: ANN401 - yaml's node
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1 and key != "<<"), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def load_spec(path: Path) -> ReleaseSpec:
    """Read a YAML spec; relative paths in it are resolved against its folder.

    Raises:
        SourceNotFound: when there is no such file.
        SpecError: when it is no YAML or breaks the schema.
    """
    raw = _read_yaml(path, "spec")
    if isinstance(raw, dict) and isinstance(raw.get("precisions"), dict):
        # In YAML, `fp16:` with nothing behind it is an entry; in JSON, null is none.
        raw["precisions"] = {k: {} if v is None else v for k, v in raw["precisions"].items()}
    spec = ReleaseSpec.from_mapping(raw, where=str(path))
    return resolve_paths(spec, path.resolve().parent, where=str(path))


def load_policy(path: Path) -> PolicySpec:
    """Read a promotion policy: a file of its own, or the `promotion:` of a spec.

    Raises:
        SourceNotFound: when there is no such file.
        SpecError: when it is no YAML or breaks the schema.
    """
    raw = _read_yaml(path, "policy")
    inside = isinstance(raw, dict) and "promotion" in raw
    found = raw["promotion"] if inside else raw
    try:
        return PolicySpec.model_validate({} if found is None else found)
    except ValidationError as error:
        where = f"{path}: promotion" if inside else str(path)
        raise SpecError(f"{where}: " + "\n".join(explain(error, PolicySpec))) from error


def load_regression(path: Path) -> RegressionSpec:
    """Read a request for a regression; relative paths in it start at its folder.

    Raises:
        SourceNotFound: when there is no such file.
        SpecError: when it is no YAML or breaks the schema.
    """
    raw = _read_yaml(path, "request")
    request = checked_request({} if raw is None else raw, where=str(path))
    folder = path.resolve().parent
    return request.model_copy(update={"specs": tuple(str(folder / file) for file in request.specs)})


def _read_yaml(path: Path, what: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SourceNotFound(f"no {what} at {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read as text: {error}") from error
    try:
        raw = yaml.load(text, Loader=_SpecLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {error}") from error
    return raw


def resolve_paths(spec: ReleaseSpec, folder: Path, *, where: str = "spec") -> ReleaseSpec:
    """A copy of the spec whose relative paths stand on a folder.

    Raises:
        SpecError: when two paths that must differ turn out to be one.
    """
    raw = spec.model_dump(exclude_unset=True)
    for section, field in PATH_FIELDS:
        if raw.get(section, {}).get(field):
            raw[section][field] = resolve_address(raw[section][field], folder)
    if raw["source"].get("factory"):
        file, _, name = raw["source"]["factory"].rpartition(":")
        if file.endswith(".py"):
            raw["source"]["factory"] = f"{resolve_address(file, folder)}:{name}"
    if raw.get("assets"):
        raw["assets"] = [resolve_address(asset, folder) for asset in raw["assets"]]
    return ReleaseSpec.from_mapping(raw, where=where)
