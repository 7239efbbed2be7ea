"""Crops of input, output and truth side by side, at the frames that changed most."""

import math
from collections.abc import Sequence

from vqe_cli.measure.crops import OVERVIEW_WIDTH, Crop
from vqe_cli.measure.drawing import Box, Drawing, Picture, Text
from vqe_cli.measure.lettering import fitted, text_width
from vqe_cli.measure.result import PairResult
from vqe_cli.measure.tables import title

# Pixels of the sheet for a pixel of the crop: whole, so that every pixel stays a square.
ENLARGED = 3
GAP = 12
CAPTION, HEADING = 26, 30
INK, FAINT, BETTER, WORSE, FRAME = "#1f2328", "#656d76", "#1a7f37", "#cf222e", "#ff3b30"

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
    """One row a crop: the whole frame with the place marked, then the crops, enlarged three times."""
    columns = (
        ("input", "output", "truth")
        if any("input" in crop.pictures for _, crop in shown)
        else ("output", "truth")
    )
    widest = max(crop.box[2] for _, crop in shown) * ENLARGED
    heights = [
        HEADING + max(crop.box[3] * ENLARGED, crop.overview.shape[0]) + CAPTION + GAP for _, crop in shown
    ]
    width = GAP + OVERVIEW_WIDTH + len(columns) * (GAP + widest) + GAP
    drawing = Drawing(width, sum(heights) + GAP)
    y = 0.0
    for (result, crop), height in zip(shown, heights, strict=True):
        _row(drawing, result, crop, columns, widest, y)
        y += height
    return drawing


def before_after(crop: Crop) -> Drawing:
    """One crop as input | output (| truth), without the frame around it: the picture for a README."""
    columns = [name for name in ("input", "output", "truth") if name in crop.pictures]
    width, height = crop.box[2] * ENLARGED, crop.box[3] * ENLARGED
    drawing = Drawing(len(columns) * (width + GAP) + GAP, height + CAPTION + 2 * GAP)
    for index, name in enumerate(columns):
        x = GAP + index * (width + GAP)
        drawing.add(Picture(x, GAP, width, height, crop.pictures[name]))
        _caption(drawing, crop, name, x, GAP + height + 18)
    return drawing


def _row(
    drawing: Drawing, result: PairResult, crop: Crop, columns: Sequence[str], widest: int, y: float
) -> None:
    name = fitted(title(result), 15, OVERVIEW_WIDTH + widest, bold=True)
    drawing.add(Text(GAP, y + 21, name, 15, INK, bold=True))
    after = GAP + text_width(name, 15, bold=True) + 12
    drawing.add(Text(after, y + 21, f"frame {crop.frame}{_qp(result, crop.frame)}", 13, FAINT))
    top = y + HEADING
    height, width = crop.overview.shape[:2]
    drawing.add(Picture(GAP, top, width, height, crop.overview, hard=False))
    scale = width / crop.full_size[0]
    box_x, box_y, box_width, box_height = (value * scale for value in crop.box)
    drawing.add(Box(GAP + box_x, top + box_y, box_width, box_height, outline=FRAME, stroke=2))
    drawing.add(Text(GAP, top + height + 18, "whole frame (truth)", 13, FAINT))
    for index, column in enumerate(columns):
        if column not in crop.pictures:
            continue
        x = GAP + OVERVIEW_WIDTH + GAP + index * (widest + GAP)
        drawing.add(Picture(x, top, crop.box[2] * ENLARGED, crop.box[3] * ENLARGED, crop.pictures[column]))
        _caption(drawing, crop, column, x, top + crop.box[3] * ENLARGED + 18)


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
