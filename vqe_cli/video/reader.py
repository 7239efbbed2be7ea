"""Video files as Frames: each picture decoded once, with what its headers say riding on its packet."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vqe_cli.bitstream import hm_log as hm_logs
from vqe_cli.bitstream.av1 import Av1Parser
from vqe_cli.bitstream.headers import Picture
from vqe_cli.bitstream.packets import KnownPackets, PacketParser, decoded_from
from vqe_cli.bitstream.side_data import EXPORT_OPTION, frame_qp
from vqe_cli.errors import InputError
from vqe_cli.video.clock import ShownTimes, frame_step
from vqe_cli.video.damage import Damage
from vqe_cli.video.formats import planes_of
from vqe_cli.video.frame import DEFAULT_RATE, Frame, VideoInfo
from vqe_cli.video.interlace import is_interlaced
from vqe_cli.video.late_start import from_key_picture
from vqe_cli.video.opening import (
    each_reading,
    format_change,
    interlaced,
    open_input,
    reading,
    size_change,
    undecodable,
    video_stream,
)
from vqe_cli.video.probe import INTERLACED, OUTPUT_CORRUPT, UNALIGNED, parsed, probe_container, side_data_of
from vqe_cli.video.timeline import Timeline, timeline_of
from vqe_cli.video.times import Times

AV1_DECODERS = ("av1", "libdav1d")
KINDS = {1: "I", 2: "P", 3: "B"}


class WrongEntry(Exception):
    """Decoding cannot begin at an entry, or does not give the same pictures from there; a caller's matter."""


@dataclass(frozen=True)
class RawLayout:
    """How frames lie in a file of raw planes: size in pixels, FFmpeg's pixel format, frames per second."""

    width: int
    height: int
    pix_fmt: str = "yuv420p"
    rate: float = float(DEFAULT_RATE)


@dataclass(frozen=True)
class Entry:
    """A random access picture: its index among the shown pictures, and its pts."""

    index: int
    pts: int


# Side data that belongs to the input's coding or is handed on in another way.
NOT_CARRIED = {"VIDEO_ENC_PARAMS", "MOTION_VECTORS", "DISPLAYMATRIX", "SEI_UNREGISTERED"}


