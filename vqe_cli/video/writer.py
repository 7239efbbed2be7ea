"""Frames as a video file: the input's times, tags and other streams, written aside and renamed when
complete.
"""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from av.error import FFmpegError

from vqe_cli.video import images, y4m
from vqe_cli.video.clock import Clock
from vqe_cli.video.container import ContainerPlan, ContainerWriter
from vqe_cli.video.encoder_options import quality
from vqe_cli.video.estimates import SizeEstimate, estimated_size
from vqe_cli.video.formats import sample_format
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.pipes import STDIN, STDOUT
from vqe_cli.video.targets import Output, Target, check_target, existing_folder, target_of, write_error
from vqe_cli.video.trial import try_out


class Sink(Protocol):
    """What all kinds of output do; the file that they write is made, published or removed by the caller."""

    @property
    def warnings(self) -> list[str]:
        """Sentences, complete at the end."""

    def write(self, planes: Sequence[np.ndarray], frame: Frame) -> None:
        """Takes one frame."""

    def join(self, parts: Sequence[Path], clock: Clock) -> None:
        """Takes the coded pictures of all parts of the video (`coded.CodedFile`) in place of frames."""

    def finish(self) -> None:
        """Completes what lies aside."""

    def close(self) -> None:
        """Closes what is not complete."""


class Writer:
    """Writes enhanced frames: `with Writer(output, info) as writer: writer.write(planes, frame)`.

    info: of the input, whose other streams, chapters and metadata are copied. completed: called with the
    complete file before it is renamed. Leaving the context completes the file and renames it; leaving it by
    an exception removes it. `warnings` says in sentences what could not be kept.

    Raises VqeError before anything is written: the output's name, folder, container, encoder, or a stream
    that the container cannot hold; while writing: a full disk and the like.
    """

    def __init__(
        self, output: Output, info: VideoInfo, completed: Callable[[Path], None] = lambda aside: None
    ) -> None:
        self._completed = completed
        self._target = target_of(output.path, output.container)
        check_target(self._target, info.path, output.overwrite)
        try:
            self._aside = self._target.aside(output.overwrite)
            try:
                self._sink = self._new_sink(output, info)
            except BaseException:
                self._aside.discard()
                raise
        except (OSError, FFmpegError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> Exception:
        """What an error while writing means; whoever reads a pipe may end when he likes."""
        if self._target.path == STDOUT and isinstance(error, BrokenPipeError):
            return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return write_error(error, self._target.path)

    def _new_sink(self, output: Output, info: VideoInfo) -> Sink:
        target, place = self._target, self._aside.place
        if target.kind == "images":
            assert isinstance(place, Path), "a folder"
            return images.ImageWriter(target, place, info)
        if target.kind == "y4m":
            return y4m.Y4mWriter(target, place, info, output.scale)
        return ContainerWriter(try_out(ContainerPlan(output, target, info)).plan, place)

    @property
    def warnings(self) -> list[str]:
        """Sentences about what could not be kept or had to be chosen."""
        return self._sink.warnings

    def __enter__(self) -> Self:
        return self

    def write(self, planes: Sequence[np.ndarray], frame: Frame) -> None:
        """Writes one frame: planes in the input's format and range, `scale` times its size; frame: times and
        tags.
        """
        try:
            self._sink.write(planes, frame)
        except (OSError, FFmpegError) as error:
            raise self._failed(error) from error

    @property
    def header(self) -> bytes:
        """What a decoder must know before the first packet, "" where there is no codec."""
        return self._sink.header if isinstance(self._sink, ContainerWriter) else b""

    def join(self, parts: Sequence[Path], clock: Clock) -> None:
        """Writes the coded pictures of all parts; clock: has seen all their frames."""
        try:
            self._sink.join(parts, clock)
        except (OSError, FFmpegError) as error:
            raise write_error(error, self._target.path) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        complete = False
        try:
            if error is None:
                self._sink.finish()
                if isinstance(self._aside.place, Path):
                    self._completed(self._aside.place)
                self._aside.publish()
                complete = True
        except (OSError, FFmpegError) as failure:
            raise self._failed(failure) from failure
        finally:
            if not complete:
                self._sink.close()
            self._aside.discard()


# --- the same tried out in memory: all that a `Writer` refuses is refused here, and no file appears ---


@dataclass(frozen=True)
class DryRun:
    """What would be written."""

    target: Target
    """Where it goes."""

    codec: str
    """FFmpeg's name of the encoder; "png" for images, "rawvideo" for .y4m."""

    pix_fmt: str
    """Of what is written, FFmpeg's name."""

    crf: float | None
    """Quality asked of the encoder; None where it has no such option."""

    warnings: tuple[str, ...]
    """What could not be kept or had to be chosen."""

    def room(self, info: VideoInfo, scale: int, frames: int | None) -> SizeEstimate | None:
        """Bytes that so many frames will take, None where the number is unknown and for a pipe."""
        if frames is None or self.target.path == STDOUT:
            return None
        size = (info.width * scale, info.height * scale)
        beside = _beside(info) if self.target.kind == "container" else 0
        return estimated_size(self.codec, self.pix_fmt, self.crf, size, frames).plus(beside)

    def free_bytes(self) -> int:
        """What the disk of the target has left, 0 for a pipe; raises VqeError where that is unknown."""
        if self.target.path == STDOUT:
            return 0
        try:
            return shutil.disk_usage(existing_folder(self.target.path.absolute())).free
        except OSError as error:
            raise write_error(error, self.target.path) from error


def dry_run(output: Output, info: VideoInfo, new_folder: bool = False) -> DryRun:
    """Tries what `Writer` would do before its first frame; new_folder: the folder of the output will be made
    before.

    Raises VqeError as `Writer` does.
    """
    target = target_of(output.path, output.container)
    check_target(target, info.path, output.overwrite, new_folder)
    if target.kind == "images":
        gray, deep = info.colour.matrix == "gray", info.colour.bit_depth > 8
        pix_fmt = ("gray16be" if deep else "gray") if gray else ("rgb48be" if deep else "rgb24")
        return DryRun(target, "png", pix_fmt, None, tuple(images.warnings_of(target, info)))
    if target.kind == "y4m":
        y4m.token(info)
        planar = sample_format(info.pix_fmt).planar
        return DryRun(target, "rawvideo", planar, None, tuple(y4m.warnings_of(target, info)))
    try:
        tried = try_out(ContainerPlan(output, target, info))
    except OSError as error:
        raise write_error(error, target.path) from error
    crf = quality(tried.codec, info, output.encoding)
    return DryRun(target, tried.codec, tried.pix_fmt, crf, tried.warnings)


def _beside(info: VideoInfo) -> int:
    """Bytes of the streams that are copied: at most the whole input, where it has other streams at all."""
    if len(info.streams) < 2 or info.path == STDIN or not info.path.is_file():
        return 0
    return info.path.stat().st_size
