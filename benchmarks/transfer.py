"""What the S3 store costs beside bare boto3, against a real server on this machine.

    python benchmarks/transfer.py --size-mb 1000

Starts infra/s3/ceph.sh, and sends and fetches one file of random bytes in processes of their own:

- bare: boto3's `upload_file` and `download_file`, with SHA-256 of the file before sending and after
  fetching, as any careful script does;
- slipway: `S3Store.put_file` and `S3Store.fetch_file`;
- again: `S3Store.put_file` of what is there already;
- register: beside the bytes, what it takes to make a version in MLflow on SQLite, of four variants
  with forty numbers each, MLflow imported and its tables made; `imported` is that.

Wall-clock seconds, CPU seconds and peak resident memory of each client; the best of several rounds,
taken by turns. The server is on the same cores, so only ratios mean something.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "infra" / "s3" / "ceph.sh"
SPEED, MEMORY_MB, REGISTER_S = 0.8, 200, 2.0

CLIENT = r"""
import hashlib, json, os, resource, sys, time
from pathlib import Path
what, path, key = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
out = path.with_name("fetched")
out.unlink(missing_ok=True)
def sha(path):
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
if what.startswith("bare"):
    import boto3
    client = boto3.client("s3")
else:
    from slipway.stores import open_store
    store = open_store("s3://bench/store")
    store.contains("sha256:" + "0" * 64)  # the client is made
started, used = time.perf_counter(), time.process_time()
if what == "bare up":
    digest = sha(path)
    client.upload_file(str(path), "bench", key)
elif what == "bare down":
    client.download_file("bench", key, str(out))
    digest = sha(out)
elif what == "slipway down":
    digest = key
    store.fetch_file(key, out)
else:
    digest = store.put_file(path, media_type="application/octet-stream").digest
print(json.dumps({
    "wall": time.perf_counter() - started,
    "cpu": time.process_time() - used,
    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "digest": digest,
}))
out.unlink(missing_ok=True)
"""


REGISTER = r"""
import json, sys, time
from pathlib import Path
from slipway.protocols import Measurement, Registration, VariantRecord
from slipway.registries import open_registry
folder, number = Path(sys.argv[1]), int(sys.argv[2])
bundle = folder / "bundle"
bundle.mkdir(exist_ok=True)
(bundle / "MLmodel").write_text("flavors: {}")
(bundle / "report.html").write_text("<p>" + "x" * 200_000)
registry = open_registry(f"sqlite:///{folder / 'mlflow.db'}")
started = time.perf_counter()
registry.names() or registry._ask("nobody")
imported = time.perf_counter() - started
metrics = tuple(Measurement(name=f"cpu/m{i}", value=i, step=s) for i in range(10) for s in range(4))
variants = ("fp32", "fp16", "int8-dynamic", "int8-static")
started = time.perf_counter()
registry.register(Registration(
    name="bench", bundle=bundle, bundle_digest="sha256:" + f"{number:064x}", bundle_uri="s3://x",
    alias="challenger", params={f"p{i}": str(i) for i in range(12)}, metrics=metrics,
    variants=tuple(VariantRecord(name=v, params={"a": "b"}, metrics=metrics) for v in variants),
    evidence=(bundle / "report.html",),
    plots={f"{i}.svg": "<svg/>" for i in range(5)},
))
print(json.dumps({"register": time.perf_counter() - started, "imported": imported}))
"""


def main() -> None:
    """Measure, print a table; exit with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = _serve("start", folder)
        try:
            _make_bucket(environment)
            best = _measure(folder, environment, asked.size_mb, asked.rounds)
            registering = [_register(folder, number) for number in range(asked.rounds)]
        finally:
            _serve("stop", folder)
    _report(best, asked.size_mb, min(registering, key=lambda found: found["register"]))


def _serve(command: str, folder: Path) -> dict[str, str]:
    """Start or stop the server; what its users need in their environment."""
    ran = subprocess.run(
        ["bash", str(SERVER), command, str(folder / "server")],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(ran.stderr)
    words = (word for line in ran.stdout.splitlines() for word in line.split()[1:])
    return os.environ | dict(word.split("=", 1) for word in words)


def _make_bucket(environment: dict[str, str]) -> None:
    code = "import boto3; boto3.client('s3').create_bucket(Bucket='bench')"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def _measure(
    folder: Path, environment: dict[str, str], size_mb: int, rounds: int
) -> dict[str, dict[str, float]]:
    best: dict[str, dict[str, float]] = {}
    path = folder / "weights"
    for number in range(rounds):
        with path.open("wb") as file:
            for _ in range(size_mb):
                file.write(os.urandom(1_000_000))
        digest = ""
        for what in ("bare up", "slipway up", "again", "bare down", "slipway down"):
            key = digest if what == "slipway down" else f"bare-{number}"
            ran = subprocess.run(
                [sys.executable, "-c", CLIENT, what, str(path), key],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if ran.returncode:
                sys.exit(f"{what} failed:\n{ran.stderr[-3000:]}")
            found = json.loads(ran.stdout)
            digest = found.pop("digest")
            kept = best.setdefault(what, found)
            if found["wall"] < kept["wall"]:
                best[what] = found
        _forget(environment, f"bare-{number}", digest)
    return best


def _register(folder: Path, number: int) -> dict[str, float]:
    """Seconds that a new version takes in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", REGISTER, str(folder), str(number)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(f"register failed:\n{ran.stderr[-3000:]}")
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def _forget(environment: dict[str, str], key: str, digest: str) -> None:
    """Free the server's memory for the next round."""
    code = (
        "import boto3; from slipway.stores import open_store; "
        f"boto3.client('s3').delete_object(Bucket='bench', Key={key!r}); "
        f"open_store('s3://bench/store').delete({digest!r})"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def _report(best: dict[str, dict[str, float]], size_mb: int, registering: dict[str, float]) -> None:
    print(f"{size_mb} MB            wall s   MB/s   CPU s   peak MB")
    for what, found in best.items():
        speed = size_mb / found["wall"]
        print(
            f"{what:14s}{found['wall']:10.2f}{speed:7.0f}{found['cpu']:8.2f}{found['memory']:10.0f}"
        )
    up = best["bare up"]["wall"] / best["slipway up"]["wall"]
    down = best["bare down"]["wall"] / best["slipway down"]["wall"]
    memory = max(best[what]["memory"] for what in ("slipway up", "slipway down"))
    print(f"speed to bare boto3: up {up:.2f}, down {down:.2f} (at least {SPEED})")
    print(f"peak memory {memory:.0f} MB (under {MEMORY_MB})")
    took = registering["register"]
    print(
        f"registering {took:.2f} s beside the bytes (under {REGISTER_S:g}), after "
        f"{registering['imported']:.2f} s for importing MLflow and opening its database"
    )
    kept = min(up, down) >= SPEED and memory < MEMORY_MB and took < REGISTER_S
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
