"""How fast videos are measured: `vqe bench eval`.

Against ffmpeg-quality-metrics where that program and ffmpeg are installed, else against FFmpeg's psnr and
ssim filters through PyAV, which is what that program runs without its start-up and its parsing. Two rows:
the same metrics (PSNR of the planes and FFmpeg's SSIM), and ours by default, whose Gaussian SSIM and
MS-SSIM over RGB the other does not have.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.metrics import DEFAULT_METRICS
from vqe_cli.measure.pairing import Pair, pair_up
from vqe_cli.video.opening import open_input, reading, video_stream

SAME_METRICS = ("psnr-y", "psnr-u", "psnr-v", "psnr-yuv", "ssim-ffmpeg")
PROGRAM = "ffmpeg-quality-metrics"


def bench_eval(gt: Path, pred: Path, repeats: int = 3) -> dict[str, Any]:
    """Measure the pairs of two videos or folders in each way, the best of `repeats` times.

    Gives "reference" (what we are compared with), "frames", and "rows": for each way its name, seconds,
    frames per second, and how many times as fast as the reference it is. Raises VqeError for what cannot be
    measured.
    """
    pairs = pair_up(gt, pred).pairs
    frames = sum(len(compare_pair(pair.gt, pair.pred, metrics=("psnr-y",)).frames) for pair in pairs)
    name, reference = chosen_reference()
    ways: list[tuple[str, Callable[[Pair], object]]] = [
        (name, lambda pair: pair.gt and reference(pair.gt, pair.pred)),
        ("vqe, the same metrics", lambda pair: compare_pair(pair.gt, pair.pred, metrics=SAME_METRICS)),
        (f"vqe, {' '.join(DEFAULT_METRICS)}", lambda pair: compare_pair(pair.gt, pair.pred)),
    ]
    seconds = [best_time(way, pairs, repeats) for _, way in ways]
    rows = [
        {"way": way, "seconds": taken, "frames_per_s": frames / taken, "times_as_fast": seconds[0] / taken}
        for (way, _), taken in zip(ways, seconds, strict=True)
    ]
    found = {"reference": name, "videos": len(pairs), "frames": frames}
    return {**found, "vqe_start_up_s": start_up_s(), "rows": rows}


def start_up_s() -> float:
    """Seconds until a fresh Python could measure; not in the rows, where theirs is paid for each video."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import vqe_cli.measure.compare"], check=True)
    return time.perf_counter() - start


def chosen_reference() -> tuple[str, Callable[[Path, Path], object]]:
    """The best reference that is here: its name, and how it measures one pair."""
    program = shutil.which(PROGRAM)
    if program is not None and shutil.which("ffmpeg") is not None:
        path = program
        return PROGRAM, lambda gt, pred: by_program(path, gt, pred)
    return "FFmpeg's psnr and ssim filters (PyAV)", by_filters


def best_time(way: Callable[[Pair], object], pairs: Sequence[Pair], repeats: int) -> float:
    """Seconds for all pairs, one after the other, in the quickest of the repeats."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for pair in pairs:
            way(pair)
        times.append(time.perf_counter() - start)
    return min(times)


def by_program(program: str, gt: Path, pred: Path) -> None:
    """ffmpeg-quality-metrics with psnr and ssim. Raises VqeError when it fails."""
    done = subprocess.run(
        [program, str(pred.absolute()), str(gt.absolute()), "--metrics", "psnr", "ssim"],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise VqeError(
            f"{program} failed on {pred}: {said[-1]}.", "Take it off PATH to compare with FFmpeg alone."
        )


def by_filters(gt: Path, pred: Path) -> list[tuple[float, float]]:
    """(PSNR average, SSIM) of every frame by FFmpeg's filters, both sides decoded with frame threads."""
    with open_input(pred) as first, open_input(gt) as second, reading(pred):
        streams = [video_stream(first, pred), video_stream(second, gt)]
        for stream in streams:
            stream.thread_type = "AUTO"
        graph = av.filter.Graph()
        sources = [
            graph.add(
                "buffer",
                video_size=f"{stream.width}x{stream.height}",
                pix_fmt=str(stream.pix_fmt),
                time_base="1/25",
            )
            for stream in streams
        ]
        # The ssim filter hands its first input on with what psnr wrote on it.
        psnr, copies, ssim = graph.add("psnr"), graph.add("split"), graph.add("ssim")
        sink = graph.add("buffersink")
        sources[0].link_to(psnr, 0, 0)
        sources[1].link_to(copies)
        copies.link_to(psnr, 0, 1)
        psnr.link_to(ssim, 0, 0)
        copies.link_to(ssim, 1, 1)
        ssim.link_to(sink)
        graph.configure()
        found: list[tuple[float, float]] = []
        pictures = zip(first.decode(streams[0]), second.decode(streams[1]), strict=True)
        for index, pair in enumerate(pictures):
            for source, picture in zip(sources, pair, strict=True):
                picture.pts, picture.time_base = index, Fraction(1, 25)
                source.push(picture)
            _drain(sink, found)
        for source in sources:
            source.push(None)
        _drain(sink, found)
        return found


def _drain(sink: Any, found: list[tuple[float, float]]) -> None:
    while True:
        try:
            metadata = sink.pull().metadata
        except (av.BlockingIOError, av.EOFError):
            return
        found.append((float(metadata["lavfi.psnr.psnr_avg"]), float(metadata["lavfi.ssim.All"])))
