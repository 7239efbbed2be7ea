"""Frames encoded into a container, beside the copied streams of the input."""

import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vqe_cli.video.clock import Clock, Pace
from vqe_cli.video.coded import decoding_times, read_coded, times_of
from vqe_cli.video.copies import MOV_MUXERS, Copies
from vqe_cli.video.encoders import (
    choose_codec,
    decoder_header,
    frame_losses,
    new_stream_encoder,
    pictured,
    stream_losses,
)
from vqe_cli.video.formats import sample_format
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.pipes import STDOUT, StandardOutput
from vqe_cli.video.selection import NotHeld, Selection
from vqe_cli.video.targets import Encoding, Output, Target

# Ticks a second of a track; finer ones leave too little room for pauses (2^31 ticks).
FINEST_TIMESCALE, USUAL_TIMESCALE = 192_000, 90_000


@dataclass(frozen=True)
class ContainerPlan:
    """What is written: an output that is a container (target), with a selection of the streams of the input
    (info).
    """

    output: Output
    target: Target
    info: VideoInfo
    selection: Selection = field(default_factory=Selection)


class ContainerWriter:
    """See `Writer`. The header is written at once.

    plan: one that has been tried out (`trial.try_out`). place: the file that is written, memory for a trial,
    or a pipe. codec, pix_fmt: of the written video. copies: the other streams.
    """

    def __init__(self, plan: ContainerPlan, place: Path | BytesIO | StandardOutput) -> None:
        output, target, info = plan.output, plan.target, plan.info
        self._target, self._info, self._wanted, self._place = target, info, output.encoding, place
        self._planar = sample_format(info.pix_fmt).planar
        self._size = (info.width * output.scale, info.height * output.scale)
        self._clock = Clock(info, output.part)
        self._output: OutputContainer | None = None
        self._durations: dict[int, int] = {}
        self._muxed = self._joined = False
        self._own_warnings: list[str] = []
        self.codec, warning = choose_codec(info, self._wanted, self._size)
        if warning:
            self._own_warnings.append(f"{info.path}: {warning}")
        self._own_warnings += stream_losses(info, target.muxer, self.codec)
        self._aspect_by_hand = _aspect_by_hand(target, info, self.codec)
        if self._aspect_by_hand and target.path == STDOUT:
            self._aspect_by_hand = False  # it is written when all is there
            self._own_warnings.append(f"{target.path}: the shape of pixels is not kept in this pipe")
        self.copies = Copies(info, target.muxer, plan.selection)
        try:
            options = _muxer_options(target, info)
            if isinstance(place, StandardOutput):
                options["flush_packets"] = "1"  # whoever reads shall see them now
            if self._aspect_by_hand:
                options |= ASPECT_OPTIONS
            where = str(place.absolute()) if isinstance(place, Path) else place
            self._output = av.open(where, "w", format=target.muxer, options=options)
            self._stream = self._add_video(self._output)
            self._pace = Pace(self._output)
            self.copies.add_to(self._output, output)
            self._output.start_encoding()
        except BaseException:
            self.close()
            raise

    @property
    def warnings(self) -> list[str]:
        """Sentences about what could not be kept or had to be chosen, complete at the end."""
        return [*self._own_warnings, *self.copies.warnings]

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name of the written pixel format."""
        return str(self._encoder.pix_fmt)

    @property
    def header(self) -> bytes:
        """What a decoder must know before the first packet."""
        return decoder_header(self._encoder)

    def write(self, planes: Sequence[np.ndarray], frame: Frame) -> None:
        """Encodes one frame and copies what belongs beside it."""
        picture = pictured(planes, self._planar, self._info, self._encoder)
        assert (picture.width, picture.height) == self._size
        picture.pts = self._clock.tick(frame)
        lost = frame_losses(self._info, frame)
        self._own_warnings += [each for each in lost if each not in self._own_warnings]
        if frame.duration is not None:
            picture.duration = self._durations[picture.pts] = frame.duration
        self._mux(self._encoder.encode(picture))

    def join(self, parts: Sequence[Path], clock: Clock) -> None:
        """Takes the packets of all parts in place of frames; clock: has seen all their frames."""
        self._clock, self._joined = clock, True
        due = decoding_times([time for part in parts for time in times_of(part)])
        for part in parts:
            for coded in read_coded(part):
                packet = Packet(coded.data)
                packet.pts, packet.dts, packet.time_base = coded.pts, next(due), self._info.time_base
                packet.is_keyframe = coded.keyframe
                if coded.duration is not None:
                    packet.duration = coded.duration
                self._mux([packet])

    def dry_run(self) -> set[int]:
        """Writes a picture, packets of the copied streams and the end of the file, in place of all else.

        Gives the indices of the streams that had packets.
        """
        assert self._output is not None
        written = set()
        if not _keeps_statistics(self._wanted):
            written.add(self._info.stream_index)
            picture = av.VideoFrame(*self._size, self._planar)
            for plane in picture.planes:
                plane.update(bytes(plane.buffer_size))
            picture.pts, picture.time_base = max(0, self._info.start_pts or 0), self._info.time_base
            coded = in_decoding_order([*self._encoder.encode(picture), *self._encoder.encode(None)])
            for packet in coded:
                packet.stream = self._stream
            self._output.mux(coded)
        written |= self.copies.sample(self._output)
        self.copies.check_gaps()
        self._output.close()
        return written

    def finish(self) -> None:
        """Takes the encoder's rest, copies the other streams to their end, and closes the file."""
        assert self._output is not None
        if not self._joined:
            last = self._encoder.encode(None)
            self._mux(last if self._muxed else in_decoding_order(last))
        self.copies.up_to(self._clock.end_s, self._output, self._clock)
        self.copies.close()
        self._output.close()
        if self._aspect_by_hand and self._info.sample_aspect is not None:
            assert isinstance(self._place, Path), "a dry run ends before"
            fill_in_aspect(self._place, self._size, self._info.sample_aspect)

    def close(self) -> None:
        """Closes the incomplete file."""
        self.copies.close()
        if self._output is not None:
            with suppress(OSError, av.error.FFmpegError):  # why it is not complete is known already
                self._output.close()

    def _mux(self, packets: list[Packet]) -> None:
        """Writes encoded packets, each after the other streams' packets that are due before it."""
        assert self._output is not None
        for packet in packets:
            packet.stream = self._stream
            if packet.pts is not None and packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            if packet.dts is not None:
                due_s = float(packet.dts * packet.time_base)
                self.copies.up_to(due_s + float(self._clock.shift), self._output, self._clock)
            self._settle(packet)
            self._output.mux(packet)
            self._muxed = True

    def _settle(self, packet: Packet) -> None:
        """The packet's times in ticks of its stream, which are coarse in AVI files."""
        meant_s = None if packet.pts is None else float(packet.pts * packet.time_base)
        self._pace.settle(packet, self._stream)
        step_s = float(self._stream.time_base or 0)
        if self._target.muxer != "avi" or meant_s is None or packet.pts is None or step_s > 1:
            return
        if abs(packet.pts * step_s - meant_s) > step_s / 4:
            warning = f"{self._target.path}: avi files have one frame rate, and pictures are moved to fit it"
            if warning not in self._own_warnings:
                self._own_warnings.append(warning)

    def _add_video(self, output: OutputContainer) -> VideoStream:
        """The stream of the enhanced video with the tags of the input's; its encoder is opened as
        `_encoder`.
        """
        try:
            side_data = ASPECT_SIDE_DATA if self._aspect_by_hand else None
            chosen = replace(self._wanted, codec=self.codec)
            stream, self._encoder = new_stream_encoder(output, self._info, chosen, self._size, side_data)
        except ValueError as error:
            raise NotHeld(f"{self._target.muxer} files cannot hold video of {self.codec}.") from error
        stream.time_base = self._info.time_base
        if self._target.muxer == "avi" and self._info.rate:
            stream.time_base = 1 / self._info.rate  # the only rate there is; its frames are counted
        if self._target.muxer in MOV_MUXERS and self.codec == "libx265":
            stream.codec_context.codec_tag = "hvc1"  # what Apple's players ask for
        if self._info.display_matrix:
            stream.set_display_matrix(self._info.display_matrix)
        stream.metadata.update(self.copies.video_tags)
        stream.disposition = self.copies.video_disposition
        return stream


