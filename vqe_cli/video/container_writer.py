"""Frames encoded into a container, beside the copied streams of the input."""

import os
from collections.abc import Sequence
from contextlib import suppress

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vqe_cli.errors import VqeError
from vqe_cli.video import losses, matroska_aspect
from vqe_cli.video.clock import Clock
from vqe_cli.video.copies import Copies
from vqe_cli.video.encoders import Encoding, choose_codec, configure, new_encoder
from vqe_cli.video.formats import sample_format
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.hdr_container import template
from vqe_cli.video.planes import picture_of
from vqe_cli.video.targets import Target

MOV_MUXERS = ("mp4", "mov")

GLOBAL_HEADER = 1 << 22  # FFmpeg's flag for encoders: parameter sets go there alone


class ContainerWriter:
    """See `Writer`. All that can be refused is refused here, before the first frame: the header is written at
    once.
    """

    def __init__(self, target: Target, info: VideoInfo, wanted: Encoding, scale: int, part: bool) -> None:
        self._target, self._info = target, info
        self._planar = sample_format(info.pix_fmt).planar
        self._size = (info.width * scale, info.height * scale)
        self._clock = Clock(info, part)
        self._output: OutputContainer | None = None
        self._durations: dict[int, int] = {}
        self._muxed = False
        self.warnings: list[str] = []
        codec, warning = choose_codec(info, wanted, self._size)
        if warning:
            self.warnings.append(f"{info.path}: {warning}")
        self.warnings += losses.of_stream(info, target.muxer, codec)
        self._aspect_by_hand = _aspect_by_hand(target, info, codec)
        self._copies = Copies(info, target.muxer)
        try:
            self._copies.check(target.path)
            options = _muxer_options(target, info)
            if self._aspect_by_hand:
                options |= matroska_aspect.MUXER_OPTIONS
            self._output = av.open(str(target.aside), "w", format=target.muxer, options=options)
            self._stream = self._add_video(self._output, codec, wanted)
            self._copies.add_to(self._output, whole=not part)
            self._output.start_encoding()
        except BaseException:
            self.discard()
            raise

    def write(self, planes: Sequence[np.ndarray], frame: Frame) -> None:
        """Encodes one frame and copies what belongs beside it."""
        picture = picture_of(planes, self._planar)
        assert (picture.width, picture.height) == self._size
        picture.pts = self._clock.tick(frame)
        picture.time_base = self._info.time_base
        picture.colorspace = self._encoder.colorspace
        picture.color_range = self._encoder.color_range
        self.warnings += [each for each in losses.of_frame(self._info, frame) if each not in self.warnings]
        if frame.duration is not None:
            picture.duration = self._durations[picture.pts] = frame.duration
        self._mux(self._encoder.encode(picture))

    def finish(self) -> None:
        """Takes the encoder's rest, copies the other streams to their end, closes and renames the file."""
        assert self._output is not None
        last = self._encoder.encode(None)
        self._mux(last if self._muxed else in_decoding_order(last))
        self._copies.up_to(self._clock.end_s, self._output, self._clock)
        self._copies.close()
        self._output.close()
        if self._aspect_by_hand and self._info.sample_aspect is not None:
            matroska_aspect.fill_in(self._target.aside, self._size, self._info.sample_aspect)
        os.replace(self._target.aside, self._target.path)

    def discard(self) -> None:
        """Removes the incomplete file."""
        self._copies.close()
        if self._output is not None:
            with suppress(OSError, av.error.FFmpegError):  # why it is not complete is known already
                self._output.close()
        self._target.aside.unlink(missing_ok=True)

    def _mux(self, packets: list[Packet]) -> None:
        """Writes encoded packets, each after the other streams' packets that are due before it."""
        assert self._output is not None
        for packet in packets:
            packet.stream = self._stream
            if packet.pts is not None and packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            if packet.dts is not None:
                due_s = float(packet.dts * packet.time_base)
                self._copies.up_to(due_s + self._clock.shift_s, self._output, self._clock)
            self._output.mux(packet)
            self._muxed = True

    def _add_video(self, output: OutputContainer, codec: str, wanted: Encoding) -> VideoStream:
        """The stream of the enhanced video with the tags of the input's; its encoder is opened as
        `_encoder`.
        """
        try:
            stream = self._described(output, codec, wanted) or self._plain(output, codec, wanted)
        except ValueError as error:
            raise VqeError(
                f"{self._target.path}: {self._target.muxer} files cannot hold video of {codec}.",
                remedy="Write an .mkv file, or choose another --codec.",
            ) from error
        stream.time_base = self._info.time_base
        if self._target.muxer in MOV_MUXERS and codec == "libx265":
            stream.codec_context.codec_tag = "hvc1"  # what Apple's players ask for
        if self._info.display_matrix:
            stream.set_display_matrix(self._info.display_matrix)
        stream.metadata.update(self._copies.video_tags)
        stream.disposition = self._copies.video_disposition
        return stream

    def _plain(self, output: OutputContainer, codec: str, wanted: Encoding) -> VideoStream:
        """A stream with an encoder of its own."""
        stream = output.add_stream(codec)
        assert isinstance(stream, VideoStream)
        self._encoder = stream.codec_context
        configure(self._encoder, codec, self._info, wanted, self._size)
        return stream

    def _described(self, output: OutputContainer, codec: str, wanted: Encoding) -> VideoStream | None:
        """A stream with HDR10 metadata in the container's header, None where that is not wanted or
        possible.
        """
        if self._target.muxer not in losses.DESCRIBING_MUXERS:
            return None
        side_data = matroska_aspect.SIDE_DATA if self._aspect_by_hand else self._info.side_data
        source = template(codec, side_data)
        if source is None:
            return None
        # The container's header keeps the encoder's parameter sets in all of these muxers.
        with source:
            stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        self._encoder = new_encoder(codec)
        self._encoder.flags |= GLOBAL_HEADER
        configure(self._encoder, codec, self._info, wanted, self._size)
        told = stream.codec_context
        told.width, told.height = self._size
        told.pix_fmt, told.extradata = self._encoder.pix_fmt, self._encoder.extradata
        told.framerate, told.field_order = self._encoder.framerate, self._encoder.field_order
        told.color_primaries, told.color_trc = self._encoder.color_primaries, self._encoder.color_trc
        told.colorspace, told.color_range = self._encoder.colorspace, self._encoder.color_range
        if self._info.sample_aspect is not None:
            told.sample_aspect_ratio = self._info.sample_aspect
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


def _aspect_by_hand(target: Target, info: VideoInfo, codec: str) -> bool:
    """Whether neither the codec's stream nor FFmpeg's muxer would keep the pixel aspect ratio."""
    told = info.sample_aspect not in (None, 1) and "CONTENT_LIGHT_LEVEL" not in info.side_data
    return told and target.muxer in ("matroska", "webm") and codec in ("ffv1", "libsvtav1", "libvpx-vp9")


def _muxer_options(target: Target, info: VideoInfo) -> dict[str, str]:
    """Options that make the container keep the input's times."""
    if target.muxer in MOV_MUXERS and info.time_base.numerator == 1:
        return {"video_track_timescale": str(info.time_base.denominator)}
    if target.muxer == "mpegts":
        return {"mpegts_copyts": "1"}
    if target.muxer in ("matroska", "webm"):
        # Sound of MP4 files starts a little before zero; FFmpeg would move the whole file on by that much.
        return {"avoid_negative_ts": "disabled"}
    return {}
