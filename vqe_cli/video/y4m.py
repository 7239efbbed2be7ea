"""YUV4MPEG2 files: raw planes with a line of header, which most encoders read."""

from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from vqe_cli.errors import OutputError
from vqe_cli.video.clock import Clock
from vqe_cli.video.coded import read_coded
from vqe_cli.video.formats import sample_format
from vqe_cli.video.frame import DEFAULT_RATE, Frame, VideoInfo
from vqe_cli.video.pipes import StandardOutput
from vqe_cli.video.targets import Target

# The colour space token of the header, by planar format (8 bits) and siting.
TOKENS = {"yuv422p": "422", "yuv444p": "444", "yuv411p": "411", "gray": "mono"}
# FFmpeg reads no names of these, or others (formats of 4:1:1 have 8 bits).
UNREADABLE = {("gray", 14), *(("yuv411p", depth) for depth in range(9, 17))}
# The header of each frame.
FRAME = b"FRAME\n"
SITED_420 = {"left": "420mpeg2", "topleft": "420paldv"}


class Y4mWriter:
    """Writes planes as they are. What the format cannot say (times, matrix, sound) is lost, with a
    warning.
    """

    def __init__(self, target: Target, place: Path | StandardOutput, info: VideoInfo, scale: int) -> None:
        self.warnings = warnings_of(target, info)
        size = (info.width * scale, info.height * scale)
        head = header(
            size, info.rate or DEFAULT_RATE, token(info), info.sample_aspect, info.colour.full_range
        )
        self._stream = place if isinstance(place, StandardOutput) else place.open("wb")
        self._stream.write(head)

    def write(self, planes: Sequence[np.ndarray], frame: Frame) -> None:
        """Appends one frame."""
        self._stream.write(payload(planes))

    def join(self, parts: Sequence[Path], clock: Clock) -> None:
        """Appends the frames of all parts."""
        for part in parts:
            for coded in read_coded(part):
                self._stream.write(coded.data)

    def finish(self) -> None:
        """Completes the file."""
        if not isinstance(self._stream, StandardOutput):
            self._stream.close()

    def close(self) -> None:
        """Closes the incomplete file."""
        with suppress(OSError):  # closing writes what is left, which a full disk does not take
            self.finish()


def warnings_of(target: Target, info: VideoInfo) -> list[str]:
    """What the format cannot say of a video."""
    warnings = [f"{target.path}: a .y4m file keeps neither sound nor time stamps nor colour tags"]
    if info.display_matrix:
        turn = f"{info.rotation_deg} degrees" if info.rotation_deg else "mirrored"
        warnings.append(f"{target.path}: a .y4m file does not keep the rotation ({turn}) of {info.path}")
    return warnings


def header(
    size: tuple[int, int],
    rate: Fraction,
    colour: str,
    aspect: Fraction | None = None,
    full_range: bool | None = None,
) -> bytes:
    """The first line of a file.

    size: (width, height). rate: frames per second. colour: as `token` says it. aspect: of a pixel, None when
    unsaid; full_range: None when unsaid.
    """
    sample_range = "" if full_range is None else f" XCOLORRANGE={'FULL' if full_range else 'LIMITED'}"
    return (
        f"YUV4MPEG2 W{size[0]} H{size[1]} F{rate.numerator}:{rate.denominator} Ip "
        f"A{f'{aspect.numerator}:{aspect.denominator}' if aspect else '0:0'} C{colour}{sample_range}\n"
    ).encode("ascii")


def payload(planes: Sequence[np.ndarray]) -> bytes:
    """A frame as it stands in the file."""
    little = [
        np.ascontiguousarray(plane).astype(plane.dtype.newbyteorder("<"), copy=False) for plane in planes
    ]
    return FRAME + b"".join(plane.tobytes() for plane in little)


def token(info: VideoInfo) -> str:
    """What the header calls the input's pixel format; raises VqeError for RGB and rare formats."""
    samples = sample_format(info.pix_fmt)
    base = samples.planar.removesuffix(f"{samples.bit_depth}le")
    if base == "yuv420p":
        name = SITED_420.get(info.colour.siting, "420jpeg") if samples.bit_depth == 8 else "420"
    elif base in TOKENS and (base, samples.bit_depth) not in UNREADABLE:
        name = TOKENS[base]
    else:
        raise OutputError(f"a .y4m file cannot hold {samples.planar} pictures.", remedy="Write an .mkv file.")
    if samples.bit_depth == 8:
        return name
    return f"{name}{samples.bit_depth}" if base == "gray" else f"{name}p{samples.bit_depth}"
