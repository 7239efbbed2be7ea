"""What is drawn of results: quality frame by frame, and crops of input, output and truth side by side."""

import math
from collections.abc import Sequence

import numpy as np

from vqe_cli.measure.drawing import Box, Dot, Drawing, Line, Picture, Text, fitted, text_width
from vqe_cli.measure.metrics import METRICS
from vqe_cli.measure.pictures import OVERVIEW_WIDTH, Crop
from vqe_cli.measure.result import PairResult, Series, gain
from vqe_cli.measure.tables import title

PANEL_WIDTH, PANEL_HEIGHT = 860, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 18, 52, 38
GAP = 14
NAME_WIDTH = 320  # of the heading; what its curves are stands beside it
ONE_COLUMN_UP_TO = 3

INK, FAINT, GRID = "#1f2328", "#656d76", "#e6e8eb"
INPUT, OUTPUT, PEAK = "#8b949e", "#0969da", "#d4570a"


def plot(results: Sequence[PairResult], metric: str) -> Drawing:
    """One panel for each video, in one column (two for more than three videos)."""
    columns = 1 if len(results) <= ONE_COLUMN_UP_TO else 2
    rows = -(-len(results) // columns)
    drawing = Drawing(
        columns * PANEL_WIDTH + (columns + 1) * GAP, rows * (PANEL_HEIGHT + GAP) + GAP, background="#ffffff"
    )
    for index, result in enumerate(results):
        row, column = divmod(index, columns)
        x, y = GAP + column * (PANEL_WIDTH + GAP), GAP + row * (PANEL_HEIGHT + GAP)
        drawing.place(panel(result, metric), x, y)
    return drawing


def panel(result: PairResult, metric: str) -> Drawing:
    """One video: the metric over its frames, of the output and (grey) the input."""
    drawing = Drawing(PANEL_WIDTH, PANEL_HEIGHT)
    output = result.output[metric]
    given = result.before(metric)
    axes = _Axes(result.frames, [series for series in (output, given) if series is not None])
    _draw_axes(drawing, axes, metric)
    if given is not None:
        drawing.add(*axes.curve(given, INPUT, 1.4))
    drawing.add(*axes.curve(output, OUTPUT, 1.8))
    _mark_peaks(drawing, axes, result, given or output)
    _write_heading(drawing, result, metric, output, given)
    return drawing


class _Axes:
    """Where frames and values lie in a panel."""

    def __init__(self, frames: Sequence[int], curves: Sequence[Series]) -> None:
        self.frames = frames
        known = [v for series in curves for v in series.values if v is not None and math.isfinite(v)]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        self.ticks = ticks(low, high, 5)
        step = self.ticks[1] - self.ticks[0]
        self.low, self.high = min(low - step * 0.15, self.ticks[0]), max(high + step * 0.25, self.ticks[-1])
        self.width, self.height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM

    def x(self, frame: float) -> float:
        first, last = self.frames[0], self.frames[-1]
        return LEFT + 6 + (self.width - 12) * ((frame - first) / (last - first) if last > first else 0.5)

    def y(self, value: float) -> float:
        """Infinite values lie on the upper edge."""
        return TOP + self.height * (1 - (min(value, self.high) - self.low) / (self.high - self.low))

    def curve(self, series: Series, colour: str, width: float) -> list[Line | Dot]:
        """The values as a line, thinned to the extremes of each half pixel; a lone frame is a dot."""
        points = [(f, v) for f, v in zip(series.frames, series.values, strict=True) if v is not None]
        if len(points) == 1:
            return [Dot(self.x(points[0][0]), self.y(points[0][1]), 3, colour)]
        return [Line([(self.x(f), self.y(v)) for f, v in thinned(points, 2 * self.width)], colour, width)]


def thinned(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """The lowest and highest point of each of `most` / 2 equal stretches, in order; all if they are few."""
    if len(points) <= most:
        return list(points)
    kept: list[tuple[int, float]] = []
    stretches = most // 2
    for stretch in range(stretches):
        part = points[stretch * len(points) // stretches : (stretch + 1) * len(points) // stretches]
        extremes = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(extremes)
    return kept


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from at most `low` to at least `high`, `about` of them, at least two."""
    span = max(high - low, 1e-6 * max(1.0, abs(high)))
    power = 10 ** math.floor(math.log10(span / about))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * about >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _draw_axes(drawing: Drawing, axes: _Axes, metric: str) -> None:
    step = axes.ticks[1] - axes.ticks[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    right, bottom = LEFT + axes.width, TOP + axes.height
    for tick in axes.ticks:
        if axes.low <= tick <= axes.high:
            y = axes.y(tick)
            drawing.add(Line([(LEFT, y), (right, y)], GRID, 1))
            drawing.add(Text(LEFT - 7, y + 4, f"{tick:.{decimals}f}", 11, FAINT, "end"))
    first, last = axes.frames[0], axes.frames[-1]
    for tick in ticks(first, last, 10):
        if tick == round(tick) and first <= tick <= last:
            x = axes.x(tick)
            drawing.add(Line([(x, bottom), (x, bottom + 4)], FAINT, 1))
            drawing.add(Text(x, bottom + 16, f"{tick:.0f}", 11, FAINT, "middle"))
    drawing.add(Line([(LEFT, bottom), (right, bottom)], FAINT, 1))
    unit = METRICS[metric].unit
    name = f"{metric.upper()}, {unit}" if unit else metric.upper()
    drawing.add(Text(15, TOP + axes.height / 2, name, 11, FAINT, "middle", turned=True))
    drawing.add(Text(right, bottom + 31, "frame", 11, FAINT, "end"))


def _mark_peaks(drawing: Drawing, axes: _Axes, result: PairResult, curve: Series) -> None:
    """A dot on the curve at every peak quality frame; ticks below the axis where dots would run together."""
    marked = [
        (f, v) for f, v, p in zip(curve.frames, curve.values, result.pqf, strict=True) if p and v is not None
    ]
    crowded = len(marked) * 8 > axes.width
    for frame, value in marked:
        if crowded:
            x = axes.x(frame)
            drawing.add(Line([(x, TOP + axes.height - 5), (x, TOP + axes.height)], PEAK, 1))
        else:
            drawing.add(Dot(axes.x(frame), axes.y(value), 3.6, PEAK, ring="#ffffff"))


def _write_heading(
    drawing: Drawing, result: PairResult, metric: str, output: Series, given: Series | None
) -> None:
    name = fitted(title(result), 14, NAME_WIDTH, bold=True)
    drawing.add(Text(LEFT, 22, name, 14, INK, bold=True))
    size = f"{result.size[0]}×{result.size[1]}, {len(result.frames)} frames"
    drawing.add(Text(LEFT, 40, size, 11, FAINT))
    entries = [("output", OUTPUT, _mean_text(metric, output, given))]
    if given is not None:
        entries.insert(0, ("input", INPUT, _mean_text(metric, given, None)))
    if any(result.pqf):
        entries.append(("peak quality frame", PEAK, ""))
    x = float(PANEL_WIDTH - RIGHT)
    for label, colour, value in reversed(entries):
        words = f"{label} {value}".strip()
        x -= text_width(words, 12)
        drawing.add(Text(x, 22, words, 12, INK))
        x -= 8
        if colour == PEAK:
            drawing.add(Dot(x - 4, 18, 3.6, PEAK))
        else:
            drawing.add(Box(x - 18, 16.5, 18, 3, fill=colour))
        x -= 36 if colour != PEAK else 26


def _mean_text(metric: str, series: Series, given: Series | None) -> str:
    if series.mean is None:
        return "n/a"
    known = METRICS[metric]
    text = "identical" if math.isinf(series.mean) else f"{series.mean:.{known.decimals - 1}f}"
    change = gain(series, given) if given is not None else None
    return text if change is None else f"{text} ({change:+.{known.decimals - 1}f})"


# Pixels of the sheet for a pixel of the crop: whole, so that every pixel stays a square.
ENLARGED = 3
SHEET_GAP = 12
CAPTION, HEADING = 26, 30
BETTER, WORSE, FRAME = "#1a7f37", "#cf222e", "#ff3b30"
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
        HEADING + max(crop.box[3] * ENLARGED, crop.overview.shape[0]) + CAPTION + SHEET_GAP
        for _, crop in shown
    ]
    width = SHEET_GAP + OVERVIEW_WIDTH + len(names) * (SHEET_GAP + widest) + SHEET_GAP
    drawing = Drawing(width, sum(heights) + SHEET_GAP)
    y = 0.0
    for (result, crop), height in zip(shown, heights, strict=True):
        drawing.place(_row(result, crop, names, widest), 0, y)
        y += height
    return drawing


def sheet_pixels(shown: Sequence[Shown]) -> np.ndarray:
    """The rows of `sheet` without captions, as pixels (h, w, 3) uint8."""
    names, widest = _columns(shown)
    heights = [max(crop.box[3] * ENLARGED, crop.overview.shape[0]) + SHEET_GAP for _, crop in shown]
    width = SHEET_GAP + OVERVIEW_WIDTH + len(names) * (SHEET_GAP + widest) + SHEET_GAP
    canvas = np.full((sum(heights) + SHEET_GAP, width, 3), 255, np.uint8)
    top = SHEET_GAP
    for (_, crop), height in zip(shown, heights, strict=True):
        _paste(canvas, _with_box(crop), SHEET_GAP, top)
        for index, name in enumerate(names):
            if name in crop.pictures:
                piece = crop.pictures[name].repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
                _paste(
                    canvas, piece, SHEET_GAP + OVERVIEW_WIDTH + SHEET_GAP + index * (widest + SHEET_GAP), top
                )
        top += height
    return canvas


def _columns(shown: Sequence[Shown]) -> tuple[list[str], int]:
    """The sides that the sheet has a column for, and the width of a column in pixels."""
    known = {name for _, crop in shown for name in crop.pictures}
    names: list[str] = [name for name in ("input", "output", "truth") if name in known]
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
    drawing.add(Text(SHEET_GAP, 21, name, 15, INK, bold=True))
    after = SHEET_GAP + text_width(name, 15, bold=True) + 12
    drawing.add(Text(after, 21, f"frame {crop.frame}{_qp(result, crop.frame)}", 13, FAINT))
    top = HEADING
    height, width = crop.overview.shape[:2]
    whole = "truth" if "truth" in crop.pictures else "output"
    drawing.add(Picture(SHEET_GAP, top, width, height, crop.overview, hard=False))
    scale = width / crop.full_size[0]
    box_x, box_y, box_width, box_height = (value * scale for value in crop.box)
    drawing.add(Box(SHEET_GAP + box_x, top + box_y, box_width, box_height, outline=FRAME, stroke=2))
    drawing.add(Text(SHEET_GAP, top + height + 18, f"whole frame ({whole})", 13, FAINT))
    for index, column in enumerate(names):
        if column not in crop.pictures:
            continue
        x = SHEET_GAP + OVERVIEW_WIDTH + SHEET_GAP + index * (widest + SHEET_GAP)
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
