"""Interlaced and telecined video as progressive frames, by FFmpeg's filters; QPs go with the pictures."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.filter import Graph

from vqe_cli.errors import InputError
from vqe_cli.text import as_argument
from vqe_cli.video.clock import frame_step
from vqe_cli.video.formats import picture_of, planes_of, sample_format
from vqe_cli.video.frame import DEFAULT_RATE, Frame, VideoInfo
from vqe_cli.video.interlace import top_field_first
from vqe_cli.video.opening import each_reading
from vqe_cli.video.reader import Reader
from vqe_cli.video.times import Times

# Ways: a frame for each picture, one for each field, or the film that was spread over more pictures.
SINGLE, DOUBLE, FILM = "single", "double", "film"
# Telecined film: five pictures hold four of it.
FILM_SHARE = Fraction(4, 5)
# Pictures that filters hold back; what was pushed longer ago is forgotten.
HELD = 32
# Frames by which film may stray from an even pace before its times are taken from the pictures again.
STRAY = 2

NO_PLANES = (np.empty((0, 0), np.uint8),)


class WovenReader(Reader):
    """A reader that gives interlaced pictures as they are decoded."""

    takes_fields = True


class ProgressiveReader:
    """The progressive frames of an interlaced video, with the interface of `Reader`.

    way: "single" (bwdif, a frame for each picture), "double" (one for each field), "film" (fieldmatch and
    decimate: the film behind 3:2 pulldown). start, frames: counted in the frames that are given. A frame has
    kind, QP and side data of the picture that it comes from. Decoding always begins at the beginning.

    Raises VqeError as `Reader` does, and for a video that is not interlaced.
    """

    def __init__(
        self, path: Path, way: str, hm_log: Path | None = None, start: int = 0, frames: int | None = None
    ) -> None:
        self._reader = WovenReader(path, hm_log)
        self._way, self._start, self._frames = way, start, frames
        self._times = Times()
        self._top_first = self._order(path)
        woven = self._reader.info
        pace = {SINGLE: Fraction(1), DOUBLE: Fraction(2), FILM: FILM_SHARE}[way]
        finer = 2 if way == DOUBLE else 1
        self.info: VideoInfo = replace(
            woven,
            rate=None if woven.rate is None else woven.rate * pace,
            time_base=woven.time_base / finer,
            start_pts=None if woven.start_pts is None else woven.start_pts * finer,
            frame_count=None if woven.frame_count is None else round(woven.frame_count * pace),
            field_order="progressive",
            first_index=start,
        )
        self._anchor: tuple[int, int] | None = None

    def _order(self, path: Path) -> bool:
        """Whether the top field comes first; raises VqeError where there are no fields to take apart."""
        info = self._reader.info
        if info.codec == "hevc" and info.field_order not in ("progressive", "unknown"):
            raise InputError(
                f"{path} is HEVC of single fields, which decoders give one by one.",
                f"Weave and deinterlace it first: ffmpeg -i {as_argument(path)} -vf weave,bwdif -c:v ffv1 "
                "-c:a copy PROGRESSIVE.mkv",
            )
        if self._way == FILM and info.colour.bit_depth > 8:
            raise InputError(
                f"{path} has {info.colour.bit_depth} bits, and film is found in 8-bit video only.",
                "Leave --detelecine out, or use --deinterlace single.",
            )
        top_first = top_field_first(path)
        if top_first is None:
            raise InputError(
                f"{path} is not interlaced.", "Enhance it without --deinterlace and --detelecine."
            )
        return top_first

    def keep(self, times: Times) -> None:
        """Gives only the frames whose times lie inside; called before the first one."""
        self._times = times
        self.info = replace(self.info, first_index=times.frames(self.info)[0])

    def seek(self, seconds: float) -> None:
        """As `Reader.seek`."""
        self._reader.seek(seconds)

    @property
    def warnings(self) -> list[str]:
        """As the reader's."""
        return self._reader.warnings

    def __enter__(self) -> Self:
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame]:
        return each_reading(self.info.path, self._shown())

    def _shown(self) -> Iterator[Frame]:
        """The frames of the part."""
        stop = None if self._frames is None else self._start + self._frames
        before: Frame | None = None
        index = -1
        for index, frame in enumerate(self._progressive()):
            seconds = ((frame.pts or 0) - (self.info.start_pts or 0)) * self.info.time_base
            if (stop is not None and index >= stop) or self._times.is_past(seconds):
                return
            if index >= self._start and self._times.holds(seconds):
                before = replace(frame, index=index, duplicate_of=None).after(before)
                yield before
        if index < self._start:
            raise InputError(
                f"{self.info.path} has only {index + 1} pictures, none from picture {self._start} on.",
                "Choose an earlier start.",
            )

    def _progressive(self) -> Iterator[Frame]:
        """All frames, numbered and timed later by what is counted here."""
        graph = self._graph()
        planar = sample_format(self.info.pix_fmt).planar
        rate = self.info.rate or DEFAULT_RATE
        pushed: deque[Frame] = deque(maxlen=HELD)
        last: Frame | None = None
        for frame in self._with_end():
            if frame is None:
                graph.vpush(None)
            else:
                picture = picture_of(frame.planes, planar)
                picture.pts, picture.time_base, picture.opaque = frame.index, 1 / rate, frame.index
                picture.duration = 1  # without one, FFmpeg's filter `fps` loses the last
                pushed.append(replace(frame, planes=NO_PLANES))
                graph.vpush(picture)
            for made in _pulled(graph):
                source = next(each for each in pushed if each.index == made.opaque)
                is_second = last is source
                last = source
                yield self._made(made, source, is_second, pushed)

    def _with_end(self) -> Iterator[Frame | None]:
        yield from self._reader
        yield None

    def _graph(self) -> Graph:
        """The filters, from a source to a sink."""
        info = self._reader.info
        planar = sample_format(info.pix_fmt).planar
        rate = info.rate or DEFAULT_RATE
        order = "tff" if self._top_first else "bff"
        mode = "send_field" if self._way == DOUBLE else "send_frame"
        filters = [("bwdif", f"mode={mode}:parity={order}:deint=all")]
        if self._way == FILM:
            # What finds no match stays woven, is marked, and is deinterlaced.
            filters = [
                ("fps", str(rate)),
                ("fieldmatch", f"order={order}:combmatch=full"),
                ("bwdif", f"mode=send_frame:parity={order}:deint=interlaced"),
                ("decimate", ""),
            ]
        graph = Graph()
        source = graph.add_buffer(
            width=info.width, height=info.height, format=av.VideoFormat(planar), time_base=1 / rate
        )
        nodes = [graph.add(name, arguments or None) for name, arguments in filters]
        nodes += [graph.add("format", planar), graph.add("buffersink")]
        graph.link_nodes(source, *nodes).configure()
        return graph

    def _made(self, picture: av.VideoFrame, source: Frame, is_second: bool, pushed: deque[Frame]) -> Frame:
        """A frame of a filter's picture. is_second: it shows the second field of its source."""
        frame = replace(source, planes=planes_of(picture))
        if self._way == SINGLE:
            return frame
        step = frame_step(self._reader.info)
        pts = source.index * step if source.pts is None else source.pts
        if self._way == FILM:
            return replace(frame, pts=self._film_time(pts, step), duration=None)
        later = next((each.pts for each in pushed if each.index == source.index + 1), None)
        halves = pts + (pts + step if later is None else later) if is_second else 2 * pts
        return replace(frame, pts=halves, irap=frame.irap and not is_second)

    def _film_time(self, pts: int, step: int) -> int:
        """An even pace of film, as long as the pictures that it comes from keep theirs."""
        if self._anchor is None:
            self._anchor = (pts, 0)
        first, count = self._anchor
        even = first + round(Fraction(count * step) / FILM_SHARE)
        if abs(even - pts) > STRAY * step:
            first, count, even = pts, 0, pts
        self._anchor = (first, count + 1)
        return even


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
