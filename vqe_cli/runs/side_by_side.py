"""Several files at a time, where there are several workers: threads wait for them and pass events on."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from vqe_cli.runs.report import Event, Listener, Progress, Summary

T = TypeVar("T")
U = TypeVar("U")


def side_by_side(
    work: Callable[[T, Listener], U], items: Sequence[T], count: int
) -> Iterator[tuple[int, Event | U | None]]:
    """`work` on all items, `count` at a time: (position, None) when one begins, (position, event) of what it
    tells, (position, result) when it has ended.

    Whoever leaves early waits for nothing: the threads end with the program. `work` raises nothing.
    """
    events: queue.SimpleQueue[tuple[int, Event | U | None, bool]] = queue.SimpleQueue()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for position in range(len(items)):
        waiting.put(position)

    def teller(position: int) -> Listener:
        return lambda event: events.put((position, event, False))

    def run() -> None:
        while True:
            try:
                position = waiting.get_nowait()
            except queue.Empty:
                return
            events.put((position, None, False))
            events.put((position, work(items[position], teller(position)), True))

    for _ in range(min(count, len(items))):
        threading.Thread(target=run, name="vqe-file", daemon=True).start()
    left = len(items)
    while left:
        position, what, ended = events.get()
        left -= ended
        yield position, what


class Together:
    """The events of several files as those of one: frames are added up."""

    def __init__(self, listen: Listener, frames: int | None) -> None:
        self._listen, self._frames = listen, frames
        self._done: dict[int, int] = {}
        self._planned = False

    def hear(self, position: int, event: Event) -> None:
        """Passes on an event of the file at `position`; of all plans the first stands for the others."""
        if isinstance(event, Progress):
            self._done[position] = event.frames
            self._listen(Progress(sum(self._done.values()), self._frames))
        elif not isinstance(event, Summary):
            self._listen(event)
        elif not self._planned:
            self._planned = True
            self._listen(replace(event, frames=self._frames))
