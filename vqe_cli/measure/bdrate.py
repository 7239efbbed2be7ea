"""Bjøntegaard's deltas of rate and quality over piecewise cubic (PCHIP) curves, and those of an evaluation.

G. Bjøntegaard, VCEG-M33 (2001); shape-preserving interpolation as in ITU-T HSTP-VID-WPOM, slopes by
Fritsch and Butland (1984), ends by the three-point formula that keeps the shape.

An enhancer adds no bits, so the curves of the enhanced video and of its input both have the input's rate: the
gain says how much lower a rate gives the same quality when the viewer enhances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqe_cli.errors import VqeError
from vqe_cli.measure.metrics import METRICS
from vqe_cli.measure.result import PairResult, mean_of
from vqe_cli.video.opening import open_input, reading, video_stream


@dataclass(frozen=True)
class CurveResult:
    """Bjøntegaard's deltas of one video, or their mean, in one metric."""

    name: str
    """Of the video."""
    metric: str
    """Its name in `METRICS`."""
    rate_percent: float | None
    """Bits saved (negative) at equal quality; None where the curves do not allow it."""
    quality: float | None
    """Gain at equal rate, in the metric's unit; None where the curves do not allow it."""
    note: str = ""
    """Why there is no number; "" where there is one."""


def curves(results: Sequence[PairResult], metrics: Sequence[str]) -> list[CurveResult]:
    """Deltas for each video that has inputs, and their means; of metrics that rise with quality.

    results: of all rate points, which their labels distinguish.
    """
    by_name: dict[str, list[PairResult]] = {}
    for result in results:
        if result.given is not None and result.gt is not None:
            by_name.setdefault(result.name, []).append(result)
    rising = [name for name in metrics if METRICS[name].rising]
    found = [_video_curve(name, points, metric) for metric in rising for name, points in by_name.items()]
    for metric in rising if len(by_name) > 1 else ():
        of_metric = [curve for curve in found if curve.metric == metric]
        rate = mean_of([curve.rate_percent for curve in of_metric])
        found.append(CurveResult("mean", metric, rate, mean_of([curve.quality for curve in of_metric])))
    return found


def _video_curve(name: str, points: Sequence[PairResult], metric: str) -> CurveResult:
    try:
        anchor, test = [], []
        for point in points:
            assert point.given is not None and point.lq is not None
            before, after = point.given[metric].mean, point.output[metric].mean
            if before is None or after is None:
                return CurveResult(name, metric, None, None, f"{metric} does not apply")
            rate = float(stream_bytes(point.lq))
            anchor.append((rate, before))
            test.append((rate, after))
        return CurveResult(name, metric, bd_rate(anchor, test), bd_quality(anchor, test))
    except VqeError as error:
        return CurveResult(name, metric, None, None, str(error))


def stream_bytes(path: Path) -> int:
    """Bytes of the packets of the first video stream. Raises VqeError for what is not coded video."""
    with open_input(path) as container, reading(path):
        return sum(packet.size for packet in container.demux(video_stream(container, path)))


FEWEST_POINTS = 4
Point = tuple[float, float]


def bd_rate(anchor: Sequence[Point], test: Sequence[Point]) -> float:
    """Mean difference in rate at equal quality, in % (negative: test needs less).

    anchor, test: points (rate, quality), four or more, rate in any one unit above 0, quality rising with
    rate. Raises VqeError where there are too few, a curve does not rise, or the two share no range of
    quality.
    """
    mean = _mean_gap(_curve(anchor, flipped=True), _curve(test, flipped=True), "quality")
    return (10**mean - 1) * 100


def bd_quality(anchor: Sequence[Point], test: Sequence[Point]) -> float:
    """Mean difference in quality at equal rate, in the unit of quality (positive: test is better).

    Points and errors as in `bd_rate`.
    """
    return _mean_gap(_curve(anchor, flipped=False), _curve(test, flipped=False), "rate")


def _curve(points: Sequence[Point], flipped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Points sorted by rate as (abscissa, ordinate): (log10 rate, quality), or swapped where flipped."""
    if len(points) < FEWEST_POINTS:
        raise VqeError(
            f"BD-rate needs at least {FEWEST_POINTS} points a curve, and there are {len(points)}.",
            "Give --pred and --lq for four or more QPs.",
        )
    ordered = np.array(sorted(points), dtype=np.float64)
    if ordered[0, 0] <= 0 or not np.isfinite(ordered).all():
        raise VqeError("BD-rate needs rates above 0 and finite qualities.", "Leave identical videos out.")
    rate, quality = np.log10(ordered[:, 0]), ordered[:, 1]
    if (np.diff(rate) <= 0).any() or (np.diff(quality) <= 0).any():
        raise VqeError(
            "BD-rate needs a quality that rises with the rate at every point.", "Check the folders' order."
        )
    return (quality, rate) if flipped else (rate, quality)


def _mean_gap(anchor: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], what: str) -> float:
    """Mean of test minus anchor over the range of the abscissa that they share."""
    low = max(anchor[0][0], test[0][0])
    high = min(anchor[0][-1], test[0][-1])
    if low >= high:
        raise VqeError(f"The two curves share no range of {what}.", "BD-rate cannot be taken from them.")
    areas = [integral(x, y, low, high) for x, y in (anchor, test)]
    return float((areas[1] - areas[0]) / (high - low))


def integral(x: np.ndarray, y: np.ndarray, low: float, high: float) -> float:
    """Integral from `low` to `high` of the PCHIP curve through (x, y); x rises, both bounds lie within it."""
    slopes = pchip_slopes(x, y)
    total = 0.0
    for i in range(len(x) - 1):
        start, stop = max(low, x[i]), min(high, x[i + 1])
        if start >= stop:
            continue
        width = x[i + 1] - x[i]
        secant = (y[i + 1] - y[i]) / width
        square = (3 * secant - 2 * slopes[i] - slopes[i + 1]) / width
        cube = (slopes[i] + slopes[i + 1] - 2 * secant) / width**2
        antiderivative = np.polynomial.Polynomial([0.0, y[i], slopes[i] / 2, square / 3, cube / 4])
        total += float(antiderivative(stop - x[i]) - antiderivative(start - x[i]))
    return total


def pchip_slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slopes at the points (x, y), at least three, that keep every piece monotone (Fritsch and Butland)."""
    width, secant = np.diff(x), np.diff(y) / np.diff(x)
    slopes = np.zeros_like(x, dtype=np.float64)
    for i in range(1, len(x) - 1):
        before, after = secant[i - 1], secant[i]
        if before * after > 0:
            first, second = 2 * width[i] + width[i - 1], width[i] + 2 * width[i - 1]
            slopes[i] = (first + second) / (first / before + second / after)
    slopes[0] = _end_slope(width[0], width[1], secant[0], secant[1])
    slopes[-1] = _end_slope(width[-1], width[-2], secant[-1], secant[-2])
    return slopes


def _end_slope(width: float, next_width: float, secant: float, next_secant: float) -> float:
    slope = ((2 * width + next_width) * secant - width * next_secant) / (width + next_width)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant < 0 and abs(slope) > abs(3 * secant):
        return 3 * secant
    return slope
