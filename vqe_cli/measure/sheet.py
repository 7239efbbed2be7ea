"""Crops of input, output and truth side by side, at the frames that changed most."""

import math
from collections.abc import Sequence

import numpy as np

from vqe_cli.measure.crops import OVERVIEW_WIDTH, Crop
from vqe_cli.measure.drawing import Box, Drawing, Picture, Text, fitted, text_width
from vqe_cli.measure.result import PairResult
from vqe_cli.measure.tables import title

# Pixels of the sheet for a pixel of the crop: whole, so that every pixel stays a square.
ENLARGED = 3
GAP = 12
CAPTION, HEADING = 26, 30
INK, FAINT, BETTER, WORSE, FRAME = "#1f2328", "#656d76", "#1a7f37", "#cf222e", "#ff3b30"
FRAME_RGB = (0xFF, 0x3B, 0x30)

Shown = tuple[PairResult, Crop]


def most_changed(results: Sequence[PairResult], rows: int) -> list[Shown]:
    """The `rows` crops with the largest change over all videos; one a video before any gets a second."""
    ranked = [
        (place, -crop.change, index)
        for index, result in enumerate(results)
        for place, crop in enumerate(result.crops)
    ]
    chosen = sorted(ranked)[:rows]
    return [(results[index], results[index].crops[place]) for place, _, index in chosen]


def sheet(shown: Sequence[Shown]) -> Drawing:
    """One row a crop, with captions: the whole frame with the place marked, and the crops, enlarged."""
    names, widest = _columns(shown)
    heights = [
        HEADING + max(crop.box[3] * ENLARGED, crop.overview.shape[0]) + CAPTION + GAP for _, crop in shown
    ]
    width = GAP + OVERVIEW_WIDTH + len(names) * (GAP + widest) + GAP
    drawing = Drawing(width, sum(heights) + GAP)
    y = 0.0
    for (result, crop), height in zip(shown, heights, strict=True):
        drawing.place(_row(result, crop, names, widest), 0, y)
        y += height
    return drawing


def sheet_pixels(shown: Sequence[Shown]) -> np.ndarray:
    """The rows of `sheet` without captions, as pixels (h, w, 3) uint8."""
    names, widest = _columns(shown)
    heights = [max(crop.box[3] * ENLARGED, crop.overview.shape[0]) + GAP for _, crop in shown]
    width = GAP + OVERVIEW_WIDTH + len(names) * (GAP + widest) + GAP
    canvas = np.full((sum(heights) + GAP, width, 3), 255, np.uint8)
    top = GAP
    for (_, crop), height in zip(shown, heights, strict=True):
        _paste(canvas, _with_box(crop), GAP, top)
        for index, name in enumerate(names):
            if name in crop.pictures:
                piece = crop.pictures[name].repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
                _paste(canvas, piece, GAP + OVERVIEW_WIDTH + GAP + index * (widest + GAP), top)
        top += height
    return canvas


def _columns(shown: Sequence[Shown]) -> tuple[list[str], int]:
    """The sides that the sheet has a column for, and the width of a column in pixels."""
    has_input = any("input" in crop.pictures for _, crop in shown)
    names = ["input", "output", "truth"] if has_input else ["output", "truth"]
    return names, max(crop.box[2] for _, crop in shown) * ENLARGED


def _paste(canvas: np.ndarray, pixels: np.ndarray, left: int, top: int) -> None:
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels


def _with_box(crop: Crop) -> np.ndarray:
    """The overview with the outline of the crop, two pixels wide."""
    pixels = crop.overview.copy()
    scale = pixels.shape[1] / crop.full_size[0]
    x, y, width, height = (value * scale for value in crop.box)
    area = pixels[round(y) : max(round(y + height), 1), round(x) : max(round(x + width), 1)]
    for edge in (area[:2], area[-2:], area[:, :2], area[:, -2:]):
        edge[:] = FRAME_RGB
    return pixels


def _row(result: PairResult, crop: Crop, names: Sequence[str], widest: int) -> Drawing:
    drawing = Drawing(0, 0)
    name = fitted(title(result), 15, OVERVIEW_WIDTH + widest, bold=True)
    drawing.add(Text(GAP, 21, name, 15, INK, bold=True))
    after = GAP + text_width(name, 15, bold=True) + 12
    drawing.add(Text(after, 21, f"frame {crop.frame}{_qp(result, crop.frame)}", 13, FAINT))
    top = HEADING
    height, width = crop.overview.shape[:2]
    drawing.add(Picture(GAP, top, width, height, crop.overview, hard=False))
    scale = width / crop.full_size[0]
    box_x, box_y, box_width, box_height = (value * scale for value in crop.box)
    drawing.add(Box(GAP + box_x, top + box_y, box_width, box_height, outline=FRAME, stroke=2))
    drawing.add(Text(GAP, top + height + 18, "whole frame (truth)", 13, FAINT))
    for index, column in enumerate(names):
        if column not in crop.pictures:
            continue
        x = GAP + OVERVIEW_WIDTH + GAP + index * (widest + GAP)
        drawing.add(Picture(x, top, crop.box[2] * ENLARGED, crop.box[3] * ENLARGED, crop.pictures[column]))
        _caption(drawing, crop, column, x, top + crop.box[3] * ENLARGED + 18)
    return drawing


def _caption(drawing: Drawing, crop: Crop, name: str, x: float, y: float) -> None:
    """What a crop is, and its PSNR; of the output also the change, in green or red with its sign."""
    drawing.add(Text(x, y, name, 13, INK, bold=True))
    x += text_width(name, 13, bold=True) + 8
    if name not in crop.quality:
        return
    words = _decibel(crop.quality[name])
    drawing.add(Text(x, y, words, 13, INK))
    if name == "output" and "input" in crop.quality:
        change = crop.quality["output"] - crop.quality["input"]
        if math.isfinite(change):
            x += text_width(words, 13) + 8
            drawing.add(Text(x, y, f"{change:+.2f} dB", 13, BETTER if change > 0 else WORSE, bold=True))


def _decibel(value: float) -> str:
    return "identical" if math.isinf(value) else f"{value:.2f} dB"


def _qp(result: PairResult, frame: int) -> str:
    """ ", QP 37" where the bitstream says so, and whether the frame is a peak."""
    place = result.frames.index(frame)
    qp = result.qp[place]
    if qp is None:
        return ""
    return f", QP {qp:g}" + (", peak quality frame" if result.pqf[place] else "")