def in_decoding_order(packets: list[Packet]) -> list[Packet]:
    """All packets of a short video, their decoding times set: the times of showing, sorted and moved back
    until no picture is decoded after it is shown.

    x265 leaves them unset, and so random, in videos of fewer pictures than it may reorder.
    """
    shown = [packet.pts for packet in packets if packet.pts is not None]
    assert len(shown) == len(packets), "encoders keep the times that they are given"
    ordered = sorted(shown)
    late = max((due - at for due, at in zip(ordered, shown, strict=True)), default=0)
    for packet, due in zip(packets, ordered, strict=True):
        packet.dts = due - late
    return packets


def _keeps_statistics(wanted: Encoding) -> bool:
    """Whether the encoder reads or writes a file, for one of several passes: a trial must not."""
    return any("stats" in key + value or "pass" in key + value for key, value in wanted.options.items())


def _aspect_by_hand(target: Target, info: VideoInfo, codec: str) -> bool:
    """Whether neither the codec's stream nor FFmpeg's muxer would keep the pixel aspect ratio."""
    needed = info.sample_aspect not in (None, 1) and "CONTENT_LIGHT_LEVEL" not in info.side_data
    return needed and target.muxer in ("matroska", "webm") and codec in ("ffv1", "libsvtav1", "libvpx-vp9")


