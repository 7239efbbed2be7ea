"""The hand-overs of the video room: what a file says of itself (`VideoInfo`) and one picture (`Frame`)."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

# Frames per second where nothing says how many.
DEFAULT_RATE = Fraction(25)


@dataclass(frozen=True)
class Colour:
    """How sample codes stand for colour, as a picture's tags say (or the default for untagged ones).

    matrix: "bt709", "bt601", "bt2020nc", "fcc", "smpte240m", "ycgco", "rgb" (planes are R, G, B) or "gray"
    (one plane). full_range: True when codes span 0 … 2^bit_depth - 1 (from header).
    bit_depth: significant bits of a sample, 8 … 16.
    subsampling: luma samples per chroma sample, (horizontal, vertical): (2, 2), (2, 1), (1, 1) …
    siting: "left", "topleft", "center", "top", "bottomleft" or "bottom": where a chroma sample lies among
    them (from header; when unsaid "left", for JPEG and MPEG-1 "center").
    guessed: True when the stream had no matrix tag and 601/709 was chosen by height.
    """

    matrix: str
    full_range: bool
    bit_depth: int
    subsampling: tuple[int, int]
    siting: str = "left"
    guessed: bool = False


@dataclass(frozen=True)
class VideoInfo:
    """What the container and the stream say of the first video stream; nothing here was counted by decoding.

    width, height: shown size in pixels. pix_fmt: FFmpeg's name, as decoded.
    rate: average frames per second (None when unknown). time_base: seconds per tick of every pts.
    sample_aspect: pixel aspect ratio (None when unsaid). frame_count, duration_s: as the header says, None
    when it does not. field_order: "progressive", "unknown" or an interlaced order ("tt", "bb", "tb", "bt").
    tags: FFmpeg's numeric colour tags as written in the stream: primaries, transfer, matrix, range,
    chroma_location. rotation_deg: display rotation counter-clockwise, 0 when there is none; display_matrix:
    its nine numbers in FFmpeg's form, () when there is none. streams: one line of description a stream, for
    reports. stream_index: which of the container's streams this is. first_index: of the first picture that
    is used. side_data: what describes the whole stream and stands on its first picture (HDR10 metadata),
    FFmpeg's bytes under FFmpeg's type name. transparent: there is an alpha channel, which frames lack.
    dolby_vision: the profile, where it means colours that only Dolby's conversion can show.
    """

    path: Path
    container: str
    codec: str
    width: int
    height: int
    pix_fmt: str
    colour: Colour
    rate: Fraction | None
    time_base: Fraction
    sample_aspect: Fraction | None = None
    start_pts: int | None = None
    frame_count: int | None = None
    duration_s: float | None = None
    field_order: str = "unknown"
    tags: dict[str, int] = field(default_factory=dict)
    rotation_deg: int = 0
    display_matrix: tuple[int, ...] = ()
    streams: tuple[str, ...] = ()
    stream_index: int = 0
    first_index: int = 0
    side_data: dict[str, bytes] = field(default_factory=dict)
    first_qp: float | None = None
    transparent: bool = False
    dolby_vision: int | None = None


@dataclass(frozen=True)
class Frame:
    """One shown picture, exactly as decoded.

    index: position among the shown pictures, from 0. planes: Y, U, V (or R, G, B; or Y alone), each (h, w),
    uint8 for 8-bit video and uint16 above. pts: ticks of `VideoInfo.time_base` (None when the file has none).
    duration: ticks, None when unsaid. kind: "I", "P", "B" or "?". irap: random access picture.
    qp: luma slice QP of the first slice (HEVC) or the codec's own scale; None when unknown.
    network_qp: `qp` where it is on HEVC's scale, so that networks may use it; None otherwise.
    sequence: counts coded video sequences, from 0. pqf: True for a peak quality frame (False until marked).
    duplicate_of: index of the earlier frame with equal planes, None when there is none.
    side_data: what must reach the written frame (HDR10 metadata …), keyed by FFmpeg's type name.
    """

    index: int
    planes: tuple[np.ndarray, ...]
    pts: int | None
    duration: int | None = None
    kind: str = "?"
    irap: bool = False
    qp: float | None = None
    network_qp: float | None = None
    sequence: int = 0
    pqf: bool = False
    duplicate_of: int | None = None
    side_data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.planes) not in (1, 3):
            raise ValueError(f"a frame has 1 or 3 planes, not {len(self.planes)}")
        for plane in self.planes:
            if plane.ndim != 2 or plane.dtype not in (np.uint8, np.uint16):
                raise ValueError(f"a plane is 2-D uint8 or uint16, not {plane.ndim}-D {plane.dtype}")

    @property
    def peak(self) -> bool:
        """Whether it is a peak quality frame."""
        return self.pqf

    def after(self, before: "Frame | None") -> "Frame":
        """This frame, marked as a duplicate where its planes equal those of the frame before it bit for
        bit.
        """
        if before is None or not all(map(_equal, self.planes, before.planes)):
            return self
        return replace(
            self, duplicate_of=before.index if before.duplicate_of is None else before.duplicate_of
        )


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Equality of planes; a few rows settle most cases."""
    return np.array_equal(one[::16], other[::16]) and np.array_equal(one, other)
