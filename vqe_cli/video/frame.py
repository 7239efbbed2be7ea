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
    """How sample codes stand for colour, as a picture's tags say (or the default for untagged ones)."""

    matrix: str
    """One of "bt709", "bt601", "bt2020nc", "fcc", "smpte240m", "ycgco", "rgb" (planes R, G, B), "gray" (Y).
    """

    full_range: bool
    """True when codes span 0 … 2^bit_depth - 1 (from header)."""

    bit_depth: int
    """Significant bits of a sample, 8 … 16 (from the pixel format)."""

    subsampling: tuple[int, int]
    """Luma samples per chroma sample, (horizontal, vertical): (2, 2), (2, 1) … (from the pixel format)."""

    siting: str = "left"
    """Where a chroma sample lies among them: "left", "topleft", "center", "top", "bottomleft" or "bottom"
    (from header; when unsaid "left", for JPEG and MPEG-1 "center").
    """

    guessed: bool = False
    """True when the stream had no matrix tag and 601/709 was chosen by height."""


@dataclass(frozen=True)
class VideoInfo:
    """What container and stream say of the first video stream; nothing here was counted by decoding."""

    path: Path
    container: str
    """FFmpeg's name of the demuxer ("matroska,webm"); "images" for a folder or pattern."""

    codec: str
    """FFmpeg's name of the decoder ("hevc")."""

    width: int
    """Shown pixels in a row (from the first picture, else from header)."""

    height: int
    """Shown rows (likewise)."""

    pix_fmt: str
    """FFmpeg's name of the pixel format, as decoded."""

    colour: Colour
    rate: Fraction | None
    """Average frames per second (from header); None when unknown."""

    time_base: Fraction
    """Seconds per tick of every pts (from header)."""

    sample_aspect: Fraction | None = None
    """Width of a pixel by its height (from header); None when unsaid."""

    start_pts: int | None = None
    """Time of the first picture, ticks (from header, else of the first picture); None when unsaid."""

    frame_count: int | None = None
    """Pictures of the stream as the header says, None when it does not."""

    duration_s: float | None = None
    """Seconds of the stream, else of the container, as the header says; None when it does not."""

    field_order: str = "unknown"
    """As the header says: "progressive", "unknown" or an interlaced order ("tt", "bb", "tb", "bt")."""

    tags: dict[str, int] = field(default_factory=dict)
    """FFmpeg's numeric colour tags as written in the stream: primaries, transfer, matrix, range,
    chroma_location.
    """

    rotation_deg: int = 0
    """Display rotation counter-clockwise, degrees (from the first picture)."""

    display_matrix: tuple[int, ...] = ()
    """Its nine numbers in FFmpeg's form; () when there is none."""

    streams: tuple[str, ...] = ()
    """One line of description a stream of the container, for reports."""

    stream_index: int = 0
    """Which of the container's streams this is."""

    first_index: int = 0
    """Index of the first picture that is used (chosen by the user)."""

    side_data: dict[str, bytes] = field(default_factory=dict)
    """What describes the whole stream and stands on its first picture (HDR10 metadata): FFmpeg's bytes under
    FFmpeg's type name.
    """

    first_qp: float | None = None
    """QP of the first picture on HEVC's scale; None when unknown."""

    transparent: bool = False
    """Whether there is an alpha channel, which frames lack."""

    dolby_vision: int | None = None
    """The profile of Dolby Vision, where it means colours that only Dolby's conversion can show."""


@dataclass(frozen=True)
class Frame:
    """One shown picture, exactly as decoded."""

    index: int
    """Position among the shown pictures, from 0."""

    planes: tuple[np.ndarray, ...]
    """Y, U, V (or R, G, B; or Y alone), each (h, w), uint8 for 8-bit video and uint16 above."""

    pts: int | None
    """Time of showing, ticks of `VideoInfo.time_base`; None when the file has none."""

    duration: int | None = None
    """Ticks; None when unsaid."""

    kind: str = "?"
    """Slice type: "I", "P", "B" or "?" (of the header, or the decoder)."""

    irap: bool = False
    """Whether decoding may begin here: a random access picture."""

    qp: float | None = None
    """Luma slice QP of the first slice (HEVC), or on the codec's own scale; None when unknown."""

    network_qp: float | None = None
    """`qp` where it is on HEVC's scale, so that networks may use it; None otherwise."""

    sequence: int = 0
    """Counts coded video sequences, from 0."""

    pqf: bool = False
    """Whether it is a peak quality frame; False until marked."""

    duplicate_of: int | None = None
    """Index of the earlier frame with equal planes; None when there is none."""

    side_data: dict[str, Any] = field(default_factory=dict)
    """What must reach the written frame (HDR10 metadata …), keyed by FFmpeg's type name."""

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
