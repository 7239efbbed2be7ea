"""Frames to coded pictures, for a part of a video that is joined to its neighbours later (`Writer.join`).

The same encoders, configured in the same way, as those of the whole: only so do the parts fit together.
"""

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import Protocol

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from vqe_cli.video.coded import Coded
from vqe_cli.video.encoders import decoder_header, frame_losses, new_stream_encoder, pictured
from vqe_cli.video.formats import sample_format
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.images import image_of
from vqe_cli.video.targets import Encoding, Target
from vqe_cli.video.y4m import payload


class Coder(Protocol):
    """What codes the frames of one part. `header`: what a decoder must know before; equal for all parts."""

    warnings: list[str]

    @property
    def header(self) -> bytes: ...

    def encode(self, planes: Sequence[np.ndarray], frame: Frame) -> list[Coded]:
        """Takes a frame, whose pts is the one to write; gives what is ready."""

    def flush(self) -> list[Coded]:
        """Gives the rest; nothing can be encoded afterwards."""


def new_coder(target: Target, info: VideoInfo, wanted: Encoding, scale: int) -> Coder:
    """A coder for a part of what goes to `target`; wanted: with the codec that was chosen for the whole."""
    if target.kind == "container":
        return VideoCoder(target, info, wanted, scale)
    return PictureCoder(target, info)


class VideoCoder:
    """Frames to packets of a video codec."""

    def __init__(self, target: Target, info: VideoInfo, wanted: Encoding, scale: int) -> None:
        self._info = info
        self._planar = sample_format(info.pix_fmt).planar
        self._durations: dict[int, int] = {}
        self.warnings: list[str] = []
        size = (info.width * scale, info.height * scale)
        # Nothing is written to it: it only prepares the encoder as that of a whole video.
        scratch = av.open(BytesIO(), "w", format=target.muxer)
        self._encoder: VideoCodecContext
        _, self._encoder = new_stream_encoder(scratch, info, wanted, size)
        self._scratch = scratch

    @property
    def header(self) -> bytes:
        return decoder_header(self._encoder)

    def encode(self, planes: Sequence[np.ndarray], frame: Frame) -> list[Coded]:
        assert frame.pts is not None
        picture = pictured(planes, self._planar, self._info, self._encoder)
        picture.pts = frame.pts
        self.warnings += [each for each in frame_losses(self._info, frame) if each not in self.warnings]
        if frame.duration is not None:
            picture.duration = self._durations[frame.pts] = frame.duration
        return self._coded(self._encoder.encode(picture))

    def flush(self) -> list[Coded]:
        rest = self._coded(self._encoder.encode(None))
        with suppress(OSError, FFmpegError):
            self._scratch.close()
        return rest

    def _coded(self, packets: list[Packet]) -> list[Coded]:
        coded = []
        for packet in packets:
            assert packet.pts is not None, "encoders keep the times that they are given"
            duration = self._durations.pop(packet.pts, packet.duration or None)
            coded.append(Coded(bytes(packet), packet.pts, duration, packet.is_keyframe))
        return coded


class PictureCoder:
    """Frames to PNG files or to raw planes: each picture stands for itself."""

    header = b""

    def __init__(self, target: Target, info: VideoInfo) -> None:
        self._info = info if target.kind == "images" else None
        self.warnings: list[str] = []

    def encode(self, planes: Sequence[np.ndarray], frame: Frame) -> list[Coded]:
        data = payload(planes) if self._info is None else image_of(planes, self._info)
        return [Coded(data, frame.pts or 0)]

    def flush(self) -> list[Coded]:
        return []
