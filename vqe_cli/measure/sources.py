"""The sides of a comparison: decoded in step, checked, and whether they are out of step by a frame or two."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from vqe_cli.errors import InputError
from vqe_cli.pipeline_threads import prefetched
from vqe_cli.video.colour import to_arrays, to_tensors, upscale_planes
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.reader import RawLayout
from vqe_cli.video.sources import RAW_SUFFIXES, SIZE_IN_NAME, FrameSource, open_reader

# Decoded frames that wait for their partners, a side: enough to smooth the uneven cost of pictures, and
# bounded.
AHEAD = 4


class Side:
    """One video of a comparison, decoded ahead by a thread of its own. Iterates `Frame`s; a context manager.

    label: what messages call it ("truth", "output", "input"). scale: the whole factor by which frames are
    enlarged (bicubic) before they are compared, for the input of an upscaler.
    """

    def __init__(self, label: str, path: Path, reader: FrameSource) -> None:
        self.label = label
        self.path = path
        self.scale = 1
        self._reader = reader
        self._frames: Iterator[Frame] = iter(())
        self._stack = ExitStack()

    @property
    def info(self) -> VideoInfo:
        """What the stream says of itself."""
        return self._reader.info

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as compared."""
        return self.info.width * self.scale, self.info.height * self.scale

    @property
    def warnings(self) -> list[str]:
        """What the reader had to say of the file."""
        return self._reader.warnings

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            reader = stack.enter_context(self._reader)
            self._frames = stack.enter_context(prefetched(reader, AHEAD))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame]:
        """The frames in display order. Raises what decoding raised."""
        for frame in self._frames:
            yield frame if self.scale == 1 else enlarged(frame, self.info, self.scale)


def open_side(label: str, path: Path, raw: RawLayout | None) -> Side:
    """A side ready to be entered. Raises VqeError for what cannot be read, and for .yuv without a layout."""
    if path.suffix.lower() not in RAW_SUFFIXES:
        return Side(label, path, open_reader(path))
    if raw is None:
        if path.is_file() and not SIZE_IN_NAME.search(path.stem):
            raise InputError(
                f"{path} is raw video, which does not say its size.",
                "Give --size WxH (and --pix-fmt, --fps).",
            )
        return Side(label, path, open_reader(path))
    check_whole_frames(path, raw)
    return Side(label, path, open_reader(path, raw=raw))


def check_whole_frames(path: Path, raw: RawLayout) -> None:
    """Raises VqeError when a raw file holds no whole number of such frames, or the format is unknown."""
    try:
        layout = av.VideoFormat(raw.pix_fmt, raw.width, raw.height)
        frame_bytes = sum(part.width * part.height * -(-part.bits // 8) for part in layout.components)
    except ValueError as error:
        raise InputError(
            f"--pix-fmt {raw.pix_fmt} is not a pixel format.", "`ffmpeg -pix_fmts` lists them."
        ) from error
    if path.is_file() and path.stat().st_size % frame_bytes:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes, which is not a whole number of "
            f"{raw.width}x{raw.height} {raw.pix_fmt} frames ({frame_bytes} bytes each).",
            "Check --size and --pix-fmt.",
        )


def enlarged(frame: Frame, info: VideoInfo, scale: int) -> Frame:
    """The frame at `scale` times the size, bicubic on its planes: what an upscaler's gain is counted from."""
    planes = upscale_planes(to_tensors(frame.planes), info.colour, scale)
    return replace(frame, planes=to_arrays(planes, info.colour.bit_depth))


def check_sizes(sides: Sequence[Side]) -> None:
    """Let all sides have the truth's size, enlarging an input that is smaller by a whole factor.

    sides: truth, output and maybe input; or input and output, which then has the say. Raises VqeError that
    names both files and sizes.
    """
    truth = sides[1] if sides[0].label == "input" else sides[0]
    for side in sides:
        width, height = side.size
        factor = truth.size[0] // width
        if side.label == "input" and factor > 1 and truth.size == (width * factor, height * factor):
            side.scale = factor
        if side.size != truth.size:
            raise InputError(
                f"{side.path} is {width}x{height} and {truth.path} is {truth.size[0]}x{truth.size[1]}.",
                "Only pictures of one size can be compared.",
            )


UNEQUAL = "Frames are paired by index: drop or repeat none; --max-frames compares the first ones only."


def in_step(
    sides: Sequence[Side],
    most: int | None = None,
    progress: Callable[[int], None] | None = None,
    remedy: str = UNEQUAL,
) -> Iterator[tuple[int, tuple[Frame, ...]]]:
    """(index, one frame of every side) by index, at most `most` of them; nothing is ever resynchronised.

    Raises VqeError naming all counts when one side ends before another.
    """
    streams = [iter(side) for side in sides]
    index = 0
    while most is None or index < most:
        frames = [next(stream, None) for stream in streams]
        if all(frame is None for frame in frames):
            return
        if any(frame is None for frame in frames):
            counts = [
                index + (frame is not None) + sum(1 for _ in stream)
                for frame, stream in zip(frames, streams, strict=True)
            ]
            named = zip(sides, counts, strict=True)
            listed = " and ".join(f"{side.path} has {count}" for side, count in named)
            raise InputError(f"The frame counts differ: {listed}.", remedy)
        yield index, tuple(frame for frame in frames if frame is not None)
        index += 1
        if progress is not None:
            progress(index)


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
