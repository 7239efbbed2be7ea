"""What metrics look at: pictures of each side as planes, luma and RGB; and the pieces that changed most."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqe_cli.measure.psnr_ssim import Level, level, plane_mse, psnr_of_mse
from vqe_cli.video.colour import LUMA_WEIGHTS, to_rgb, to_tensors
from vqe_cli.video.formats import SUBSAMPLING_NAMES, picture_of
from vqe_cli.video.frame import Colour, Frame, VideoInfo

LIMITED_RANGE, FULL_RANGE = 1, 2  # FFmpeg's numbers
BLOCK_PX = 8  # the grid of transforms in JPEG, H.264 and HEVC, and of HEVC's deblocking filter
# For luma of RGB pictures where no YUV side says better: what the field's Y-PSNR of PNGs uses.
DEFAULT_LUMA_MATRIX = "bt601"


class View:
    """One picture of one side (ground truth, output or input), for all metrics.

    frame: as decoded; colour: how its codes are to be read (see `agree`); crop_px: luma samples to cut away
    on each side; luma_colour: the matrix and range by which an RGB picture gets its luma; block_px: the side
    of the blocks that it was coded in.
    """

    def __init__(
        self,
        frame: Frame,
        colour: Colour,
        crop_px: int = 0,
        luma_colour: Colour | None = None,
        block_px: int = BLOCK_PX,
    ) -> None:
        self.frame = frame
        self.colour = colour
        self.crop_px = crop_px
        self.block_px = block_px
        self.luma_colour = luma_colour or replace(colour, matrix=DEFAULT_LUMA_MATRIX, full_range=False)

    @cached_property
    def planes(self) -> tuple[np.ndarray, ...]:
        """The decoded planes without the cropped border."""
        return tuple(self._cropped(plane, index) for index, plane in enumerate(self.frame.planes))

    @cached_property
    def rgb(self) -> Tensor:
        """(3, H, W) float32 on 0 … 255, clipped and rounded to whole codes of the picture's own bit depth.

        Chroma is enlarged bilinearly in float, which lies nearer to what was filmed than `rgb24`.
        """
        whole = to_rgb(to_tensors(self.frame.planes), self.colour)[0]
        highest = 2**self.colour.bit_depth - 1
        codes = (whole * highest).round_().clamp_(0, highest)
        if highest != 255:
            codes *= 255 / highest
        crop, (height, width) = self.crop_px, codes.shape[-2:]
        return codes[:, crop : height - crop, crop : width - crop].contiguous()

    @cached_property
    def rgb24(self) -> np.ndarray:
        """(H, W, 3) uint8: the very samples that `ffmpeg -pix_fmt rgb24` gives, with nearest chroma mostly.

        Gray, RGB and matrices that swscale does not have are `rgb`, rounded to 8 bits.
        """
        if self.colour.matrix not in SWSCALE_MATRICES:
            return to_pixels(self.rgb)
        whole = swscaled(self.frame.planes, self.colour)
        crop, (height, width) = self.crop_px, whole.shape[:2]
        return whole[crop : height - crop, crop : width - crop]

    @cached_property
    def luma(self) -> Tensor:
        """(1, H, W) float32 on 0 … 255: luma codes; of RGB pictures by the luma colour, not rounded."""
        if self.colour.matrix != "rgb":
            codes = self.planes[0].astype(np.float32)
            return torch.from_numpy(codes)[None] * (255 / (2**self.colour.bit_depth - 1))
        matrix = self.luma_colour.matrix
        red, blue = LUMA_WEIGHTS.get(matrix, LUMA_WEIGHTS[DEFAULT_LUMA_MATRIX])
        luma = self.rgb[0] * red + self.rgb[1] * (1 - red - blue) + self.rgb[2] * blue
        return (luma if self.luma_colour.full_range else 16 + luma * (219 / 255))[None]

    def _cropped(self, plane: np.ndarray, index: int) -> np.ndarray:
        across, down = self.colour.subsampling if index and self.colour.matrix != "rgb" else (1, 1)
        top, left = self.crop_px // down, self.crop_px // across
        return plane[top : plane.shape[0] - top, left : plane.shape[1] - left]


# FFmpeg's numbers of the matrices that its swscale knows.
SWSCALE_MATRICES = {"bt709": 1, "fcc": 4, "bt601": 5, "smpte240m": 7, "bt2020nc": 9}


def swscaled(planes: Sequence[np.ndarray], colour: Colour) -> np.ndarray:
    """Y, U, V planes as (H, W, 3) uint8 by FFmpeg's swscale with the flags that the ffmpeg program sets.

    A matrix that was guessed is BT.601, as swscale takes it.
    """
    name = f"yuv{SUBSAMPLING_NAMES[colour.subsampling]}p"
    picture = picture_of(planes, name if colour.bit_depth == 8 else f"{name}{colour.bit_depth}le")
    converted = picture.reformat(
        format="rgb24",
        src_colorspace=SWSCALE_MATRICES["bt601" if colour.guessed else colour.matrix],
        src_color_range=FULL_RANGE if colour.full_range else LIMITED_RANGE,
        interpolation="BICUBIC",
    )
    return converted.to_ndarray()


class PairView:
    """The truth and one picture to be judged by it; keeps the structure maps that SSIM and MS-SSIM share."""

    def __init__(self, gt: View, pred: View) -> None:
        self.gt = gt
        self.pred = pred

    @cached_property
    def rgb_structure(self) -> Level:
        """SSIM's statistics over RGB at full size."""
        return level(self.gt.rgb, self.pred.rgb)

    @cached_property
    def luma_structure(self) -> Level:
        """SSIM's statistics over luma at full size."""
        return level(self.gt.luma, self.pred.luma)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of what is compared."""
        height, width = self.gt.planes[0].shape
        return width, height

    def codes(self, index: int) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Plane `index` of both sides at one bit depth, and the highest code; None where they do not match.

        The shallower side is shifted up, as FFmpeg converts limited range.
        """
        if self.gt.colour.matrix == "rgb" or self.pred.colour.matrix == "rgb":
            return None
        if index >= min(len(self.gt.planes), len(self.pred.planes)):
            return None
        gt, pred = self.gt.planes[index], self.pred.planes[index]
        if gt.shape != pred.shape:
            return None
        deep = max(self.gt.colour.bit_depth, self.pred.colour.bit_depth)
        gt = _deepen(gt, deep - self.gt.colour.bit_depth)
        return gt, _deepen(pred, deep - self.pred.colour.bit_depth), float(2**deep - 1)


