"""The report as a browser shows it: no complaint, and a slider between before and after."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from browser import browser
from small_clips import clip, write

from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.report import Results
from vqe_cli.measure.result import Failure, Options, PairResult

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> & \"a\" 'b' \x1b[31m\x00\x07\u202e"


def measured(folder: Path, lq: bool = True) -> PairResult:
    """A video whose output has its left half changed."""
    truth = clip(2, width=320, height=160)
    changed = []
    for planes in truth:
        luma = planes[0].copy()
        luma[:, :160] = 255 - luma[:, :160]
        changed.append((luma, *planes[1:]))
    before, after = write(folder / "before.mkv", truth), write(folder / "after.mkv", changed)
    found = compare_pair(None if lq else before, after, before if lq else None, ["psnr"], Options(crops=1))
    return replace(found, name=HOSTILE, warnings=(f"{HOSTILE} is odd",))


def page(folder: Path, lq: bool = True) -> Path:
    path = folder / "report.html"
    outcomes = [measured(folder, lq), Failure(HOSTILE, VqeError(f"{HOSTILE} broke."))]
    Results(outcomes, ("psnr",), f"vqe eval {HOSTILE}").write(None, None, path)
    return path


def test_the_slider_moves_the_picture(tmp_path: Path) -> None:
    path = page(tmp_path)
    with browser(tmp_path / "profile") as shown:
        shown.open(path)
        assert shown.evaluate("document.querySelectorAll('.slider').length") == 1
        shown.evaluate("document.querySelector('.slider input').focus()")
        pictures = []
        for key in ("Home", "End"):  # all of the output, all of the input
            shown.press(key)
            pictures.append(shown.picture(".slider .sides").astype(int))
        positions = []
        for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
            shown.press(key)
            positions.append(shown.evaluate("document.querySelector('.slider input').value"))
        complaints = shown.complaints
    assert positions == ["99", "98", "99"]
    assert complaints == []
    width = pictures[0].shape[1]
    difference = np.abs(pictures[0] - pictures[1])
    assert difference[:, 20 : width // 2 - 20].mean() > 30  # where the output differs
    assert difference[:, width // 2 + 20 : -20].mean() < 1  # where it does not


def test_the_edge_follows_the_pointer(tmp_path: Path) -> None:
    path = page(tmp_path, lq=False)  # against the truth, without an input
    with browser(tmp_path / "profile") as shown:
        shown.open(path)
        left, top, width, height = shown.box(".slider .sides")
        y = top + height / 2
        shown.drag((left + width / 2, y), (left + width / 4, y))
        assert abs(float(shown.evaluate("document.querySelector('.slider input').value")) - 25) <= 1
        assert shown.complaints == []


def test_hostile_names_are_text(tmp_path: Path) -> None:
    path = page(tmp_path)
    with browser(tmp_path / "profile") as shown:
        shown.open(path)
        assert shown.evaluate("document.scripts.length") == 1
        assert shown.evaluate("document.querySelectorAll('img:not([src^=\"data:\"])').length") == 0
        text = shown.evaluate("document.body.textContent")
        assert shown.complaints == []
    assert text.count("<script>alert(1)</script><img src=x onerror=alert(2)> & \"a\" 'b' \\x1b[31m\\x00") >= 4
    assert not set("\x00\x07\x1b\u202e") & set(text)
