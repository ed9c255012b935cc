"""Other load is noticed; machines that tell less are no failure."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.benchmarking.conditions import (
    Clocks,
    cpu_model,
    frequency_mhz,
    is_noisy,
    read_ticks,
)

START = Clocks(cpu_s=0.0, involuntary_switches=0, steal_ticks=0, total_ticks=0)


def after(
    *,
    cpu_s: float = 1.0,
    switches: int = 0,
    steal: int | None = 0,
    total: int | None = 1000,
    busy: int | None = None,
) -> Clocks:
    return Clocks(
        cpu_s=cpu_s,
        involuntary_switches=switches,
        steal_ticks=steal,
        total_ticks=total,
        busy_ticks=busy,
    )


@pytest.mark.parametrize(
    ("end", "noisy"),
    [
        (after(), False),
        (after(cpu_s=2.0), False),
        (after(cpu_s=0.7), True),
        (after(switches=500), True),
        (after(steal=20), True),
        (after(steal=None, total=None), False),
    ],
)
def test_a_window_that_was_kept_waiting_is_noisy(end: Clocks, noisy: bool) -> None:
    assert is_noisy(START, end, running_s=1.0, wall_s=1.0, threads=1, waits=False) is noisy


def test_what_waits_by_nature_is_not_noisy_for_waiting() -> None:
    assert not is_noisy(START, after(cpu_s=0.7), running_s=1.0, wall_s=1.0, threads=2, waits=True)


def test_others_are_noise_where_they_run_on_what_the_queries_want() -> None:
    cores = os.cpu_count() or 1
    hertz = os.sysconf("SC_CLK_TCK")
    start = replace(START, busy_ticks=0)
    end = after(cpu_s=0.0, busy=int(0.5 * cores * hertz))
    assert end.others_percent_since(start, wall_s=1.0) == pytest.approx(50)
    assert is_noisy(start, end, running_s=0.0, wall_s=1.0, threads=cores, waits=True)
    quiet = after(cpu_s=0.5 * cores, busy=int(0.5 * cores * hertz))
    assert quiet.others_percent_since(start, wall_s=1.0) == 0
    assert not is_noisy(start, quiet, running_s=0.0, wall_s=1.0, threads=cores, waits=True)


def test_ticks_are_read_from_the_first_line(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 0 20 300 5 0 1 64 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    assert read_ticks(stat) == (64, 400, 31)


def test_a_system_without_steal_is_no_failure(tmp_path: Path) -> None:
    assert read_ticks(tmp_path / "absent") == (None, None, None)
    (tmp_path / "short").write_text("cpu 1 2 3\n")
    assert read_ticks(tmp_path / "short") == (None, None, None)


def test_the_frequency_is_the_cores_mean(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("cpu MHz\t\t: 2000.0\nmodel name\t: A\ncpu MHz\t\t: 3000.0\n")
    assert frequency_mhz(info) == 2500
    assert frequency_mhz(tmp_path / "absent") is None


def test_the_cpu_is_named(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A Fast One\nmodel name\t: Another\n")
    assert cpu_model(info) == "A Fast One"
    assert cpu_model(tmp_path / "absent")


def test_the_clocks_move() -> None:
    before = Clocks.read()
    total = sum(range(200_000))
    assert total
    assert Clocks.read().cpu_s > before.cpu_s
