"""Where things are on this machine: environment variables that start with SLIPWAY_.

What is asked of a model belongs in the spec, never here.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from slipway.errors import RequestError

_PYTHON = "SLIPWAY_PYTHON_"


def _pythons() -> dict[str, Path]:
    return {
        name.removeprefix(_PYTHON).lower(): Path(value).expanduser()
        for name, value in os.environ.items()
        if name.startswith(_PYTHON) and value
    }


class Settings(BaseSettings):
    """Read from the environment each time it is made; nothing is cached between makings.

    Raises:
        RequestError: naming the variable whose value is wrong.
    """

    model_config = SettingsConfigDict(env_prefix="SLIPWAY_", frozen=True, extra="ignore")

    home: Path = Field(
        default=Path("~/.slipway"),
        description="Folder for everything that has no other place configured.",
    )
    store: str | None = Field(
        default=None,
        description="Address of the store: a folder, s3://BUCKET/PREFIX or memory://; HOME/store "
        "if empty.",
    )
    registry: str | None = Field(
        default=None,
        description="Address of the registry: an MLflow tracking URI, or memory://; SQLite at "
        "HOME/mlflow.db if empty.",
    )
    s3_endpoint_url: str | None = Field(
        default=None,
        description="Address of an S3 server other than Amazon's; AWS_ENDPOINT_URL_S3 or "
        "AWS_ENDPOINT_URL if empty. Keys come from the standard AWS_* environment alone.",
    )
    s3_region: str | None = Field(
        default=None, description="S3's region; AWS_REGION or AWS_DEFAULT_REGION if empty."
    )
    s3_encryption: str | None = Field(
        default=None,
        description="How S3 encrypts what the store writes, AES256 or aws:kms; the bucket's own "
        "rule if empty.",
    )
    s3_kms_key_id: str | None = Field(
        default=None, description="The key that aws:kms encrypts with; the account's if empty."
    )
    s3_acl: str | None = Field(
        default=None,
        description="Canned ACL of what the store writes, such as bucket-owner-full-control.",
    )
    signing_key: Path | None = Field(
        default=None,
        description="PEM file of the elliptic-curve private key that signs what is sealed here; "
        "nothing is signed if empty.",
    )
    signing_certificate: Path | None = Field(
        default=None,
        description="PEM file of that key's certificate, and behind it those between it and the "
        "authority.",
    )
    verify_key: Path | None = Field(
        default=None,
        description="PEM file of the public key that bundles must be signed with; signatures are "
        "not checked if this and VERIFY_CA are empty.",
    )
    verify_ca: Path | None = Field(
        default=None,
        description="PEM file of the certificate authority that the signing certificate must be "
        "of.",
    )
    pythons: dict[str, Path] = Field(
        default_factory=_pythons,
        description="Interpreters by framework, each with an environment of its own: "
        "SLIPWAY_PYTHON_TENSORFLOW=/path/to/python and so on.",
    )
    host: str | None = Field(
        default=None,
        description="Name of this machine, under which benchmarks on it wait for each other; its "
        "host name if empty. Containers that share a machine need the same one.",
    )
    package_index: str = Field(
        default="https://pypi.org/pypi",
        description="Where a nightly regression asks whether the tools in use are yanked or known "
        "to be vulnerable: NAME/VERSION/json is added.",
    )
    timeout_s: float = Field(
        default=1800.0, gt=0, description="Wall-clock limit of one isolated stage."
    )
    memory_limit_bytes: int | None = Field(
        default=None, gt=0, description="Memory limit of one isolated stage; 85 % of RAM if empty."
    )

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - as pydantic declares it
        try:
            super().__init__(**values)
        except ValidationError as error:
            mistakes = [
                f"SLIPWAY_{'.'.join(map(str, mistake['loc'])).upper()}: {mistake['msg']} "
                f"(got {mistake['input']!r})"
                for mistake in error.errors()
            ]
            raise RequestError("\n".join(mistakes)) from error

    @cached_property
    def root(self) -> Path:
        """The absolute home folder."""
        return self.home.expanduser().resolve()

    @property
    def store_uri(self) -> str:
        """The store's address, with the default filled in."""
        return self.store or str(self.root / "store")

    @property
    def registry_uri(self) -> str:
        """The registry's address, with the default filled in."""
        return self.registry or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def results(self) -> Path:
        """Folder of cached task results (JSON)."""
        return self.root / "results"

    @property
    def bundles(self) -> Path:
        """Folder of unpacked bundles."""
        return self.root / "bundles"
