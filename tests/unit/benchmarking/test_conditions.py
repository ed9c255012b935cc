"""Other load is noticed; machines that tell less are no failure."""

from pathlib import Path

import pytest

from slipway.benchmarking.conditions import Clocks, cpu_model, is_noisy, read_steal

START = Clocks(cpu_s=0.0, involuntary_switches=0, steal_ticks=0, total_ticks=0)


def after(
    *, cpu_s: float = 1.0, switches: int = 0, steal: int | None = 0, total: int | None = 1000
) -> Clocks:
    return Clocks(cpu_s=cpu_s, involuntary_switches=switches, steal_ticks=steal, total_ticks=total)


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
    assert is_noisy(START, end, running_s=1.0, threads=1) is noisy


def test_threads_that_wait_for_each_other_are_no_noise() -> None:
    assert not is_noisy(START, after(cpu_s=0.7), running_s=1.0, threads=2)


def test_steal_is_read_from_the_first_line(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 0 20 300 5 0 1 64 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    assert read_steal(stat) == (64, 400)


def test_a_system_without_steal_is_no_failure(tmp_path: Path) -> None:
    assert read_steal(tmp_path / "absent") == (None, None)
    (tmp_path / "short").write_text("cpu 1 2 3\n")
    assert read_steal(tmp_path / "short") == (None, None)


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
