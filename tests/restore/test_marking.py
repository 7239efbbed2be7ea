"""Scene cuts: those of a stream whose cuts are known, none in clips of one shot."""

from pathlib import Path

import av
import numpy as np
import pytest
from conftest import SHARED, shared_path

from vqe_cli.restore.marking import scene_starts
from vqe_cli.restore.summaries import measured
from vqe_cli.video.frame import Colour, Frame

COLOUR = Colour("bt709", False, 8, (2, 2))
VAL = sorted((SHARED / "corpus/val/lq/qp37").glob("*.mkv"))


def luma(path: Path, count: int | None = None) -> list[np.ndarray]:
    """Luma planes of a file, decoded by PyAV alone."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [
            frame.to_ndarray(format="gray") for _, frame in zip(range(count or 10**6), frames, strict=False)
        ]


def cuts(planes: list[np.ndarray], repeats: set[int] = frozenset(), colour: Colour = COLOUR) -> list[int]:
    frames = [
        Frame(t, (plane,), t, irap=True, duplicate_of=t - 1 if t in repeats else None)
        for t, plane in enumerate(planes)
    ]
    found = list(scene_starts((seen.frame, seen.difference) for seen in measured(frames, colour)))
    assert [frame.index for frame, _ in found] == list(range(len(planes)))
    return [frame.index for frame, cut in found if cut]


def test_known_cuts() -> None:
    assert cuts(luma(shared_path("hevc/streams/hm_ldp_cuts.bin"))) == [17, 31]


@pytest.mark.parametrize("path", VAL or [SHARED / "corpus/val"], ids=lambda path: path.stem)
def test_no_cut_in_a_clip_of_one_shot(path: Path) -> None:
    """Fast motion at 10 frames a second among them; that all frames are IRAP pictures says nothing."""
    assert cuts(luma(shared_path(str(path.relative_to(SHARED))))) == []


@pytest.fixture(scope="module")
def shots() -> list[np.ndarray]:
    names = ("210_rocket", "207_soapbox", "208_bus")
    found = [path for path in VAL if path.stem in names] or VAL[:3]
    if not found:
        shared_path("corpus/val/lq/qp37")
    return [luma(path, 12) for path in found]


def test_joined_shots(shots) -> None:
    joined = [plane for shot in shots for plane in shot]
    assert cuts(joined) == [12, 24]


def test_a_flash_is_no_cut(shots) -> None:
    planes = list(shots[0])
    planes[6] = np.full_like(planes[6], 250)
    assert cuts(planes) == []


def test_a_cut_at_the_end_and_a_scene_of_two_frames(shots) -> None:
    first, second, third = shots
    assert cuts([*first, second[0]]) == [12]
    assert cuts([*first, *second[:2], *third]) == [12, 14]


def test_duplicates_do_not_make_motion_a_cut(shots) -> None:
    """Every frame twice: differences alternate between nothing and motion."""
    doubled = [plane for plane in [*shots[1], *shots[2]] for _ in range(2)]
    assert cuts(doubled, repeats=set(range(1, len(doubled), 2))) == [24]


def test_ten_bits_are_judged_like_eight(shots) -> None:
    joined = [plane.astype(np.uint16) * 4 for shot in shots for plane in shot]
    assert cuts(joined, colour=Colour("bt709", False, 10, (2, 2))) == [12, 24]


def test_tiny_pictures() -> None:
    black, white = np.zeros((1, 3), np.uint8), np.full((1, 3), 255, np.uint8)
    assert cuts([black] * 5 + [white] * 5) == [5]
