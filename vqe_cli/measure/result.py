"""What is measured of a video (`Options`), and what comes of it: `Series`, `Gain`, `PairResult`, `Failure`.

A picture that equals the truth has no PSNR (it is infinite), and no number can stand for it in a mean: such
frames are counted apart, and statistics are of the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from vqe_cli.errors import VqeError
from vqe_cli.measure.pictures import Crop
from vqe_cli.video.reader import RawLayout


@dataclass(frozen=True)
class Series:
    """One metric of one video, a value a measured frame, in display order.

    values: None where the metric does not apply to the frame (a picture too small, no such plane), infinite
    where the frame equals the truth. frames: the frames' positions in the video. rising: higher is better.
    source: the software and model that judged, with their versions; "" for measures of this program.
    """

    values: tuple[float | None, ...]
    frames: tuple[int, ...]
    rising: bool = True
    source: str = ""

    @cached_property
    def _finite(self) -> np.ndarray:
        known = [value for value in self.values if value is not None and math.isfinite(value)]
        return np.array(known, dtype=np.float64)

    @cached_property
    def identical_frames(self) -> tuple[int, ...]:
        """Positions of the frames with an infinite value."""
        return tuple(
            frame
            for value, frame in zip(self.values, self.frames, strict=True)
            if value is not None and math.isinf(value)
        )

    @property
    def identical(self) -> int:
        """How many frames have an infinite value."""
        return len(self.identical_frames)

    @property
    def mean(self) -> float | None:
        """Mean over the frames that differ; None when the metric applies to none; infinite when none
        differs.
        """
        if not self._finite.size:
            return math.inf if self.identical else None
        return float(self._finite.mean())

    @property
    def harmonic_mean(self) -> float | None:
        """Harmonic mean over the frames that differ, as libvmaf pools: of the values plus one, less one.

        None where there is no frame for it or a value is below 0.
        """
        if not self._finite.size or self._finite.min() < 0:
            return None
        return float(1 / np.mean(1 / (self._finite + 1)) - 1)

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


@dataclass(frozen=True)
class Gain:
    """Output minus input of one video in one metric."""

    mean: float | None
    """Over the frames that differ from the truth on both sides; None where there is none."""
    frames: int
    """How many these are."""
    became: int = 0
    """Frames that equal the truth in the output alone."""
    ceased: int = 0
    """Frames that equal the truth in the input alone."""
    stayed: int = 0
    """Frames that equal the truth in both."""

    @property
    def value(self) -> float | None:
        """The mean. Without any frame for it infinite, by what became of frames that equal the truth; 0
        where all stayed so; None where some became and some ceased to be so, or the metric does not apply.
        """
        if self.mean is not None or (self.became and self.ceased):
            return self.mean
        if self.became or self.ceased:
            return math.inf if self.became else -math.inf
        return 0.0 if self.stayed else None


def gain_of(output: Series, given: Series) -> Gain:
    """What the output gained over the input, frame by frame."""
    pairs = [
        (after, before)
        for after, before in zip(output.values, given.values, strict=False)
        if after is not None and before is not None
    ]
    changes = [after - before for after, before in pairs if math.isfinite(after) and math.isfinite(before)]
    equal = [(math.isinf(after), math.isinf(before)) for after, before in pairs]
    return Gain(
        sum(changes) / len(changes) if changes else None,
        len(changes),
        became=equal.count((True, False)),
        ceased=equal.count((False, True)),
        stayed=equal.count((True, True)),
    )


def gain(output: Series, given: Series) -> float | None:
    """The mean gain of the output over the input, as `Gain.value` says it."""
    return gain_of(output, given).value


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
    """Mean over videos; None when there is none or one has no value.

    Infinite values are left out; where there are no others, they are the mean when all are the same.
    """
    if any(value is None for value in values):
        return None
    known = [value for value in values if value is not None]
    finite = [value for value in known if math.isfinite(value)]
    if finite:
        return sum(finite) / len(finite)
    return known[0] if len(set(known)) == 1 else None


@dataclass(frozen=True)
class Options:
    """What of the videos is measured, and how. Raises VqeError for values that pick nothing."""

    every: int = 1
    """Only frames whose index leaves `offset` when divided by this (10 and 9: NTIRE's f010, f020 …)."""
    offset: int = 0
    """The index of the first measured frame, below `every`."""
    crop_px: int = 0
    """Pixels cut away at each border before any metric."""
    max_frames: int | None = None
    """Only so many frames from the start of the videos; None: all."""
    raw: RawLayout | None = None
    """How frames lie in .yuv files."""
    lpips_weights: Path | None = None
    """The file with the weights of LPIPS; None: as the environment says."""
    sets: tuple[str, ...] = ()
    """Distances between the sets of frames, names of `sets.SET_METRICS`."""
    fid_network: Path | None = None
    """TorchScript network of pictures, for "fid" and "kid"."""
    vid_network: Path | None = None
    """TorchScript network of clips, for "vid"."""
    crops: int = 0
    """How many crops of the frames that changed most are kept."""
    threads: int | None = None
    """Frames measured at a time; None: as many as torch would use."""

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 <= self.offset < self.every:
            raise VqeError(
                f"--every {self.every} --offset {self.offset} picks no frame.",
                "Give --every 1 or more and an --offset from 0 to every - 1.",
            )
        if self.crop_px < 0:
            raise VqeError(f"--crop {self.crop_px} is negative.", "Give the pixels to cut away on each side.")
        if self.max_frames is not None and self.max_frames < 1:
            raise VqeError(f"--max-frames {self.max_frames} leaves nothing.", "Give 1 or more.")


EVERYTHING = Options()


@dataclass(frozen=True)
class PairResult:
    """All that was measured of one video."""

    name: str
    """What tables call it: the stem of the output's name, or of the pair's."""
    gt: Path | None
    """The truth; None where output and input are compared with each other."""
    pred: Path
    """The output that was judged."""
    lq: Path | None
    """The input it was made from, where that was given."""
    output: dict[str, Series]
    """Series of the output by the metric's name."""
    given: dict[str, Series] | None
    """Series of the input by the metric's name; None without an input. Without a truth it has only metrics
    that judge a picture by itself.
    """
    frames: tuple[int, ...]
    """Indices of the measured frames."""
    qp: tuple[float | None, ...]
    """QP of each measured frame, from the input's bitstream or else the output's; None where unknown."""
    pqf: tuple[bool, ...]
    """Whether each measured frame is a peak quality frame; False where QPs are unknown."""
    size: tuple[int, int]
    """(width, height) in pixels, after cropping."""
    rate: float
    """Frames per second."""
    matrix: str
    """The matrix by which YUV became RGB."""
    crops: tuple[Crop, ...] = ()
    """Crops of the frames that changed most, the largest change first."""
    warnings: tuple[str, ...] = ()
    """What casts doubt on the scores, one sentence each."""
    features: dict[str, dict[str, list[np.ndarray]]] = field(default_factory=dict)
    """For distances of sets: features (1, D) by "image" and "video", then by "truth", "output", "input"."""
    seconds: float = 0.0
    """Time spent."""
    label: str = ""
    """The rate point, where there are several."""

    def before(self, metric: str) -> Series | None:
        """The input's series of a metric; None where there is none."""
        return None if self.given is None else self.given.get(metric)


@dataclass(frozen=True)
class Failure:
    """A video that could not be measured, and why. label: its rate point, where there are several."""

    name: str
    error: VqeError
    label: str = ""


Outcome = PairResult | Failure
