"""What a run says while it goes on, with a terminal and without."""

import io

import pytest
from rich.console import Console

from vqe_cli.cli import display
from vqe_cli.runs.report import Notice, Progress, Summary

PLAN = Summary("best", "CPU", "bf16", 16, 10, ((0, 0), (256, 32)), 8, 100, (480, 272), (960, 544))


def test_the_plan_names_the_sizes_that_were_chosen() -> None:
    assert display.plan_line(PLAN) == (
        "best on CPU in bf16: 480x272 to 960x544, chunks of 16 frames with 10 on each side, "
        "whole pictures, then tiles of 256 (overlap 32), 8 turns"
    )


def test_a_line_of_progress_tells_speed_and_time_left() -> None:
    assert display.progress_line(Progress(20, 100), seconds=10) == "20 of 100 frames, 2.0 fps, 0:40 left"
    assert display.progress_line(Progress(600, 1300), seconds=60) == "600 of 1300 frames, 10.0 fps, 1:10 left"
    assert display.progress_line(Progress(20, None), seconds=10) == "20 frames, 2.0 fps"
    assert display.progress_line(Progress(105, 100), seconds=10) == "105 of 100 frames, 10.5 fps, 0:00 left"


def test_plain_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(0, 1000, 4))
    with display.Display(clock=lambda: float(next(seconds))) as shown:
        shown.listen(PLAN)
        for frames in range(1, 7):
            shown.listen(Progress(frames, 100))
        shown.listen(Notice("in.mkv: 2 pictures are damaged"))
    out, err = capsys.readouterr()
    assert out == ""
    first, *progress, last = err.splitlines()
    assert first.startswith("best on CPU") and last == "warning: in.mkv: 2 pictures are damaged"
    assert [line.split(",")[0] for line in progress] == ["3 of 100 frames", "6 of 100 frames"]


def test_quiet_leaves_only_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with display.Display(quiet=True) as shown:
        shown.listen(PLAN)
        shown.listen(Progress(1, 2))
        shown.listen(Notice("careful"))
    assert capsys.readouterr() == ("", "warning: careful\n")


def test_the_time_is_told_after_the_first_chunk_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    """40 frames were there already: 16 more in 8 seconds, 44 are left."""
    now = [0.0]
    with display.Display(clock=lambda: now[0]) as shown:
        shown.listen(PLAN)
        for frames in range(41, 60):
            now[0] += 0.5
            shown.listen(Progress(frames, 100))
    told = [line for line in capsys.readouterr().err.splitlines() if "first chunk" in line]
    assert told == ["after the first chunk: 56 of 100 frames, 2.0 fps, 0:22 left"]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown_to = io.StringIO()
    console = Console(file=shown_to, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    monkeypatch.setattr(display, "messages", lambda: console)
    with display.Display() as shown:
        shown.listen(PLAN)
        shown.listen(Progress(20, 100))
        shown.listen(Notice("careful"))
    assert "20/100 frames" in shown_to.getvalue() and "careful" in shown_to.getvalue()