def _muxer_options(target: Target, info: VideoInfo) -> dict[str, str]:
    """Options that make the container keep the input's times, and be the same whenever it is written: no
    random numbers, no date.
    """
    options = {"fflags": "+bitexact"}
    if target.muxer in MOV_MUXERS and info.time_base.numerator == 1:
        ticks = info.time_base.denominator
        options["video_track_timescale"] = str(ticks if ticks <= FINEST_TIMESCALE else USUAL_TIMESCALE)
    if target.muxer == "mpegts":
        options["mpegts_copyts"] = "1"
    if target.muxer in ("matroska", "webm", "avi"):
        # Sound of MP4 files starts a little before zero; FFmpeg would move the whole file on by that much.
        options["avoid_negative_ts"] = "disabled"
    return options


# --- the pixel aspect ratio in Matroska files, for codecs whose own stream does not tell it ---

# FFmpeg's muxer writes it only where the stream (not its codec) has one, and PyAV cannot set that. So the
# header is written with two place holders, the content light level, which are made into DisplayWidth and
# DisplayHeight in place when the file is complete: all four elements take seven bytes. Numbers: RFC 9559,
# section 5.1.4.1.28.
COLOUR, MAX_CLL, MAX_FALL = b"\x55\xb0", b"\x55\xbc\x84", b"\x55\xbd\x84"
DISPLAY_WIDTH, DISPLAY_HEIGHT = b"\x54\xb0\x84", b"\x54\xba\x84"
UNKNOWN_UNIT, RATIO_UNIT = b"\x54\xb2\x81\x04", b"\x54\xb2\x81\x03"  # DisplayUnit
PLACE_HOLDER = 0xFEDCBA98
ASPECT_SIDE_DATA = {"CONTENT_LIGHT_LEVEL": struct.pack("=2I", PLACE_HOLDER, PLACE_HOLDER)}

# The header checksum would be wrong afterwards.
ASPECT_OPTIONS = {"write_crc32": "0"}

HEADER_BYTES = 1 << 20


def fill_in_aspect(path: Path, size: tuple[int, int], aspect: Fraction) -> None:
    """Turns the place holders of a complete file into `size` (width, height) seen with pixels of `aspect`."""
    width = size[0] * aspect
    shape = struct.pack(">I", width.numerator), struct.pack(">I", size[1] * width.denominator)
    value = struct.pack(">I", PLACE_HOLDER)
    holders = MAX_CLL + value + MAX_FALL + value
    with path.open("r+b") as file:
        header = bytearray(file.read(HEADER_BYTES))
        at = header.find(holders)
        colour = header.rfind(COLOUR, 0, max(at, 0))
        unit = header.rfind(UNKNOWN_UNIT, 0, max(colour, 0))
        # Colour has a size of one byte, and the place holders are its last children: it shrinks by them.
        assert header[colour + 2] == 0x80 | (at + len(holders) - colour - 3), "FFmpeg's muxer has changed"
        header[colour + 2] -= len(holders)
        header[at : at + len(holders)] = DISPLAY_WIDTH + shape[0] + DISPLAY_HEIGHT + shape[1]
        if unit >= 0:  # WebM has no units but pixels
            header[unit : unit + len(UNKNOWN_UNIT)] = RATIO_UNIT
        file.seek(0)
        file.write(header)
