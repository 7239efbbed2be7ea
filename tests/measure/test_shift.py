"""Videos out of step are named, and videos in step never are."""

import numpy as np
import pytest
from conftest import shared_path
from small_clips import clip

from vqe_cli.measure.sources import THUMB_SIDE, Shift, ShiftDetector, thumbnail
from vqe_cli.video.reader import Reader


def detect(gt: list[np.ndarray], pred: list[np.ndarray]) -> Shift | None:
    detector = ShiftDetector()
    for one, other in zip(gt, pred, strict=False):
        detector.push(thumbnail(one, 8), thumbnail(other, 8))
    return detector.result()


def lumas(count: int, noise: float = 0.0, start: int = 0) -> list[np.ndarray]:
    return [planes[0] for planes in clip(count, noise, start=start)]


@pytest.mark.parametrize("offset", [-2, -1, 1, 2])
def test_a_shift_is_named(offset: int) -> None:
    """The judged video begins `offset` frames late, with noise of its own."""
    found = detect(lumas(40, start=5), lumas(40, noise=6, start=5 - offset))
    assert found is not None
    assert found.offset == offset
    assert found.gain_db > 3


def test_a_frame_lost_in_the_middle_is_named_from_there_on() -> None:
    pred = lumas(61, noise=4)
    del pred[30]
    found = detect(lumas(60), pred)
    assert found is not None
    assert found.offset == -1
    assert 20 <= found.first <= 30 < found.last


@pytest.mark.parametrize("noise", [0.0, 3.0, 40.0])
def test_nothing_is_named_in_step(noise: float) -> None:
    assert detect(lumas(60), lumas(60, noise=noise)) is None


def test_nothing_is_named_where_nothing_moves() -> None:
    still = [lumas(1)[0]] * 40
    assert detect(still, [np.roll(picture, 1, 0) for picture in still]) is None


def test_short_clips_are_not_judged() -> None:
    assert detect(lumas(7), lumas(7, start=1)) is None
    assert detect(lumas(8), lumas(8, start=1)) is not None


@pytest.mark.parametrize("size", [(1080, 1920), (2160, 3840), (240, 416), (64, 64), (5, 7), (1, 1), (300, 2)])
def test_thumbnails_are_small_and_keep_the_mean(size: tuple[int, int]) -> None:
    ramp = np.linspace(0, 255, size[1])[None] * np.ones((size[0], 1))
    small = thumbnail(ramp.astype(np.uint8), 8)
    assert max(small.shape) <= THUMB_SIDE + 1
    assert abs(small.mean() - ramp.mean()) < 6


def test_depths_share_one_scale() -> None:
    deep = np.full((48, 64), 1023, np.uint16)
    assert thumbnail(deep, 10).max() == pytest.approx(255)


@pytest.mark.parametrize("recipe", ["qp42", "rate-60k"])
def test_hard_compression_is_no_shift(recipe: str) -> None:
    """A low rate repeats pictures, which may look like a shift; a lost frame is found all the same."""
    with (
        Reader(shared_path("corpus/val/raw/208_bus.mkv")) as gt,
        Reader(shared_path(f"corpus/val/lq/{recipe}/208_bus.mkv")) as pred,
    ):
        sides = [[frame.planes[0] for frame in reader] for reader in (gt, pred)]
    assert detect(*sides) is None
    found = detect(sides[0], sides[1][1:])
    assert found is not None
    assert found.offset == -1
