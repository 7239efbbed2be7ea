"""Pixel formats and colour tags by FFmpeg's names and numbers; FFmpeg's pictures as numpy planes and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import av
import numpy as np

from vqe_cli.video.frame import Colour

# Chroma subsampling (horizontal, vertical) in FFmpeg's names of planar formats.
SUBSAMPLING_NAMES = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (1, 2): "440", (4, 1): "411", (4, 4): "410"}

# H.273, table 4 (matrix coefficients). 8 is YCgCo; 10 is constant luminance, close enough to 9 for a
# residual.
MATRICES = {
    0: "rgb",
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020nc",
}
UNSPECIFIED = 2

# FFmpeg's numbers of AVChromaLocation (H.273, chroma sample location type, plus one).
SITINGS = {1: "left", 2: "center", 3: "topleft", 4: "top", 5: "bottomleft", 6: "bottom"}

# Several pixels in a byte, which FFmpeg's scaler only writes.
UNREADABLE = ("rgb4", "bgr4")

# Codecs whose standard puts chroma between the luma samples when nothing else is said.
CENTRED_CODECS = {"mjpeg", "mpeg1video", "ljpeg"}


@dataclass(frozen=True)
class SampleFormat:
    """A pixel format as planes."""

    planar: str
    """FFmpeg's name of the planar little-endian format without alpha that holds it without loss
    ("yuv420p10le").
    """

    model: str
    """One of "yuv", "rgb" and "gray"."""

    bit_depth: int
    """Significant bits of a sample, 8 … 16."""

    subsampling: tuple[int, int]
    """Luma samples per chroma sample, (horizontal, vertical)."""

    alpha: bool
    """Whether the format has transparency, which the planes do not."""

    full_range: bool
    """Whether the name says that codes span all of 0 … 2^bit_depth - 1."""


def sample_format(pix_fmt: str) -> SampleFormat:
    """What FFmpeg's pixel format `pix_fmt` is as planes; packed and big-endian formats get their planar twin.

    Raises ValueError for formats that have none: float, Bayer, XYZ, more than 16 bits, hardware surfaces.
    """
    full_range = pix_fmt.startswith("yuvj")
    try:
        described = av.VideoFormat(pix_fmt.replace("yuvj", "yuv"))
    except ValueError:
        raise ValueError(f"{pix_fmt} is not a pixel format of FFmpeg") from None
    components = [part for part in described.components if not part.is_alpha]
    odd = described.is_bayer or any(mark in pix_fmt for mark in ("f32", "f16", "xyz"))
    odd = odd or pix_fmt in UNREADABLE
    if not components or odd or max(part.bits for part in components) > 16:
        raise ValueError(f"{pix_fmt} is not made of integer samples of gray, RGB or YUV")
    rgb = described.is_rgb or described.has_palette
    gray = len(components) == 1 and not rgb
    bits = max(8, *(part.bits for part in components)) if not described.has_palette else 8
    across, down = described.chroma_width(64), described.chroma_height(64)
    subsampling = (1, 1) if rgb or gray else (64 // across, 64 // down)
    base = "gbrp" if rgb else "gray" if gray else f"yuv{SUBSAMPLING_NAMES.get(subsampling, '?')}p"
    planar = base if bits == 8 else f"{base}{bits}le"
    try:
        planar = av.VideoFormat(planar).name
    except ValueError:
        raise ValueError(f"{pix_fmt} has no planar form that is known here") from None
    alpha = len(components) < len(described.components) or described.has_palette
    model = "rgb" if rgb else "gray" if gray else "yuv"
    return SampleFormat(planar, model, bits, subsampling, alpha, full_range)


def colour_of(tags: Mapping[str, int], height: int, pix_fmt: str, codec: str = "") -> Colour:
    """How the samples of a stream stand for colour, by its tags; `guessed` where the matrix had to be chosen.

    tags: FFmpeg's numbers, keys "matrix", "range", "primaries" and "chroma_location", each may be missing.
    height: pixels; below 720 an untagged stream is BT.601, else BT.709 (SPEC section 7), but BT.2020 where
    the primaries are. codec: decides the siting where no tag does.
    Raises ValueError for a pixel format without planes and for a matrix that is not supported.
    """
    samples = sample_format(pix_fmt)
    ranged = tags.get("range", 0)
    full = ranged == 2 or samples.full_range
    siting = SITINGS.get(tags.get("chroma_location", 0), "center" if codec in CENTRED_CODECS else "left")
    if samples.model == "rgb":
        return Colour("rgb", ranged != 1, samples.bit_depth, (1, 1))
    if samples.model == "gray":
        return Colour("gray", full, samples.bit_depth, (1, 1))
    code = tags.get("matrix", UNSPECIFIED)
    if code in MATRICES and not (code == 0 and samples.subsampling != (1, 1)):
        return Colour(MATRICES[code], full, samples.bit_depth, samples.subsampling, siting)
    if code not in (0, UNSPECIFIED, 3):
        raise ValueError(f"colour matrix number {code} of H.273 is not supported")
    matrix = "bt2020nc" if tags.get("primaries") == 9 else "bt601" if height < 720 else "bt709"
    return Colour(matrix, full, samples.bit_depth, samples.subsampling, siting, guessed=True)


# --- pictures as planes, without loss ---

# FFmpeg keeps planar RGB as G, B, R; the house as R, G, B.
RGB_FROM_GBR = (2, 0, 1)


def planes_of(picture: av.VideoFrame) -> tuple[np.ndarray, ...]:
    """The samples of a decoded picture: Y, U, V or R, G, B or Y alone, each (h, w), uint8 or (above 8 bits)
    uint16.

    Packed and big-endian formats become planar first, alpha is left out. Raises ValueError for formats
    without planes.
    """
    samples = sample_format(picture.format.name)
    name = picture.format.name.replace("yuvj", "yuv").replace("yuva", "yuv").replace("gbrap", "gbrp")
    if name != samples.planar:
        picture = picture.reformat(format=samples.planar)
    # Alpha is the last plane; FFmpeg's own way from gbrap10le to gbrp10le leaves samples unset.
    count = 1 if samples.model == "gray" else 3
    planes = [_copied(plane, samples) for plane in picture.planes[:count]]
    if samples.model == "rgb":
        planes = [planes[position] for position in RGB_FROM_GBR]
    return tuple(planes)


def picture_of(planes: Sequence[np.ndarray], planar: str) -> av.VideoFrame:
    """A picture of FFmpeg's format `planar` ("yuv420p10le", "gbrp", "gray" …) from planes as `planes_of`
    gives them.
    """
    samples = sample_format(planar)
    height, width = planes[0].shape
    picture = av.VideoFrame(width, height, planar)
    ordered = planes
    if samples.model == "rgb":
        ordered = [planes[RGB_FROM_GBR.index(position)] for position in range(3)]
    for target, plane in zip(picture.planes, ordered, strict=True):
        dtype = np.dtype(np.uint8 if samples.bit_depth == 8 else "<u2")
        rows = np.frombuffer(memoryview(target), dtype).reshape(
            target.height, target.line_size // dtype.itemsize
        )
        rows[:, : target.width] = plane
    return picture


def _copied(plane: av.video.plane.VideoPlane, samples: SampleFormat) -> np.ndarray:
    """The visible part of one plane, as an array of its own: the decoder uses its buffers again."""
    dtype = np.dtype(np.uint8 if samples.bit_depth == 8 else "<u2")
    rows = np.frombuffer(memoryview(plane), dtype).reshape(
        plane.height, abs(plane.line_size) // dtype.itemsize
    )
    if plane.line_size < 0:  # stored bottom up, as in some AVI files
        rows = rows[::-1]
    return rows[:, : plane.width].astype(dtype.newbyteorder("="), order="C", copy=True)
