"""Whether two videos are out of step by a frame or two: the commonest reason for a score that is too low.

Nothing is ever resynchronised; a better offset is only named.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

OFFSETS = (-2, -1, 0, 1, 2)
REACH = max(OFFSETS)
# Frames judged together: long enough that a few repeated frames (as low rates make them) do not look like a
# shift.
WINDOW = 24
# A last window below this many frames is not judged.
FEWEST = 4
# A shift is named when it brings the small pictures this much nearer, in dB, over a window …
CLEARLY_BETTER_DB = 1.0
# … and they were not nearly equal already (dB, peak 255): nothing is gained from a better offset then.
ALREADY_GOOD_DB = 45.0
THUMB_SIDE = 96


@dataclass(frozen=True)
class Shift:
    """Frame t of the truth looks like frame t + offset of the judged video, t from `first` to `last`.

    gain_db: how much nearer the small luma pictures come.
    """

    offset: int
    first: int
    last: int
    gain_db: float

    def sentence(self, judged: str, truth: str) -> str:
        """The warning: which frames are out of step, by how many, and what to look for."""
        return (
            f"{judged} seems out of step: around frames {self.first} to {self.last}, frame n of {truth} fits "
            f"its frame n{self.offset:+d} better by {self.gain_db:.1f} dB; nothing was shifted"
        )


class ShiftDetector:
    """Compares small luma pictures of two videos at offsets -2 … 2, in windows; memory stays flat."""

    def __init__(self) -> None:
        self._gt: deque[np.ndarray] = deque(maxlen=2 * REACH + 1)
        self._pred: deque[np.ndarray] = deque(maxlen=2 * REACH + 1)
        self._pushed = 0
        self._errors = dict.fromkeys(OFFSETS, 0.0)
        self._counted = 0
        self._found: list[Shift] = []

    def push(self, gt: np.ndarray, pred: np.ndarray) -> None:
        """Take the small luma (`thumbnail`) of the next frame of the truth and of the judged video."""
        self._gt.append(gt)
        self._pred.append(pred)
        self._pushed += 1
        if len(self._gt) <= 2 * REACH:
            return
        centre = self._gt[REACH]
        for offset in OFFSETS:
            difference = centre - self._pred[REACH + offset]
            self._errors[offset] += float(np.square(difference).mean())
        self._counted += 1
        if self._counted == WINDOW:
            self._judge()

    def result(self) -> Shift | None:
        """The shift that explains most, over all windows that agree on it; None where all is in step."""
        if self._counted >= FEWEST:
            self._judge()
        if not self._found:
            return None
        strongest = max(self._found, key=lambda shift: shift.gain_db)
        alike = [shift for shift in self._found if shift.offset == strongest.offset]
        mean = sum(shift.gain_db for shift in alike) / len(alike)
        return Shift(strongest.offset, alike[0].first, alike[-1].last, mean)

    def _judge(self) -> None:
        last = self._pushed - 1 - REACH
        near = {offset: -_decibel(error / self._counted) for offset, error in self._errors.items()}
        best = max(OFFSETS, key=lambda offset: (near[offset], -abs(offset)))
        gain = near[best] - near[0]
        if gain > CLEARLY_BETTER_DB and near[0] < ALREADY_GOOD_DB - _decibel(255**2):
            self._found.append(Shift(best, last - self._counted + 1, last, gain))
        self._errors = dict.fromkeys(OFFSETS, 0.0)
        self._counted = 0


def thumbnail(luma: np.ndarray, bit_depth: int) -> np.ndarray:
    """Luma (h, w) as a picture of about 96 pixels a side at most, float32 on 0 … 255: means over blocks.

    Large pictures are thinned first, to at most four to seven samples a side of each block.
    """
    block = max(1, -(-max(luma.shape) // THUMB_SIDE))
    step = max(1, block // 4)
    thin = luma[::step, ::step]
    down, across = (min(max(1, block // step), length) for length in thin.shape)
    height, width = thin.shape[0] // down * down, thin.shape[1] // across * across
    rows = thin[:height:down, :width].astype(np.float32)
    for offset in range(1, down):
        rows += thin[offset:height:down, :width]
    small = rows[:, ::across].copy()
    for offset in range(1, across):
        small += rows[:, offset::across]
    return small * np.float32(255 / (2**bit_depth - 1) / (down * across))


def _decibel(error: float) -> float:
    return 10 * math.log10(max(error, 1e-6))
