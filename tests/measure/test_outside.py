"""VMAF by a program that the user has; where there is none, by a script that checks what it is given."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from small_clips import BT709, clip, frame

from vqe_cli.errors import VqeError
from vqe_cli.measure import outside
from vqe_cli.measure.pictures import PairView, View
from vqe_cli.video.frame import Colour

# Reads the two y4m files as the vmaf program would and gives the mean absolute luma difference as "vmaf".
STAND_IN = """#!{python}
import json, re, sys
names = [sys.argv[sys.argv.index(flag) + 1] for flag in ("--reference", "--distorted", "--output")]
def frames(name):
    head, _, data = open(name, "rb").read().partition(b"\\n")
    width, height = (int(re.search(rb" %s(\\d+)" % key, head)[1]) for key in (b"W", b"H"))
    bytes_a_sample = 2 if b"p10" in head else 1
    luma = width * height * bytes_a_sample
    size = luma + 2 * ((width + 1) // 2) * ((height + 1) // 2) * bytes_a_sample
    while data:
        mark, _, data = data.partition(b"\\n")
        assert mark == b"FRAME", mark
        yield data[:luma:bytes_a_sample]
        data = data[size:]
rows = []
for gt, pred in zip(frames(names[0]), frames(names[1]), strict=True):
    rows.append(dict(metrics=dict(vmaf=sum(abs(a - b) for a, b in zip(gt, pred)) / len(gt))))
{fault}
json.dump(dict(frames=rows), open(names[2], "w"))
"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str = "") -> None:
    program = folder / "vmaf"
    program.write_text(STAND_IN.format(python=sys.executable, fault=fault))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    outside.find_program.cache_clear()


@pytest.fixture(autouse=True)
def _forget_programs():
    yield
    outside.find_program.cache_clear()


def pairs(count: int, height: int = 48, width: int = 64) -> list[PairView]:
    sides = zip(clip(count, 0, width, height), clip(count, 5, width, height), strict=True)
    return [PairView(View(frame(gt), BT709), View(frame(pred), BT709)) for gt, pred in sides]


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_pictures_reach_the_program_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    stand_in(tmp_path, monkeypatch)
    metric = outside.VmafMetric(rate=29.97)
    given = pairs(4, *size)
    for pair in given:
        metric.push(pair)
    expected = [np.abs(p.gt.planes[0].astype(int) - p.pred.planes[0]).mean() for p in given]
    assert metric.close() == pytest.approx(expected)


def test_ten_bits_reach_it_as_ten_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch)
    colour = Colour("gray", False, 10, (1, 1))
    gt, pred = (View(frame((np.full((32, 32), code, np.uint16),)), colour) for code in (600, 605))
    metric = outside.VmafMetric(rate=25)
    metric.push(PairView(gt, pred))
    assert metric.close() == [5.0]


@pytest.mark.parametrize(
    ("fault", "says"),
    [("sys.exit('no model')", "failed while measuring VMAF: no model"), ("rows.pop()", "measured 2 of 3")],
)
def test_a_program_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, says: str
) -> None:
    stand_in(tmp_path, monkeypatch, fault)
    metric = outside.VmafMetric(rate=25)
    for pair in pairs(3):
        metric.push(pair)
    with pytest.raises(VqeError, match=says):
        metric.close()
    metric.discard()


def test_no_program_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outside.find_program.cache_clear()
    with pytest.raises(
        VqeError, match=r"vmaf is not available here: no ffmpeg and no vmaf was found.*Install"
    ):
        outside.VmafMetric(rate=25)


def test_the_real_program_knows_good_from_bad() -> None:
    """Where ffmpeg with libvmaf, or vmaf, is installed."""
    try:
        outside.find_program()
    except VqeError:
        assert shutil.which("vmaf") is None
        pytest.skip("needs an ffmpeg with libvmaf, or vmaf")
    metric, same = outside.VmafMetric(rate=25), outside.VmafMetric(rate=25)
    given = pairs(5, 239, 321)
    for pair in given:
        metric.push(pair)
        same.push(PairView(pair.gt, pair.gt))
    found, perfect = metric.close(), same.close()
    assert len(found) == len(perfect) == 5
    assert np.mean(found) < np.mean(perfect)
    assert np.mean(perfect) > 90
