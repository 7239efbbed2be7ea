"""VMAF and CAMBI by libvmaf: real runs against stored values and the program itself; programs that fail."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from small_clips import BT709, clip, frame, write

from vqe_cli.errors import VqeError
from vqe_cli.measure import vmaf
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.pictures import PairView, View
from vqe_cli.measure.result import Options
from vqe_cli.video.frame import Colour

TRUTH, GIVEN = ROOT / "samples/truth/flower.mkv", ROOT / "samples/lq/flower.mkv"
FRAMES = 3
# The first three frames of samples/lq/flower.mkv, by the ffmpeg n9.0.2 of imageio-ffmpeg 0.8.1 on x86-64.
# Machines with other vector instructions and later libvmafs of these models stay within the tolerance.
STORED = {
    "vmaf": [79.3233, 77.5824, 75.9088],
    "vmaf-neg": [77.8578, 76.2317, 74.4923],
    "vmaf-v1": [83.4773, 81.5394, 79.9201],
    "vmaf-v1-phone": [86.3531, 84.7189, 83.3259],
    "vmaf-v1-4k": [83.1626, 81.0099, 79.2150],
    "vmaf-v1-hfr": [83.6872, 82.0645, 80.4468],
    "cambi": [0.0221, 0.0174, 0.0171],
}
TOLERANCE = {"cambi": 0.002}
VMAF_TOLERANCE = 0.05


@pytest.fixture(autouse=True)
def _forget_programs() -> Iterator[None]:
    vmaf.find_ffmpeg.cache_clear()
    yield
    vmaf.find_ffmpeg.cache_clear()


@pytest.mark.parametrize("name", STORED)
def test_a_real_run_gives_the_stored_values(name: str) -> None:
    found = compare_pair(TRUTH, GIVEN, metrics=[name], options=Options(max_frames=FRAMES)).output[name]
    assert found.values == pytest.approx(STORED[name], abs=TOLERANCE.get(name, VMAF_TOLERANCE))
    assert vmaf.JUDGES[name].model in found.source and "libvmaf" in found.source


def by_the_program(folder: Path, gt: Path, pred: Path, judge: vmaf.Judge, pix_fmt: str) -> dict:
    """libvmaf's report on two files that ffmpeg reads itself."""
    cut = f"trim=end_frame={FRAMES},setpts=N,format={pix_fmt}"
    graph = f"[0]{cut}[a];[1]{cut}[b];[a][b]libvmaf={judge.argument}:log_fmt=json:log_path=own.json"
    inputs = ["-i", pred, "-i", gt]
    command = [vmaf.find_ffmpeg(), "-v", "error", *inputs, "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(command, check=True, cwd=folder)
    return json.loads((folder / "own.json").read_text())


@pytest.mark.parametrize(
    ("name", "pix_fmt"), [("vmaf", "yuv420p"), ("vmaf-v1", "yuv420p10le"), ("cambi", "yuv420p")]
)
def test_values_are_those_of_the_program_by_itself(tmp_path: Path, name: str, pix_fmt: str) -> None:
    """Pictures arrive whole and in order; 8-bit ones as 10 bits for VMAF v1."""
    own = by_the_program(tmp_path, TRUTH, GIVEN, vmaf.JUDGES[name], pix_fmt)
    found = compare_pair(TRUTH, GIVEN, metrics=[name], options=Options(max_frames=FRAMES)).output[name]
    key = vmaf.JUDGES[name].key
    assert found.values == pytest.approx([each["metrics"][key] for each in own["frames"]], abs=1e-4)
    assert found.harmonic_mean == pytest.approx(own["pooled_metrics"][key]["harmonic_mean"], abs=1e-4)


def test_odd_sizes_and_deep_pictures(tmp_path: Path) -> None:
    paths = []
    for name, noise in (("gt", 0), ("pred", 8)):
        frames = [
            tuple(plane.astype(np.uint16) * 4 + 3 for plane in planes)
            for planes in clip(FRAMES, noise, width=241, height=163)
        ]
        paths.append(write(tmp_path / f"{name}.mkv", frames, "yuv420p10le"))
    for name in ("vmaf", "vmaf-v1"):
        own = by_the_program(tmp_path, *paths, vmaf.JUDGES[name], "yuv420p10le")
        found = compare_pair(*paths, metrics=[name]).output[name].values
        assert found == pytest.approx([each["metrics"]["vmaf"] for each in own["frames"]], abs=1e-4)


def pairs(count: int, width: int = 64, height: int = 48) -> list[PairView]:
    sides = zip(clip(count, 0, width, height), clip(count, 5, width, height), strict=True)
    return [PairView(View(frame(gt), BT709), View(frame(pred), BT709)) for gt, pred in sides]


def test_rgb_pictures_have_values() -> None:
    colour = Colour("rgb", True, 8, (1, 1))
    draw = np.random.default_rng(3)
    gt = draw.integers(0, 256, (3, 240, 320)).astype(np.uint8)
    pred = np.clip(gt + draw.normal(0, 20, gt.shape), 0, 255).astype(np.uint8)
    metric = vmaf.VmafMetric("vmaf-v1", rate=25)
    metric.push(PairView(*(View(frame(tuple(planes)), colour) for planes in (gt, pred))))
    [value] = metric.close()
    assert value is not None and 0 < value < 95


@pytest.mark.parametrize(
    ("name", "size"), [("vmaf", (200, 16)), ("cambi", (200, 100)), ("vmaf-v1", (300, 144))]
)
def test_pictures_that_are_too_small_have_no_value(name: str, size: tuple[int, int]) -> None:
    metric = vmaf.VmafMetric(name, rate=25)
    for pair in pairs(2, *size):
        metric.push(pair)
    assert metric.close() == [None, None]


STAND_IN = """#!{python}
import json, sys
if "-filters" in sys.argv:
    print({filters!r})
elif "pipe" in sys.argv or "rawvideo" in sys.argv:
    {measure}
else:
    {check}
"""


def stand_in(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    measure: str = "pass",
    check: str = "pass",
    filters: str = " .. libvmaf  VV->V",
) -> None:
    """The only ffmpeg there is: a script."""
    program = folder / "ffmpeg"
    program.write_text(STAND_IN.format(python=sys.executable, filters=filters, measure=measure, check=check))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


@pytest.mark.parametrize(
    ("measure", "says"),
    [
        ("sys.exit('out of cheese')", "failed while measuring vmaf: out of cheese"),
        ("sys.stdin.buffer.read(); json.dump({'frames': []}, open('vmaf.json', 'w'))", "measured 0 of 3"),
        ("sys.stdin.buffer.read(); open('vmaf.json', 'w').write('{')", "no report that can be read"),
    ],
)
def test_a_program_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: str, says: str
) -> None:
    stand_in(tmp_path, monkeypatch, measure)
    metric = vmaf.VmafMetric("vmaf", rate=25)
    with pytest.raises(VqeError, match=says):
        for pair in pairs(3):
            metric.push(pair)
        metric.close()
    metric.discard()


def test_what_is_missing_is_said_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, filters=" .. xpsnr  VV->V")
    with pytest.raises(VqeError, match=r"ffmpeg has no libvmaf.*pip install"):
        vmaf.VmafMetric("vmaf", rate=25)
    stand_in(tmp_path, monkeypatch, check="sys.exit('could not load libvmaf model')")
    with pytest.raises(VqeError, match=r"has no vmaf_v1\.0\.16_3d0h.*pip install"):
        vmaf.VmafMetric("vmaf-v1", rate=25)
    (tmp_path / "ffmpeg").unlink()
    vmaf.find_ffmpeg.cache_clear()
    with pytest.raises(VqeError, match=r"no ffmpeg was found.*pip install"):
        vmaf.VmafMetric("vmaf", rate=25)
