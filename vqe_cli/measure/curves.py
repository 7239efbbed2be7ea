"""Rate-quality curves over several QPs: BD-rate of the enhanced video against its input.

An enhancer adds no bits, so both curves have the input's rate: the gain says how much lower a rate gives the
same quality when the viewer enhances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqe_cli.errors import VqeError
from vqe_cli.measure.bdrate import bd_quality, bd_rate
from vqe_cli.measure.metrics import METRICS
from vqe_cli.measure.result import PairResult
from vqe_cli.measure.series import mean_of
from vqe_cli.video.opening import open_input, reading, video_stream


@dataclass(frozen=True)
class CurveResult:
    """Bjøntegaard's deltas of one video (or their mean) in one metric.

    rate_percent: bits saved (negative) at equal quality; quality: gain at equal rate in the metric's unit;
    both None where the curves do not allow it, and `note` says why.
    """

    name: str
    metric: str
    rate_percent: float | None
    quality: float | None
    note: str = ""


def curves(results: Sequence[PairResult], metrics: Sequence[str]) -> list[CurveResult]:
    """Deltas for each video that has inputs, and their means; of metrics that rise with quality.

    results: of all rate points, told apart by their labels.
    """
    by_name: dict[str, list[PairResult]] = {}
    for result in results:
        if result.given is not None:
            by_name.setdefault(result.name, []).append(result)
    rising = [name for name in metrics if METRICS[name].rising]
    found = [_curve(name, points, metric) for metric in rising for name, points in by_name.items()]
    for metric in rising if len(by_name) > 1 else ():
        of_metric = [curve for curve in found if curve.metric == metric]
        rate = mean_of([curve.rate_percent for curve in of_metric])
        found.append(CurveResult("mean", metric, rate, mean_of([curve.quality for curve in of_metric])))
    return found


def _curve(name: str, points: Sequence[PairResult], metric: str) -> CurveResult:
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
    """Bytes of the packets of the first video stream. Raises VqeError for what is no coded video."""
    with open_input(path) as container, reading(path):
        return sum(packet.size for packet in container.demux(video_stream(container, path)))
