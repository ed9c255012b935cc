"""What a run costs is what the processor and the store say, children included."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from slipway.reporting.summary import cost_sentence
from slipway.reports import CacheReport, CostReport
from slipway.stages.costs import Meter, cpu_seconds
from slipway.stores import open_store

BUSY = "import time\nwhile time.process_time() < 0.5: pass\n"
LIMIT_S = 60.0


def test_a_child_that_has_ended_is_counted() -> None:
    meter = Meter()
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    cost = meter.read()
    assert cost.cpu_s >= 0.4
    assert cost.wall_s >= 0.4


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A child that has worked, and lives on."""
    code = f"{BUSY}print(flush=True)\ninput()\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.communicate(b"\n")


def test_a_child_that_lives_is_counted(busy: subprocess.Popen[bytes]) -> None:
    meter = Meter(cpu_s=0.0)
    assert meter.read().cpu_s >= cpu_seconds(busy.pid) >= 0.4


def test_a_process_that_is_gone_costs_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(LIMIT_S)
    assert cpu_seconds(child.pid) == 0.0


def test_time_is_counted_from_the_start_of_the_meter() -> None:
    first = Meter()
    time.sleep(0.1)
    second = Meter()
    assert first.read().wall_s - second.read().wall_s >= 0.1


def test_bytes_are_those_that_the_store_has_moved() -> None:
    meter = Meter()
    store = open_store("memory://")
    ref = store.put_bytes(b"x" * 1000, media_type="text/plain")
    store.put_bytes(b"x" * 1000, media_type="text/plain")
    store.read_bytes(ref.digest)
    store.read_bytes(ref.digest)
    cost = meter.read()
    assert (cost.written_bytes, cost.read_bytes) == (1000, 2000)


def test_the_sentence_says_all_of_it() -> None:
    cost = CostReport(wall_s=12.34, cpu_s=21.4, read_bytes=1 << 20, written_bytes=0)
    assert cost_sentence(cost, CacheReport(hits=8, misses=5)) == (
        "It took 21.4 CPU seconds in 12.3 s, moved 1.00 MiB out of the store and 0 B into it, and "
        "found 8 of 13 stages in the cache."
    )
