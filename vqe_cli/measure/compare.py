"""One video, or many, against the truth, frame by frame, with the input beside it where there is one."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqe_cli.bitstream import peaks as pqf
from vqe_cli.errors import VqeError
from vqe_cli.measure.metrics import DEFAULT_METRICS, METRICS, Setup, StreamMetric
from vqe_cli.measure.pictures import BLOCK_PX, Agreement, CropKeeper, PairView, View, agree
from vqe_cli.measure.psnr_ssim import picture_mse
from vqe_cli.measure.result import EVERYTHING, Options, PairResult, Series, gain_of
from vqe_cli.measure.sets import SET_METRICS, FeatureCollector, FeatureNetwork, check_sets
from vqe_cli.measure.sources import AHEAD, ShiftDetector, Side, check_sizes, in_step, open_side, thumbnail
from vqe_cli.video.estimates import check_memory, frame_bytes, machine_memory
from vqe_cli.video.frame import Frame

DEFAULT_RATE = 25.0


def compare_pair(
    gt: str | PathLike[str] | None,
    pred: str | PathLike[str],
    lq: str | PathLike[str] | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    options: Options = EVERYTHING,
    progress: Callable[[int], None] | None = None,
) -> PairResult:
    """Measure the video `pred` against its truth `gt`, and the input `lq` it was made from beside it.

    Without a truth (None) the output is compared with the input, and of the input only what metrics say of a
    picture by itself is measured.
    Paths are videos, image folders, or raw .yuv with `options.raw`. metrics: names of `metrics.METRICS`.
    progress is called with the number of frames read. Memory does not grow with the length of the videos.
    Raises VqeError for videos that cannot be read, that have no frames, or differ in size or frame count,
    and for metrics that are not available.
    """
    start = time.perf_counter()
    if gt is None and lq is None:
        raise VqeError("There is nothing to compare the output with.", "Give a truth or an input.")
    named = {"truth": gt, "output": pred, "input": lq} if gt is not None else {"input": lq, "output": pred}
    paths = {label: Path(path) for label, path in named.items() if path is not None}
    with ExitStack() as stack:
        sides = [stack.enter_context(open_side(label, path, options.raw)) for label, path in paths.items()]
        check_sizes(sides)
        width, height = sides[0].size
        if 2 * options.crop_px >= min(width, height):
            raise VqeError(
                f"--crop {options.crop_px} leaves nothing of {paths['output']}, which is {width}x{height}.",
                "Cut away less.",
            )
        options = replace(options, threads=frames_at_a_time(sides, options))
        rate = float(next((side.info.rate for side in sides if side.info.rate), DEFAULT_RATE))
        comparison = _Comparison(
            sides, agree([(str(side.path), side.info) for side in sides]), metrics, options
        )
        comparison.open_streams(Setup(rate, options.lpips_weights), stack)
        comparison.open_collectors()
        comparison.run(progress)
    output, *given = [track.series(comparison.frames) for track in comparison.tracks]
    return PairResult(
        name=Path(pred).stem,
        gt=paths.get("truth"),
        pred=paths["output"],
        lq=paths.get("input"),
        output=output,
        given=given[0] if given else None,
        frames=tuple(comparison.frames),
        qp=tuple(comparison.bitstream[index].qp for index in comparison.frames),
        pqf=comparison.peaks(),
        size=(width - 2 * options.crop_px, height - 2 * options.crop_px),
        rate=rate,
        matrix=comparison.agreement.colours[0].matrix,
        crops=comparison.keeper.result(),
        warnings=comparison.warnings(),
        features=comparison.features(),
        seconds=time.perf_counter() - start,
    )


# Bytes a pixel that metrics take of a side while they measure a frame: RGB in float32 and as much again and
# a half on the way (measured; SSIM works in stripes).
MEASURED_BYTES = 30


def frames_at_a_time(sides: Sequence[Side], options: Options) -> int:
    """How many frames are measured side by side: as many as threads, or as the free memory allows.

    Raises VqeError where it does not suffice for one.
    """
    (width, height), truth = sides[0].size, sides[0]
    counts = [side.info.frame_count for side in sides if side.info.frame_count]
    most = min([*counts, options.max_frames or max(counts, default=10**9)])
    decoded = [frame_bytes(width, height, side.info.pix_fmt) for side in sides]

    def needed(threads: int) -> int:
        measured = len(sides) * MEASURED_BYTES * width * height * min(threads, most)
        return measured + sum(decoded) * min(2 * threads + 1 + AHEAD, most)

    threads = options.threads or torch.get_num_threads()
    free, _ = machine_memory()
    while threads > 1 and free is not None and needed(threads) > free:
        threads -= 1
    check_memory(truth.path, truth.size, needed(threads), "Compare smaller pictures, or free some memory.")
    return threads


@dataclass
class _Track:
    """What one judged side (output or input) has gathered so far."""

    side: Side
    values: dict[str, list[float | None]]
    streams: dict[str, StreamMetric] = field(default_factory=dict)
    shift: ShiftDetector = field(default_factory=ShiftDetector)

    def series(self, frames: Sequence[int]) -> dict[str, Series]:
        sources = {name: stream.source for name, stream in self.streams.items()}
        return {
            name: Series(tuple(values), tuple(frames), METRICS[name].rising, sources.get(name, ""))
            for name, values in self.values.items()
        }


@dataclass(frozen=True)
class _Coded:
    """What the bitstream says of a frame; kept for every frame, because peaks are found among all of them."""

    qp: float | None
    irap: bool
    sequence: int


@dataclass(frozen=True)
class _PendingFrame:
    """A frame that is being measured."""

    frame: int
    views: list[View]
    scores: Future[list[dict[str, float | None]]]
    change: Future[float] | None


class _Comparison:
    """Goes through all frames: picks them, hands them to worker threads, gathers the scores in order."""

    def __init__(
        self, sides: list[Side], agreement: Agreement, metrics: Sequence[str], options: Options
    ) -> None:
        self._blind = sides[0].label == "input"
        output, *given = self._ordered(sides)[1:]
        alone = [name for name in metrics if METRICS[name].alone or not self._blind]
        self.tracks = [_Track(output, {name: [] for name in metrics})]
        self.tracks += [_Track(side, {name: [] for name in alone}) for side in given]
        self.agreement = agreement
        self.frames: list[int] = []
        self.bitstream: list[_Coded] = []
        self.keeper = CropKeeper(options.crops)
        self._sides = sides
        self._options = options
        self._collectors: dict[str, list[FeatureCollector]] = {}
        self._block_px = BLOCK_PX * max(side.scale for side in sides)

    def _ordered(self, sides: Sequence[Any]) -> list[Any]:
        """What belongs to reference, output and maybe input; without a truth the input is the reference."""
        return [*sides, sides[0]] if self._blind else list(sides)

    def _coded(self, sides: Sequence[Any]) -> Any:
        """What belongs to the side whose bitstream counts: the input, where there is one, else the output."""
        ordered = self._ordered(sides)
        return ordered[2] if len(ordered) > 2 else ordered[1]

    def open_streams(self, setup: Setup, stack: ExitStack) -> None:
        """Open the metrics over frames in order; `stack` frees them. Raises VqeError for missing ones."""
        for track in self.tracks:
            for name in track.values:
                opened = METRICS[name].stream
                if opened is not None:
                    track.streams[name] = opened(setup)
                    stack.callback(track.streams[name].discard)

    def open_collectors(self) -> None:
        """Load the networks of the distances that are wanted. Raises VqeError for one that is missing."""
        options = self._options
        check_sets(options.sets, options.every, options.fid_network, options.vid_network)
        for kind, path in (("image", options.fid_network), ("video", options.vid_network)):
            if path is not None and any(SET_METRICS[name].kind == kind for name in options.sets):
                network = FeatureNetwork(path)
                self._collectors[kind] = [
                    FeatureCollector(side.label, network, kind == "video") for side in self._sides
                ]

    def features(self) -> dict[str, dict[str, list[np.ndarray]]]:
        """What the collectors gathered, by kind and side."""
        return {
            kind: {side.label: each.features for side, each in zip(self._sides, collectors, strict=True)}
            for kind, collectors in self._collectors.items()
        }

    def run(self, progress: Callable[[int], None] | None) -> None:
        """Measure everything. Raises VqeError when no frame was measured."""
        pending: deque[_PendingFrame] = deque()
        threads = self._options.threads or torch.get_num_threads()
        with frame_workers(threads) as pool:
            for index, frames in in_step(self._sides, self._options.max_frames, progress):
                self._record(frames)
                if index % self._options.every == self._options.offset:
                    pending.append(self._start(pool, index, frames))
                if len(pending) > 2 * threads:
                    self._gather(pending.popleft())
            while pending:
                self._gather(pending.popleft())
        if not self.frames:
            raise VqeError(
                f"No frame of {self._sides[1].path} was measured; it has {len(self.bitstream)}.",
                "Check the video, and --every, --offset and --max-frames.",
            )
        for track in self.tracks:
            for name, stream in track.streams.items():
                track.values[name] = [usable(value, METRICS[name].rising) for value in stream.close()]

    def peaks(self) -> tuple[bool, ...]:
        """For each measured frame, whether its QP makes it a peak; none where QPs say nothing."""
        step = pqf.qp_step(self._coded(self._sides).info.codec)
        qps = [None if coded.qp is None else coded.qp / step for coded in self.bitstream]
        if len(set(qps) - {None}) < 2:
            return (False,) * len(self.frames)
        iraps, sequences = [c.irap for c in self.bitstream], [c.sequence for c in self.bitstream]
        marks = pqf.mark(qps, iraps, sequences)
        return tuple(marks[index] for index in self.frames)

    def warnings(self) -> tuple[str, ...]:
        """One sentence for everything that casts a doubt on the scores."""
        found = [warning for side in self._sides for warning in side.warnings]
        found += self.agreement.warnings
        reference = self._sides[0]
        for track in self.tracks:
            side, shift = track.side, track.shift.result()
            if shift is not None:
                found.append(shift.sentence(str(side.path), str(reference.path)))
            for name, series in track.series(self.frames).items():
                if 0 < series.identical < len(series.values):
                    found.append(
                        f"{side.path}: {series.identical} of {len(series.values)} frames are identical to "
                        f"the {reference.label}; the mean of {name} is over the others"
                    )
        return (*found, *self._lost())

    def _lost(self) -> list[str]:
        """What no mean of a gain shows: frames of the input that equal the truth, and of the output not."""
        if len(self.tracks) < 2:
            return []
        output, given = (track.series(self.frames) for track in self.tracks)
        ceased = {name: gain_of(output[name], series).ceased for name, series in given.items()}
        given_path = self.tracks[1].side.path
        return [
            f"{given_path}: {count} of {len(self.frames)} frames are identical to the truth and "
            f"those of {self._sides[1].path} are not: a loss that the gain of {name} leaves out"
            for name, count in ceased.items()
            if count
        ]

    def _record(self, frames: Sequence[Frame]) -> None:
        """Keep what a frame's bitstream says, and its small pictures for the search of a shift."""
        coded = self._coded(frames)
        self.bitstream.append(_Coded(coded.qp, coded.irap, coded.sequence))
        thumbs = [
            thumbnail(frame.planes[1 if colour.matrix == "rgb" else 0], colour.bit_depth)
            for frame, colour in zip(frames, self.agreement.colours, strict=True)
        ]
        for track, thumb in zip(self.tracks, self._ordered(thumbs)[1:], strict=True):
            track.shift.push(thumbs[0], thumb)

    def _start(self, pool: ThreadPoolExecutor, index: int, frames: Sequence[Frame]) -> _PendingFrame:
        views = [
            View(frame, colour, self._options.crop_px, self.agreement.luma_colour, self._block_px)
            for frame, colour in zip(frames, self.agreement.colours, strict=True)
        ]
        for collectors in self._collectors.values():
            for collector, view in zip(collectors, views, strict=True):
                collector.push(view)
        views = self._ordered(views)
        scores = pool.submit(score, views, [list(track.values) for track in self.tracks])
        change = pool.submit(changed, views) if self._options.crops else None
        for track, view in zip(self.tracks, views[1:], strict=True):
            for stream in track.streams.values():
                stream.push(PairView(views[0], view))
        # Views keep what was made of them: 12 bytes a pixel and more.
        return _PendingFrame(index, views if change is not None else [], scores, change)

    def _gather(self, pending: _PendingFrame) -> None:
        self.frames.append(pending.frame)
        for track, scores in zip(self.tracks, pending.scores.result(), strict=True):
            for name, value in scores.items():
                track.values[name].append(usable(value, METRICS[name].rising))
        if pending.change is not None:
            reference, output, *given = pending.views
            truth = None if self._blind else reference
            change = pending.change.result()
            self.keeper.offer(pending.frame, change, truth, output, given[0] if given else None)


def usable(value: float | None, rising: bool) -> float | None:
    """A metric's value; None for NaN, and for what is infinite without meaning "equal to the truth"."""
    if value is None or math.isfinite(value):
        return value
    return value if rising and value > 0 else None


@torch.inference_mode()
def score(views: Sequence[View], names: Sequence[Sequence[str]]) -> list[dict[str, float | None]]:
    """The named metrics of one frame that need no other.

    views: the reference, then every picture that is judged by it; names: of the metrics of each of these.
    """
    scores = []
    for view, wanted in zip(views[1:], names, strict=True):
        pair = PairView(views[0], view)
        measures = {name: METRICS[name].measure for name in wanted}
        scores.append({name: measure(pair) for name, measure in measures.items() if measure is not None})
    return scores


@torch.inference_mode()
def changed(views: Sequence[View]) -> float:
    """Mean squared RGB difference between input and output, or output and truth without an input."""
    truth, output, *given = views
    return picture_mse((given[0] if given else truth).rgb, output.rgb)


@contextmanager
def frame_workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that measure one frame each, with torch on one thread inside each of them.

    Frames in parallel beat threads inside small operations by far, and cost nothing when cores are busy. What
    torch was set to before is restored.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count, thread_name_prefix="measure") as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(before)