class Reader:
    """The shown pictures of a video file in display order: `with Reader(path) as reader: for frame in
    reader`.

    hm_log: an HM log that gives the QPs which the headers do not. start, frames: the part to give, counted in
    shown pictures (frames None: to the end); what comes before is decoded and dropped. raw: of files
    that do not describe themselves. entry: decoding begins there, what comes before is read but not
    decoded. Iterate once. `info` is there from the start, `warnings` (a list of sentences) is complete at
    the end. Who has read the headers of all packets before sets `known_packets` and spares reading them
    again.

    Raises VqeError as `probe` does, and: interlaced video; a log that does not match; no picture can be
    decoded; picture size or pixel format change on the way; `start` lies beyond the end.
    """

    takes_fields = False
    """Whether interlaced pictures are given as they are, for those who deinterlace them."""

    def __init__(
        self,
        path: str | Path,
        hm_log: str | Path | None = None,
        start: int = 0,
        frames: int | None = None,
        raw: RawLayout | None = None,
        entry: Entry | None = None,
    ) -> None:
        self.path = Path(path)
        self._entry, self._entered = entry, False
        self._begin = entry  # where decoding begins; None for the beginning
        self._start, self._frames = start, frames
        self._raw = raw
        self._part_times = Times()
        self._near_s: float | None = None
        with self._opened() as container, reading(self.path):
            self.info: VideoInfo = replace(probe_container(container, self.path), first_index=start)
        self._by_flag_only = False
        if self.info.field_order in INTERLACED and not self.takes_fields:
            if is_interlaced(self.path):
                raise interlaced(self.path)
            self._by_flag_only = True
            self.info = replace(self.info, field_order="progressive")
        self._hevc = self.info.codec == "hevc"
        self._log = hm_logs.read(hm_log) if hm_log is not None else None
        self._from_log: list[Picture] | list[hm_logs.LogPicture] = []
        self.known_packets: KnownPackets | None = None
        self._container: InputContainer | None = None
        self._parser: PacketParser | None = None
        self._parsed = 0
        self._av1: Av1Parser | None = None
        self._av1_qps: dict[int | None, int | None] = {}  # by pts; pictures without one stay unknown
        self._damage = Damage()
        self._timeline: Timeline | None = None
        self._times = ShownTimes(frame_step(self.info))

    def keep(self, times: Times) -> None:
        """Gives only the frames whose times lie inside; called before the first one."""
        self._part_times = times
        self.info = replace(self.info, first_index=times.frames(self.info)[0])

    def seek(self, seconds: float) -> None:
        """Decoding begins at a key picture that the container finds for this time after the first picture;
        called before the first frame. For a look at some pictures: indices count from there, and containers
        may find one behind the time.
        """
        self._near_s = seconds

    def __enter__(self) -> Self:
        if self._log is not None:
            self._from_log = self._matched(self._log)
        self._container = self._opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def warnings(self) -> list[str]:
        """What went wrong without stopping the reading, at most one sentence of each kind."""
        found = [f"{self.path}: {sentence}" for sentence in (self._parser.warnings if self._parser else [])]
        if self._damage.undecodable:  # the parser's remark on broken packets would say the same again
            found = [sentence for sentence in found if "packets are damaged" not in sentence]
        if self.info.transparent:
            found.append(f"{self.path}: transparency is not kept")
        if self._by_flag_only:
            found.append(
                f"{self.path} is marked as interlaced, but its pictures are not, and are enhanced as they are"
            )
        found += self._damage.sentences(self.path)
        return found + (self._timeline.sentences(self.path) if self._timeline is not None else [])

    def __iter__(self) -> Iterator[Frame]:
        return each_reading(self.path, self._shown())

    def _shown(self) -> Iterator[Frame]:
        """The frames of the part."""
        assert self._container is not None, "Reader is a context manager"
        stop = None if self._frames is None else self._start + self._frames
        before: Frame | None = None
        index = -1
        pictures = self._from_entry(self._pictures(self._container))
        for number, (picture, time) in enumerate(self._times.timed(pictures)):
            index = number + (0 if self._begin is None else self._begin.index)
            shown_s = self._seconds(time, index)
            if (stop is not None and index >= stop) or self._part_times.is_past(shown_s):
                return
            self._check_unchanged(picture, index)
            if index >= self._start and self._part_times.holds(shown_s):
                before = self._frame(picture, index, time).after(before)
                yield before
        if index < 0 and self._entry is not None:
            raise WrongEntry
        if index < 0:
            raise undecodable(self.path)
        if index < self._start:
            raise InputError(
                f"{self.path} has only {index + 1} pictures, none from picture {self._start} on.",
                remedy="Choose an earlier start.",
            )

    def _seconds(self, time: int | None, index: int) -> Fraction:
        """When a picture is shown, seconds after the first one."""
        ticks = index * frame_step(self.info) if time is None else time - (self.info.start_pts or 0)
        return ticks * self.info.time_base

    def _from_entry(self, pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """The pictures from the one on where decoding began."""
        for picture in pictures:
            if self._begin is None or (picture.pts is not None and picture.pts >= self._begin.pts):
                yield picture

    def _set_begin(self, index: int, pts: int) -> None:
        self._begin = Entry(index, pts)

    def _opened(self) -> InputContainer:
        if self._raw is None:
            return open_input(self.path)
        rate = Fraction(self._raw.rate).limit_denominator(1001)
        size = f"{self._raw.width}x{self._raw.height}"
        options = {"video_size": size, "pixel_format": self._raw.pix_fmt, "framerate": str(rate)}
        return open_input(self.path, "rawvideo", options)

    def _pictures(self, container: InputContainer) -> Iterator[av.VideoFrame]:
        """Decoded pictures in display order; of HEVC each carries its `Picture` as `opaque`.

        Only slices are decoded in parallel where packets carry something: PyAV's frame threads free it
        without the interpreter's lock being free, and closing early then hangs (PyAV 18.1).
        """
        stream = video_stream(container, self.path)
        context = stream.codec_context
        context.flags |= OUTPUT_CORRUPT | UNALIGNED
        if self._hevc:
            context.copy_opaque = True
            context.thread_type = "SLICE"
            self._parser = self.known_packets or PacketParser(context.extradata)
        else:
            context.options = {**context.options, **EXPORT_OPTION}
            # Of H.264 frames that are decoded in parallel FFmpeg exports QPs that are not there yet.
            context.thread_type = "SLICE" if self.info.codec == "h264" else "AUTO"
        begun = False
        packets = self._demuxed(container, stream)
        if self._begin is None and self._part_times.start_us > 0:
            packets = from_key_picture(packets, self._part_times, self.info, self._set_begin)
        for packet in packets:
            if packet is not None and self._is_before_entry(packet):
                continue
            if packet is not None and not packet.is_discard:
                self._times.coded(packet)
            try:
                pictures = context.decode(packet)
            except av.error.FFmpegError:
                self._lost(packet, begun)
                continue
            if pictures and not begun and self._begin is None and not self._hevc:
                self._damage.left_out += self._times.earlier(pictures[0])
            begun = begun or bool(pictures)
            yield from pictures

    def _lost(self, packet: Packet | None, begun: bool) -> None:
        """Counts a packet that cannot be decoded; one before any key picture says nothing of damage."""
        if packet is None or begun or packet.is_keyframe:
            self._damage.undecodable += 1
        else:
            self._damage.left_out += 1
        if packet is not None:
            self._times.lost(packet)

    def _demuxed(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet | None]:
        """The stream's packets with their pictures on them, then None, which makes the decoder give its
        rest.
        """
        self._timeline = timeline_of(container, stream)
        self._av1 = Av1Parser(stream.codec_context.extradata) if self.info.codec in AV1_DECODERS else None
        begun = self._near_s is None
        try:
            if self._near_s is not None:
                seek_before(container, stream, self.info, self._near_s)
            for packet in container.demux(stream):
                begun = begun or packet.is_keyframe
                if not begun:
                    continue
                if packet.size == 0:
                    # An empty packet stands for a picture that is shown on; without a time, for the end.
                    self._damage.packets += packet.dts is not None
                    continue
                self._damage.packets += 1
                if packet.pts is not None:
                    end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self._damage.end_s = max(self._damage.end_s, end_s)
                self._timeline.move(packet)
                if self._parser is not None:
                    coded = self._picture(parsed(self._parser, packet))
                    # What a decoder skips would be shown because of the flag, and spoil what comes after it.
                    if coded is not None and coded.skipped:
                        self._damage.left_out += coded.sequence == 0 and not packet.is_discard
                        continue
                    packet.opaque = coded
                elif self._av1 is not None and packet.pts is not None:
                    self._av1_qps[packet.pts] = self._av1.parse(bytes(packet))
                yield packet
        except av.error.FFmpegError as error:
            self._damage.unreadable = error.strerror or "unknown error"
        else:
            self._damage.compare(container, stream, self.path)
        yield None

    def _is_before_entry(self, packet: Packet) -> bool:
        """Whether the entry is still to come, in decoding order."""
        if self._entry is not None and not self._entered:
            self._entered = packet.is_keyframe and packet.pts == self._entry.pts
        return self._entry is not None and not self._entered

    def _picture(self, pictures: list[Picture]) -> Picture | None:
        """What rides on a packet: its first picture, with the log's QP where there is a log."""
        first = self._parsed
        self._parsed += len(pictures)
        logged = self._from_log[first] if len(pictures) == 1 and first < len(self._from_log) else None
        return logged if isinstance(logged, Picture) else decoded_from(pictures)

    def _matched(self, log: hm_logs.HmLog) -> list[Picture] | list[hm_logs.LogPicture]:
        """The log's knowledge: for HEVC in coding order (headers alone are read), else in display order."""
        with self._opened() as container, reading(self.path):
            stream = video_stream(container, self.path)
            packets = (packet for packet in container.demux(stream) if packet.size)
            if not self._hevc:
                return hm_logs.in_display_order(log, sum(1 for _ in packets), str(self.path))
            parser = PacketParser(stream.codec_context.extradata)
            pictures = [picture for packet in packets for picture in parsed(parser, packet)]
        return hm_logs.match(log, pictures, str(self.path))

    def _check_unchanged(self, picture: av.VideoFrame, index: int) -> None:
        """Raises VqeError where a picture differs from the first in size or format, or is interlaced."""
        if (picture.width, picture.height) != (self.info.width, self.info.height):
            raise size_change(self.info, index, picture.width, picture.height)
        if picture.format.name != self.info.pix_fmt:
            raise format_change(self.info, index, picture.format.name)
        if picture.interlaced_frame and not self._by_flag_only and not self.takes_fields:
            if is_interlaced(self.path, picture.time):
                raise interlaced(self.path, index)
            self._by_flag_only = True

    def _frame(self, picture: av.VideoFrame, index: int, time: int | None) -> Frame:
        """The hand-over of one decoded picture; time: its pts."""
        self._damage.corrupt += picture.is_corrupt
        frame = Frame(
            index=index,
            planes=planes_of(picture),
            pts=time,
            duration=picture.duration or None,
            kind=KINDS.get(int(picture.pict_type), "?"),
            irap=picture.key_frame,
            side_data=carried_by(picture),
        )
        coded: object = picture.opaque if self._hevc else None
        if isinstance(coded, Picture):
            kind = coded.kind if coded.kind != "?" else frame.kind
            return replace(
                frame, kind=kind, irap=coded.irap, qp=coded.qp, network_qp=coded.qp, sequence=coded.sequence
            )
        line = self._from_log[index] if not self._hevc and index < len(self._from_log) else None
        if isinstance(line, hm_logs.LogPicture):
            return replace(frame, kind=line.kind, qp=line.qp, network_qp=line.qp)
        if self._av1 is not None:
            return replace(frame, qp=self._av1_qps.pop(picture.pts, None))
        qp, network_qp = frame_qp(picture)
        return replace(frame, qp=qp, network_qp=network_qp)


def seek_before(container: InputContainer, stream: VideoStream, info: VideoInfo, seconds: float) -> None:
    """Goes to the last key picture at or before a time, seconds after the first picture, as far as the
    container knows where that is. Raises FFmpegError where it cannot seek.
    """
    ticks = round(Fraction(seconds).limit_denominator(1_000_000) / info.time_base)
    container.seek((info.start_pts or 0) + ticks, stream=stream, backward=True)


def carried_by(picture: av.VideoFrame) -> dict[str, bytes]:
    """The side data of a picture that must reach the written one."""
    return {name: data for name, data in side_data_of(picture).items() if name not in NOT_CARRIED}
