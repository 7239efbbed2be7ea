"""Listing frames takes time in proportion to their number, whatever the headers are."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DATA

from vqe_cli.bitstream.headers import Picture, Retention
from vqe_cli.bitstream.nal import START_CODE, is_slice
from vqe_cli.bitstream.order import in_display_order
from vqe_cli.bitstream.packets import PacketParser
from vqe_cli.bitstream.peaks import mark
from vqe_cli.cli.inspect import qp_curve
from vqe_cli.video.inspect import inspect

FEW, FOLD = 4_000, 4
UNREADABLE = bytes.fromhex("0000010201 80aaaaaaaa")


def seconds(work: Callable[[int], object], count: int) -> float:
    """The processor's time for the work, the best of three runs: other processes do not count."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work(count)
        best = min(best, time.process_time() - start)
    return best


def assert_linear(work: Callable[[int], object], few: int = FEW) -> None:
    """Four times the work takes about four times as long; a quadratic path takes sixteen."""
    assert seconds(work, FOLD * few) < 2 * FOLD * max(seconds(work, few), 0.002)


def opening() -> bytes:
    """Parameter sets and one readable picture."""
    whole = (DATA / "hevc" / "streams" / "hm_ra_qp37.bin").read_bytes()
    parts = whole.split(START_CODE)
    slices = [k for k, part in enumerate(parts) if k and is_slice(part[0] >> 1)]
    return START_CODE.join(parts[: slices[1]])


def hostile(path: Path, count: int) -> Path:
    """A readable picture and `count` headers behind it that cannot be read."""
    path.write_bytes(opening() + UNREADABLE * count)
    return path


@pytest.mark.parametrize("duplicates", [False, True])
def test_unreadable_headers_behind_a_picture(tmp_path: Path, duplicates: bool) -> None:
    def work(count: int) -> None:
        found = inspect(hostile(tmp_path / "hostile.hevc", count), duplicates=duplicates)
        assert len(found.frames) == count + 1
        assert {frame.qp for frame in found.frames[1:]} == {None}

    assert_linear(work)


@pytest.mark.slow
def test_a_million_nal_units_take_less_than_twenty_seconds(tmp_path: Path) -> None:
    path = hostile(tmp_path / "million.hevc", 1_000_000)
    start = time.process_time()
    assert len(inspect(path).frames) == 1_000_001
    assert time.process_time() - start < 20


def test_many_slices_of_one_picture() -> None:
    later = bytes.fromhex("0000010201 0000aaaaaa")

    def work(count: int) -> None:
        (first,) = PacketParser().parse(opening() + later * count)
        assert len(first.slice_qps) == count + 1

    assert_linear(work, 20_000)


def picture(index: int, retention: Retention | None) -> Picture:
    return Picture(index, 30, "P", False, 1, 0, 0, index, True, (30,), index, retention)


@pytest.mark.parametrize(
    "retention",
    [
        None,
        # Long-term pictures told by bits that all of them have.
        Retention(False, 0, 0, 15, (), tuple(range(16)), 16),
        # All wait: neither the number nor the time is bounded.
        Retention(False, 16, 2**32 - 2, 15, (), tuple(range(16)), 16),
    ],
)
def test_the_picture_buffer_is_bounded_whatever_headers_say(retention: Retention | None) -> None:
    known = Retention(False, 2, 0, 4, (), (), 16)

    def work(count: int) -> None:
        pictures = (picture(index, retention if index else known) for index in range(count))
        assert [each.poc for each in in_display_order(pictures)] == list(range(count))

    assert_linear(work)


@pytest.mark.parametrize("rule", ["prominent", "minima"])
@pytest.mark.parametrize(
    "qps",
    [[30, 32, 34, 33], [30, 30, 30, None], list(range(40)), [40, 39, 40, 38]],
    ids=["cascade", "flat", "ramp", "shallow"],
)
def test_peaks_and_the_curve(rule: str, qps: list[float | None]) -> None:
    def work(count: int) -> None:
        many = [qps[index % len(qps)] for index in range(count)]
        marks = mark(many, [False] * count, [index // 7 for index in range(count)], rule)
        marks = mark(many, [False] * count, [0] * count, rule)
        assert qp_curve(many, marks, 80)

    assert_linear(work, 10_000)


def test_the_second_pass_changes_nothing_of_what_headers_say() -> None:
    path = DATA / "hevc" / "streams" / "hm_ra_qp37.bin"
    once, twice = inspect(path, duplicates=False), inspect(path)
    assert [(frame.kind, frame.qp, frame.pqf) for frame in twice.frames] == [
        (frame.kind, frame.qp, frame.pqf) for frame in once.frames
    ]