def _deepen(plane: np.ndarray, bits: int) -> np.ndarray:
    return np.left_shift(plane.astype(np.uint16), bits) if bits else plane


@dataclass(frozen=True)
class Agreement:
    """How each side's codes are read, and what had to be decided for that (warnings, one sentence each)."""

    colours: tuple[Colour, ...]
    luma_colour: Colour | None
    warnings: tuple[str, ...]


def agree(sides: list[tuple[str, VideoInfo]]) -> Agreement:
    """One matrix for all sides of a comparison: the first tagged side's, truth first.

    sides: (what it is called, its info), the truth first. An untagged side takes the tagged side's matrix
    and range; sides tagged differently are warned about and read by the first one's matrix, each with its
    own range. RGB and gray pictures have no matrix and keep theirs.
    """
    coded = [(name, info) for name, info in sides if info.colour.matrix not in ("rgb", "gray")]
    leader = next((side for side in coded if not side[1].colour.guessed), coded[0] if coded else None)
    if leader is None:
        return Agreement(tuple(info.colour for _, info in sides), None, ())
    ranged = next((info for _, info in coded if _says_range(info)), leader[1])
    colours, warnings = [], []
    for name, info in sides:
        colour = info.colour
        if colour.matrix in ("rgb", "gray"):
            colours.append(colour)
            continue
        if not colour.guessed and colour.matrix != leader[1].colour.matrix:
            warnings.append(
                f"{name} is tagged {colour.matrix} and {leader[0]} {leader[1].colour.matrix}: "
                f"both are converted by {leader[1].colour.matrix}"
            )
        if _says_range(info) and colour.full_range != ranged.colour.full_range:
            warnings.append(
                f"{name} has {_range(colour)} range and {leader[0]} {_range(ranged.colour)} range: "
                "RGB metrics obey both tags, plane metrics compare the codes as they are"
            )
        full = colour.full_range if _says_range(info) else ranged.colour.full_range
        leading = leader[1].colour
        colours.append(replace(colour, matrix=leading.matrix, guessed=leading.guessed, full_range=full))
    return Agreement(
        tuple(colours), replace(leader[1].colour, full_range=ranged.colour.full_range), tuple(warnings)
    )


def _says_range(info: VideoInfo) -> bool:
    """Whether the stream's header or its pixel format tells the range of the codes (tag 0: unsaid)."""
    return info.tags.get("range", 0) != 0 or info.pix_fmt.startswith("yuvj")


def _range(colour: Colour) -> str:
    return "full" if colour.full_range else "limited"


CROP_WIDTH, CROP_HEIGHT = 144, 108
SLIDER_SIZE = 960, 540  # pixels of a picture under a report's slider, at most
OVERVIEW_WIDTH = 256
# Kept frames lie at least this far apart: neighbours change alike and show the same thing.
APART = 8
GRID = 8


