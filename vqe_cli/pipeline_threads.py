"""Threads with bounded queues, so that decoding, computing and encoding go on at the same time.

An error of a thread is raised once, in the thread that waits for it; whoever leaves early stops both threads.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

POLL_S = 0.1
# Decoded frames that wait for the networks, and enhanced ones that wait for the encoder.
READ_AHEAD = 16
WRITE_AHEAD = 16
T = TypeVar("T")


@dataclass
class Stopwatch:
    """Seconds that a thread worked, waiting for others left out."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class _End:
    pass


@contextmanager
def prefetched(source: Iterable[T], depth: int, clock: Stopwatch | None = None) -> Iterator[Iterator[T]]:
    """The items of `source`, made by a thread at most `depth` items ahead; clock: its working time.

    What `source` raises is raised where its item is taken. When the block is left, the thread has ended.
    """
    clock = clock or Stopwatch()
    items: queue.Queue[T | _Failed | _End] = queue.Queue(depth)
    stop = threading.Event()

    def produce() -> None:
        iterator = iter(source)
        while not stop.is_set():
            try:
                with clock.running():
                    item: T | _Failed | _End = next(iterator)
            except StopIteration:
                item = _End()
            except BaseException as error:
                item = _Failed(error)
            _put(items, item, stop)
            if isinstance(item, _End | _Failed):
                return

    thread = threading.Thread(target=produce, name="vqe-prefetch", daemon=True)
    thread.start()
    try:
        yield _drained(items)
    finally:
        stop.set()
        thread.join()


@contextmanager
def background(consume: Callable[[T], None], depth: int, clock: Stopwatch) -> Iterator[Callable[[T], None]]:
    """A function that hands items to a thread which gives them to `consume`; at most `depth` items wait.

    All items are consumed when the block is left, but when it is left by an exception those that wait are
    dropped. An error of `consume` is raised by the next call, or at the end of the block.
    """
    items: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        while not stop.is_set():
            try:
                item = items.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                return
            try:
                with clock.running():
                    consume(item)
            except BaseException as error:
                failures.append(error)
                stop.set()

    def put(item: T) -> None:
        _put(items, item, stop)
        if failures:
            raise failures[0]

    thread = threading.Thread(target=work, name="vqe-encode", daemon=True)
    thread.start()
    try:
        yield put
        _put(items, _End(), stop)
        thread.join()
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def _put(items: queue.Queue[T], item: T, stop: threading.Event) -> None:
    """Put an item as soon as there is room, unless `stop` is set."""
    while not stop.is_set():
        try:
            items.put(item, timeout=POLL_S)
            return
        except queue.Full:
            continue


def _drained(items: "queue.Queue[T | _Failed | _End]") -> Iterator[T]:
    while True:
        item = items.get()
        if isinstance(item, _End):
            return
        if isinstance(item, _Failed):
            raise item.error
        yield item
