"""S3: a one-node Ceph whose data stay on disk, with a bucket for releases and one for MLflow."""

import os
import subprocess

from infra.topology.buckets import make_buckets
from infra.topology.failures import TopologyError
from infra.topology.programs import MARK
from infra.topology.site import HOST, ROOT, Site

NAME = "s3"
PROCESSES = ("mon", "osd", "rgw")
_SCRIPT = ROOT / "infra/s3/ceph.sh"


def up(site: Site) -> None:
    """Start the server, and make the buckets that are missing."""
    if _run(site, "status").count(" up ") < len(PROCESSES):
        _run(site, "start")
    make_buckets(
        site.url(NAME),
        access_key=site.secret("s3-access-key"),
        secret_key=site.secret("s3-secret-key"),
    )


def down(site: Site) -> bool:
    """End the server and keep its data; gives whether it ran."""
    ran = " up " in _run(site, "status")
    _run(site, "stop")
    return ran


def status(site: Site) -> str:
    """A line for each of its processes."""
    return _run(site, "status").strip()


def environment(site: Site) -> dict[str, str]:
    """What a program needs to use the server."""
    return {
        "AWS_ENDPOINT_URL_S3": site.url(NAME),
        "MLFLOW_S3_ENDPOINT_URL": site.url(NAME),
        "AWS_ACCESS_KEY_ID": site.secret("s3-access-key"),
        "AWS_SECRET_ACCESS_KEY": site.secret("s3-secret-key"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _run(site: Site, command: str) -> str:
    ran = subprocess.run(
        ["bash", str(_SCRIPT), command, str(site.data(NAME))],
        env={
            "PATH": os.environ["PATH"],
            "KEEP": "1",
            "STORE": "bluestore",
            "PORT": str(site.port(NAME)),
            "BASE": str(site.port("s3-internal")),
            "AK": site.secret("s3-access-key"),
            "SK": site.secret("s3-secret-key"),
            MARK: str(site.folder),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise TopologyError(f"the S3 server at {HOST} did not {command}: {ran.stderr[-2000:]}")
    return ran.stdout
