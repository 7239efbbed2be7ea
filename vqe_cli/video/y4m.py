"""YUV4MPEG2 files: raw planes with a line of header, which most encoders read."""

import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from vqe_cli.errors import VqeError
from vqe_cli.video.formats import sample_format
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.targets import Target

# The colour space token of the header, by planar format (8 bits) and siting.
TOKENS = {"yuv422p": "422", "yuv444p": "444", "yuv411p": "411", "gray": "mono"}
SITED_420 = {"left": "420mpeg2", "topleft": "420paldv"}


class Y4mWriter:
    """Writes planes as they are. What the format cannot say (times, matrix, sound) is lost, with a
    warning.
    """

    def __init__(self, target: Target, info: VideoInfo, scale: int) -> None:
        self._target = target
        self.warnings = [f"{target.path}: a .y4m file keeps neither sound nor time stamps nor colour tags"]
        rate = info.rate or 25
        aspect = info.sample_aspect
        header = (
            f"YUV4MPEG2 W{info.width * scale} H{info.height * scale} F{rate.numerator}:{rate.denominator} Ip "
            f"A{f'{aspect.numerator}:{aspect.denominator}' if aspect else '0:0'} C{_token(info)} "
            f"XCOLORRANGE={'FULL' if info.colour.full_range else 'LIMITED'}\n"
        )
        self._file = target.aside.open("wb")
        self._file.write(header.encode("ascii"))

    def write(self, planes: Sequence[np.ndarray], frame: Frame) -> None:
        """Appends one frame."""
        self._file.write(b"FRAME\n")
        for plane in planes:
            self._file.write(
                np.ascontiguousarray(plane).astype(plane.dtype.newbyteorder("<"), copy=False).data
            )

    def finish(self) -> None:
        """Completes and renames the file."""
        self._file.close()
        os.replace(self._target.aside, self._target.path)

    def discard(self) -> None:
        """Removes the incomplete file."""
        with suppress(OSError):  # closing writes what is left, which a full disk does not take
            self._file.close()
        self._target.aside.unlink(missing_ok=True)


def _token(info: VideoInfo) -> str:
    """What the header calls the input's pixel format; raises VqeError for RGB and rare formats."""
    samples = sample_format(info.pix_fmt)
    base = samples.planar.removesuffix(f"{samples.bit_depth}le")
    if base == "yuv420p":
        token = SITED_420.get(info.colour.siting, "420jpeg") if samples.bit_depth == 8 else "420"
    elif base in TOKENS and not (base == "yuv411p" and samples.bit_depth > 8):
        token = TOKENS[base]
    else:
        raise VqeError(f"A .y4m file cannot hold {samples.planar} pictures.", remedy="Write an .mkv file.")
    if samples.bit_depth == 8:
        return token
    return f"{token}{samples.bit_depth}" if base == "gray" else f"{token}p{samples.bit_depth}"
