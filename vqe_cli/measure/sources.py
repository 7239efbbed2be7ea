"""The sides of a comparison as streams of frames: opened, decoded ahead in the background, walked in step."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from vqe_cli.errors import InputError
from vqe_cli.video.colour import to_arrays, to_tensors, upscale_planes
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.sources import RAW_SUFFIXES, SIZE_IN_NAME, FrameSource, open_reader

# Decoded frames that wait for their partners, a side: enough to smooth the uneven cost of pictures, and
# bounded.
AHEAD = 4
END = object()


@dataclass(frozen=True)
class RawLayout:
    """How the frames lie in a .yuv file: size in pixels, FFmpeg's pixel format, frames per second."""

    width: int
    height: int
    pix_fmt: str = "yuv420p"
    rate: float = 25.0


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
        self._queue: queue.Queue[object] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._decode, daemon=True, name=f"decode {label}")

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
        self._reader.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._thread.join()
        self._reader.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame]:
        """The frames in display order. Raises what decoding raised."""
        while (item := self._queue.get()) is not END:
            if isinstance(item, BaseException):
                raise item
            assert isinstance(item, Frame)
            yield item if self.scale == 1 else enlarged(item, self.info, self.scale)

    def _decode(self) -> None:
        try:
            for frame in self._reader:
                if not self._offer(frame):
                    return
            self._offer(END)
        except BaseException as error:
            self._offer(error)

    def _offer(self, item: object) -> bool:
        """Queue an item, unless the comparison has ended."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return True
        return False


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
    rate = Fraction(raw.rate).limit_denominator(1001)
    return Side(label, path, open_reader(path, size=(raw.width, raw.height), pix_fmt=raw.pix_fmt, rate=rate))


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

    sides: truth, output and maybe input. Raises VqeError that names both files and sizes.
    """
    truth = sides[0]
    for side in sides[1:]:
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
