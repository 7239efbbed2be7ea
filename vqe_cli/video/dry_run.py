"""What would be written, tried out in memory: all that a `Writer` refuses is refused here, and no file
appears.
"""

import shutil
from dataclasses import dataclass

from vqe_cli.video import image_writer, y4m
from vqe_cli.video.container_writer import Plan
from vqe_cli.video.encoders import quality
from vqe_cli.video.formats import sample_format
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.selection import Selection
from vqe_cli.video.size_estimate import SizeEstimate, estimated_size
from vqe_cli.video.targets import Target, check_target, existing_folder, target_of, write_error
from vqe_cli.video.trial import try_out
from vqe_cli.video.writer import Output


@dataclass(frozen=True)
class DryRun:
    """target: where it goes. codec: FFmpeg's name of the encoder; "png" for images, "rawvideo" for .y4m.

    pix_fmt: written pixel format. crf: quality asked of the encoder, None where it has no such option.
    warnings: what could not be kept or had to be chosen.
    """

    target: Target
    codec: str
    pix_fmt: str
    crf: float | None
    warnings: tuple[str, ...]

    def room(self, info: VideoInfo, scale: int, frames: int | None) -> SizeEstimate | None:
        """Bytes that so many frames will take, None where the number is unknown."""
        if frames is None:
            return None
        size = (info.width * scale, info.height * scale)
        beside = _beside(info) if self.target.kind == "container" else 0
        return estimated_size(self.codec, self.pix_fmt, self.crf, size, frames).plus(beside)

    def free_bytes(self) -> int:
        """What the disk of the target has left; raises VqeError where that is unknown."""
        try:
            return shutil.disk_usage(existing_folder(self.target.path.absolute())).free
        except OSError as error:
            raise write_error(error, self.target.path) from error


def dry_run(output: Output, info: VideoInfo, new_folder: bool = False) -> DryRun:
    """Tries what `Writer` would do before its first frame; new_folder: the folder of the output will be made
    before.

    Raises VqeError as `Writer` does.
    """
    target = target_of(output.path)
    check_target(target, info.path, output.overwrite, new_folder)
    if target.kind == "images":
        gray, deep = info.colour.matrix == "gray", info.colour.bit_depth > 8
        pix_fmt = ("gray16be" if deep else "gray") if gray else ("rgb48be" if deep else "rgb24")
        return DryRun(target, "png", pix_fmt, None, tuple(image_writer.warnings_of(target, info)))
    if target.kind == "y4m":
        y4m.token(info)
        planar = sample_format(info.pix_fmt).planar
        return DryRun(target, "rawvideo", planar, None, tuple(y4m.warnings_of(target, info)))
    try:
        tried = try_out(Plan(target, info, output.encoding, output.scale, output.part, Selection()))
    except OSError as error:
        raise write_error(error, target.path) from error
    crf = quality(tried.codec, info, output.encoding)
    return DryRun(target, tried.codec, tried.pix_fmt, crf, tried.warnings)


def _beside(info: VideoInfo) -> int:
    """Bytes of the streams that are copied: at most the whole input, where it has other streams at all."""
    if len(info.streams) < 2 or not info.path.is_file():
        return 0
    return info.path.stat().st_size
