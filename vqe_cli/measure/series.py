"""A metric over the frames of a video: mean, spread, lows, worst and best, how much quality fluctuates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

# What an identical frame (infinite PSNR) counts in a mean that has other frames too, in dB: finite, and above
# what any visible difference gives (one code in one of 150,000 samples).
IDENTICAL_DB = 100.0


@dataclass(frozen=True)
class Series:
    """One metric of one video, a value a measured frame, in display order.

    values: None where the metric does not apply to the frame (a picture too small, no such plane). frames:
    the frames' positions in the video. rising: higher is better. Infinite values stay as they are here;
    statistics take them as `IDENTICAL_DB` unless every frame is identical (then the mean is infinite).
    """

    values: tuple[float | None, ...]
    frames: tuple[int, ...]
    rising: bool = True

    @cached_property
    def _finite(self) -> np.ndarray:
        known = np.array([value for value in self.values if value is not None], dtype=np.float64)
        return np.where(np.isposinf(known), IDENTICAL_DB, known)

    @property
    def identical(self) -> int:
        """Frames with an infinite value."""
        return sum(value is not None and math.isinf(value) for value in self.values)

    @property
    def mean(self) -> float | None:
        """Mean over frames; None when the metric applies to none of them; infinite when all are identical."""
        if not self._finite.size:
            return None
        return math.inf if self.identical == self._finite.size else float(self._finite.mean())

    @property
    def deviation(self) -> float | None:
        """Standard deviation over frames (of the whole population, as in papers on quality fluctuation)."""
        return float(self._finite.std()) if self._finite.size else None

    def low(self, percent: float) -> float | None:
        """The value that only `percent` % of the frames are worse than (linear between frames)."""
        if not self._finite.size:
            return None
        return float(np.percentile(self._finite, percent if self.rising else 100 - percent))

    @property
    def worst(self) -> tuple[int, float] | None:
        """(frame, value) of the worst frame, the first of equals."""
        return self._extreme(lowest=self.rising)

    @property
    def best(self) -> tuple[int, float] | None:
        """(frame, value) of the best frame, the first of equals."""
        return self._extreme(lowest=not self.rising)

    @property
    def peak_valley(self) -> float | None:
        """Peak-valley difference of the curve (`peak_valley_difference`), None where it has no valley."""
        return peak_valley_difference(self._finite.tolist())

    def _extreme(self, lowest: bool) -> tuple[int, float] | None:
        known = [(v, f) for v, f in zip(self.values, self.frames, strict=True) if v is not None]
        if not known:
            return None
        value, frame = min(known, key=lambda pair: (pair[0] if lowest else -pair[0], pair[1]))
        return frame, value


def gain(output: Series, given: Series) -> float | None:
    """Mean of the output minus mean of the input; 0 where both are identical to the truth."""
    if output.mean is None or given.mean is None:
        return None
    if output.mean == given.mean:
        return 0.0
    return output.mean - given.mean


def peak_valley_difference(values: Sequence[float]) -> float | None:
    """Mean height of the peaks of a curve over the valleys between them (PVD; after Yang et al., MFQE, 2018).

    A peak is a frame (or a run of equal ones) higher than what is beside it; the first and the last count
    when they are higher than their one neighbour. Between two neighbouring peaks lies one valley, the
    lowest frame there; its depth is the mean of the two peaks minus it. None when there are fewer than two
    peaks.
    """
    runs = [value for index, value in enumerate(values) if index == 0 or value != values[index - 1]]
    padded = [-math.inf, *runs, -math.inf]
    peaks = [i for i in range(len(runs)) if padded[i] < runs[i] > padded[i + 2]]
    depths = [(runs[left] + runs[right]) / 2 - min(runs[left : right + 1]) for left, right in pairwise(peaks)]
    return sum(depths) / len(depths) if depths else None


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean over videos; None when there is none or one has no value; infinite ones as in a video."""
    if not values or any(value is None for value in values):
        return None
    known = [value for value in values if value is not None]
    if all(math.isinf(value) for value in known):
        return math.inf
    return sum(IDENTICAL_DB if math.isinf(value) else value for value in known) / len(known)