@dataclass(frozen=True, eq=False)
class Crop:
    """The same piece of a frame on every side."""

    frame: int
    """Index of the frame in the video."""
    box: tuple[int, int, int, int]
    """x, y, width, height in pixels of the (cropped) frame."""
    pictures: dict[str, np.ndarray]
    """The piece of "input" and "truth" (where given) and "output", each (h, w, 3) uint8."""
    quality: dict[str, float]
    """PSNR in dB over the piece, of each side but the truth; {} without a truth."""
    overview: np.ndarray
    """The whole frame of the truth (without one, of the output), (h, w, 3) uint8, at most 256 pixels wide."""
    full_size: tuple[int, int]
    """(width, height) of the frame in pixels."""
    change: float
    """Mean squared difference of input and output over the frame (without an input: of output and truth)."""
    sides: dict[str, np.ndarray] = field(default_factory=dict)
    """A larger piece around it, (h, w, 3) uint8, of what a report's slider compares: "input" (without one
    "truth") and "output".
    """


class CropKeeper:
    """Keeps the pieces of the few frames with the largest change; memory does not grow with the video."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[Crop] = []

    def offer(self, frame: int, change: float, gt: View | None, output: View, given: View | None) -> None:
        """Take a frame's piece if its change is among the largest of frames that lie apart."""
        beaten = [crop for crop in self._kept if abs(crop.frame - frame) < APART]
        if not beaten and len(self._kept) >= self._limit:
            beaten = [min(self._kept, key=lambda crop: crop.change)]
        if any(crop.change >= change for crop in beaten):
            return
        self._kept = [crop for crop in self._kept if crop not in beaten]
        self._kept.append(cut(frame, change, gt, output, given))

    def result(self) -> tuple[Crop, ...]:
        """The pieces kept, the largest change first."""
        return tuple(sorted(self._kept, key=lambda crop: -crop.change))


def cut(frame: int, change: float, gt: View | None, output: View, given: View | None) -> Crop:
    """The piece of a frame where output and input (or truth, without an input) differ most."""
    sides: dict[str, View | None] = {"input": given, "output": output, "truth": gt}
    views: dict[str, View] = {name: view for name, view in sides.items() if view is not None}
    before, whole = given or gt or output, gt or output
    x, y, width, height = box = busiest_box(output.rgb, before.rgb)
    pieces = {name: view.rgb24[y : y + height, x : x + width] for name, view in views.items()}
    quality = {
        name: psnr_of_mse(plane_mse(pieces["truth"], piece))
        for name, piece in pieces.items()
        if name != "truth" and gt is not None
    }
    full_size = (whole.rgb.shape[2], whole.rgb.shape[1])
    overview = to_pixels(_shrunk(whole.rgb, OVERVIEW_WIDTH))
    copies = {name: piece.copy() for name, piece in pieces.items()}  # a slice would hold the whole frame
    area = _around(box, full_size)
    compared = ("truth" if given is None else "input", "output")
    larger = {name: views[name].rgb24[area].copy() for name in compared}
    return Crop(frame, box, copies, quality, overview, full_size, change, larger)


def _around(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of at most 960x540 pixels of a picture of `size`, with the box near their middle."""
    spans = []
    for start, length, whole, most in zip(box[:2], box[2:], size, SLIDER_SIZE, strict=True):
        kept = min(whole, most)
        first = min(max(start + length // 2 - kept // 2, 0), whole - kept)
        spans.append(slice(first, first + kept))
    return spans[1], spans[0]


def busiest_box(first: Tensor, second: Tensor) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the 144x108 window (or smaller picture) with the largest difference."""
    height, width = first.shape[-2:]
    box_height, box_width = min(CROP_HEIGHT, height), min(CROP_WIDTH, width)
    energy = (first - second).square_().sum(dim=0, dtype=torch.float64)
    sums = F.pad(energy.cumsum(0).cumsum(1), (1, 0, 1, 0))
    rows, columns = (
        torch.arange(0, height - box_height + 1, GRID),
        torch.arange(0, width - box_width + 1, GRID),
    )
    top, left = rows[:, None], columns[None]
    inside = (
        sums[top + box_height, left + box_width]
        - sums[top, left + box_width]
        - sums[top + box_height, left]
        + sums[top, left]
    )
    best = int(inside.argmax())
    y, x = divmod(best, len(columns))
    return int(columns[x]), int(rows[y]), box_width, box_height


def to_pixels(rgb: Tensor) -> np.ndarray:
    """(3, H, W) on 0 … 255 as (H, W, 3) uint8."""
    return rgb.round().byte().permute(1, 2, 0).contiguous().numpy()


def _shrunk(rgb: Tensor, width: int) -> Tensor:
    """The picture at most `width` pixels wide, by area averages."""
    if rgb.shape[2] <= width:
        return rgb
    height = max(1, round(rgb.shape[1] * width / rgb.shape[2]))
    return F.interpolate(rgb[None], size=(height, width), mode="area")[0]
