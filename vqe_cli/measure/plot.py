"""Quality frame by frame: one panel a video, input and output over the frames, peak quality frames marked."""

import math
from collections.abc import Sequence

from vqe_cli.measure.drawing import Box, Dot, Drawing, Line, Text, fitted, text_width
from vqe_cli.measure.metrics import METRICS
from vqe_cli.measure.result import PairResult
from vqe_cli.measure.series import Series, gain
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
    given = result.given[metric] if result.given is not None else None
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
