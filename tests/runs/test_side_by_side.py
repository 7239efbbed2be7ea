"""Work on several items at a time is told in order of its happening, and ends when all have ended."""

import threading

from vqe_cli.runs.folder import Together, side_by_side
from vqe_cli.runs.report import Event, Listener, Notice, Progress


def test_as_many_at_a_time_as_asked_for_and_each_once() -> None:
    """Two must be at work for either to end."""
    meet = threading.Barrier(2, timeout=30)

    def work(item: str, listen: Listener) -> str:
        meet.wait()
        listen(Notice(item))
        return item.upper()

    told = list(side_by_side(work, ["a", "b", "c", "d"], count=2))
    for position, item in enumerate("abcd"):
        own = [what for at, what in told if at == position]
        assert own == [None, Notice(item), item.upper()]


def test_fewer_items_than_threads_and_none() -> None:
    assert list(side_by_side(lambda item, listen: item, ["a"], count=5)) == [(0, None), (0, "a")]
    assert list(side_by_side(lambda item, listen: item, [], count=5)) == []


def test_frames_of_all_files_are_added_up() -> None:
    heard: list[Event] = []
    together = Together(heard.append, frames=10)
    for position, frames in [(0, 1), (1, 1), (0, 2), (1, 3)]:
        together.hear(position, Progress(frames, 5))
    together.hear(1, Notice("careful"))
    assert heard == [*(Progress(done, 10) for done in (1, 2, 3, 5)), Notice("careful")]
