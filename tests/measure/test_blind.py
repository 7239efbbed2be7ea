"""Without a truth: blockiness, clipping, change and flicker by hand, and output against input."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from small_clips import BT709, clip, frame, write

from vqe_cli.errors import VqeError
from vqe_cli.measure.blind import FlickerMetric, blockiness, changed_percent, clipped_percent
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.metrics import CHANGE_METRICS
from vqe_cli.measure.pictures import PairView, View
from vqe_cli.measure.result import Options
from vqe_cli.video.frame import Colour

GRAY = Colour("gray", True, 8, (1, 1))


def gray(plane: np.ndarray, **options: int) -> View:
    return View(frame((plane.astype(np.uint8),)), GRAY, **options)


def ramp(border: int, block: int, size: int) -> np.ndarray:
    """A picture (size, size) that changes by 1 a pixel, and by `border` where blocks meet."""
    steps = [border if (x + 1) % block == 0 else 1 for x in range(size - 1)]
    line = np.cumsum([0, *steps])
    return np.add.outer(line, line)


@pytest.mark.parametrize(("border", "block"), [(3, 8), (1, 8), (5, 16)])
def test_blockiness_is_the_step_at_borders_over_the_step_inside(border: int, block: int) -> None:
    picture = ramp(border, block, 32)
    assert blockiness(gray(picture, block_px=block)) == pytest.approx(border)
    # Wang, Sheikh and Bovik's formulas: B over the borders, A from the mean over all differences and B.
    differences = np.abs(np.diff(picture, axis=1))
    count = differences.shape[1]
    at_border = differences[:, block - 1 :: block]
    inside = (differences.sum() - at_border.sum()) / (32 * (count - at_border.shape[1]))
    assert blockiness(gray(picture, block_px=block)) == pytest.approx(at_border.mean() / inside)


def test_cropping_leaves_the_blocks_where_they_are() -> None:
    picture = ramp(4, 8, 40)
    assert blockiness(gray(picture, crop_px=3)) == pytest.approx(4)


@pytest.mark.parametrize("picture", [np.full((32, 32), 7), ramp(1, 8, 8)])
def test_flat_and_tiny_pictures_have_no_blockiness(picture: np.ndarray) -> None:
    assert blockiness(gray(picture)) is None


def test_coarse_coding_is_blockier(tmp_path: Path) -> None:
    paths = [ROOT / "samples" / side / "bunny.mkv" for side in ("truth", "lq")]
    found = compare_pair(*paths, paths[1], ["blockiness"], Options(max_frames=3))
    alone = compare_pair(paths[0], paths[0], metrics=["blockiness"], options=Options(max_frames=3))
    assert alone.output["blockiness"].mean + 0.005 < found.output["blockiness"].mean
    assert found.output["blockiness"] == found.given["blockiness"]


def test_clipped_and_changed_samples_are_counted() -> None:
    black = np.zeros((8, 8))
    some = black.copy()
    some[0, :4] = 100
    assert clipped_percent(gray(black)) == 100
    assert clipped_percent(gray(some)) == pytest.approx(100 * 60 / 64)
    assert changed_percent(PairView(gray(black), gray(some))) == pytest.approx(100 * 4 / 64)
    one, other = clip(1)[0], clip(1)[0]
    other[1][0, 0] += 1  # one of 64 * 48 * 3 / 2 samples
    views = [View(frame(planes), BT709) for planes in (one, other)]
    assert changed_percent(PairView(*views)) == pytest.approx(100 / (64 * 48 * 1.5))


def test_flicker_is_the_change_beyond_the_references() -> None:
    metric = FlickerMetric()
    for reference, judged in [(10, 20), (13, 29), (13, 21), (15, 21)]:
        metric.push(PairView(*(gray(np.full((8, 8), level)) for level in (reference, judged))))
    assert metric.close() == [None, pytest.approx(9 - 3), pytest.approx(8), pytest.approx(-2)]


def test_output_against_input(tmp_path: Path) -> None:
    lq, out = write(tmp_path / "lq.mkv", clip(6, 9)), write(tmp_path / "out.mkv", clip(6, 3))
    found = compare_pair(None, out, lq, CHANGE_METRICS)
    assert found.gt is None and found.lq == lq
    assert set(found.given) == {"blockiness", "clipped"}
    as_truth = compare_pair(lq, out, metrics=CHANGE_METRICS)
    for name in CHANGE_METRICS:
        assert found.output[name].values == as_truth.output[name].values
    alone = compare_pair(out, lq, metrics=["blockiness"]).output["blockiness"]
    assert found.given["blockiness"].values == alone.values
    assert found.output["flicker"].mean < -1  # its noise is weaker
    with pytest.raises(VqeError, match="nothing to compare"):
        compare_pair(None, out)


def test_an_enlarged_output_is_held_against_the_enlarged_input(tmp_path: Path) -> None:
    lq, out = write(tmp_path / "lq.mkv", clip(3)), write(tmp_path / "out.mkv", clip(3, width=128, height=96))
    found = compare_pair(None, out, lq, CHANGE_METRICS, Options(crops=1))
    assert found.size == (128, 96)
    [crop] = found.crops
    assert set(crop.pictures) == {"input", "output"} and crop.quality == {}
    with pytest.raises(VqeError, match=r"128x96.*64x48|64x48.*128x96"):
        compare_pair(None, lq, out, CHANGE_METRICS)
