"""Hand-overs of a comparison: what to measure (`Options`), what came of it (`PairResult`, `Failure`)."""

from dataclasses import dataclass
from pathlib import Path

from vqe_cli.errors import VqeError
from vqe_cli.measure.crops import Crop
from vqe_cli.measure.series import Series
from vqe_cli.measure.sources import RawLayout


@dataclass(frozen=True)
class Options:
    """What of the videos is measured, and how.

    every, offset: only frames whose index leaves `offset` when divided by `every` (10 and 9: the
    challenge's f010, f020 …). crop_px: border cut away before any metric. max_frames: only the first frames
    of the videos. raw: the layout of .yuv files. lpips_weights: see `measure.lpips`. crops: how many pieces
    of the frames that changed most are kept. threads: frames measured at a time (None: as many as torch
    would use). Raises VqeError for values that pick nothing.
    """

    every: int = 1
    offset: int = 0
    crop_px: int = 0
    max_frames: int | None = None
    raw: RawLayout | None = None
    lpips_weights: Path | None = None
    crops: int = 0
    threads: int | None = None

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


@dataclass(frozen=True)
class PairResult:
    """All that was measured of one video.

    output, given: metric name → its `Series`, of the output and (where there is one, else None) of the
    input. frames: indices of the measured frames; qp, pqf: theirs, from the input's bitstream or else the
    output's (None and False where unknown). size: (width, height) after cropping. rate: frames per second.
    matrix: by which YUV became RGB. seconds: time spent.
    """

    name: str
    gt: Path
    pred: Path
    lq: Path | None
    output: dict[str, Series]
    given: dict[str, Series] | None
    frames: tuple[int, ...]
    qp: tuple[float | None, ...]
    pqf: tuple[bool, ...]
    size: tuple[int, int]
    rate: float
    matrix: str
    crops: tuple[Crop, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    label: str = ""


@dataclass(frozen=True)
class Failure:
    """A video that could not be measured, and why. label: its rate point, where there are several."""

    name: str
    error: VqeError
    label: str = ""


Outcome = PairResult | Failure
