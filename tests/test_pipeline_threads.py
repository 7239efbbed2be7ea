"""Threads between the parts: order kept, queues bounded, errors raised once, nothing left running."""

import threading
import time

import pytest

from vqe_cli.pipeline_threads import Stopwatch, background, prefetched


def no_threads_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("vqe-")]


def test_everything_in_order() -> None:
    got: list[int] = []
    with prefetched(range(100), 3, Stopwatch()) as items, background(got.append, 3, Stopwatch()) as put:
        for item in items:
            put(item)
    assert got == list(range(100))
    assert no_threads_left()


def test_queues_are_bounded() -> None:
    made: list[int] = []
    source = (made.append(i) or i for i in range(100))
    with prefetched(source, 4, Stopwatch()) as items:
        assert next(items) == 0
        time.sleep(0.3)
        assert len(made) <= 6  # taken, four that wait, one in put
    assert no_threads_left()


def test_error_of_the_source_comes_after_the_items_before_it() -> None:
    def source():
        yield 1
        raise ValueError("broken input")

    with prefetched(source(), 4, Stopwatch()) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="broken input"):
            next(items)
    assert no_threads_left()


def test_error_of_the_consumer_is_raised_once() -> None:
    calls: list[int] = []

    def consume(item: int) -> None:
        calls.append(item)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), background(consume, 2, Stopwatch()) as put:
        for item in range(1000):
            put(item)
    assert calls == [0]
    assert no_threads_left()


def test_error_on_the_last_item() -> None:
    def consume(item: int) -> None:
        time.sleep(0.05)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), background(consume, 2, Stopwatch()) as put:
        put(1)
    assert no_threads_left()


def test_leaving_early_stops_both_threads() -> None:
    got: list[int] = []

    def slow(item: int) -> None:
        time.sleep(0.02)
        got.append(item)

    with (
        pytest.raises(KeyboardInterrupt),
        prefetched(range(10**9), 4, Stopwatch()) as items,
        background(slow, 50, Stopwatch()) as put,
    ):
        for item in items:
            put(item)
            if item == 20:
                raise KeyboardInterrupt
    assert len(got) < 20  # what waited was dropped
    assert no_threads_left()


def test_clock_counts_work_and_not_waiting() -> None:
    clock = Stopwatch()
    with background(lambda item: time.sleep(0.05), 1, clock) as put:
        put(1)
        time.sleep(0.3)
        put(2)
    assert 0.09 < clock.seconds < 0.25
