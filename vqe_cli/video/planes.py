"""FFmpeg's pictures as numpy planes and back, without loss."""

from collections.abc import Sequence

import av
import numpy as np

from vqe_cli.video.formats import SampleFormat, sample_format

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
