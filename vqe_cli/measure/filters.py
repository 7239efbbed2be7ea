"""Metrics that are FFmpeg's filters (XPSNR, SSIM, VIF), run inside this process through PyAV."""

from fractions import Fraction

import av
import numpy as np
from av.filter import filters_available
from av.filter.graph import Graph

from vqe_cli.errors import VqeError
from vqe_cli.measure.pictures import PairView
from vqe_cli.video.formats import picture_of

# Pictures with a smaller side have no value: the filters give nonsense there (ssim, vif), and xpsnr, whose
# blocks shrink with the picture's area, divides by zero below 2025 samples (FFmpeg 8.1).
SMALLEST_SIDE = {"xpsnr": 45, "ssim": 8, "vif": 17}
# Bit depths that FFmpeg has a gray format for; the depths between are shifted up into the next one.
GRAY_FORMATS = {8: "gray", 9: "gray9le", 10: "gray10le", 12: "gray12le", 14: "gray14le", 16: "gray16le"}


class FilterMetric:
    """One filter over the luma of a pair of streams; the truth is its first input (XPSNR weighs by it).

    name: FFmpeg's filter; keys: the metadata it leaves on each frame, whose mean is the value; rate: frames
    per second (XPSNR weighs motion by it). Raises VqeError when this FFmpeg has no such filter.
    """

    def __init__(self, name: str, keys: tuple[str, ...], rate: float) -> None:
        if name not in filters_available:
            raise VqeError(
                f"The FFmpeg inside PyAV {av.__version__} has no {name} filter.",
                "Install a newer PyAV (pip install --upgrade av).",
            )
        self._name = name
        self._keys = keys
        version = ".".join(map(str, av.library_versions["libavfilter"]))
        self.source = f"{name} filter of libavfilter {version}"
        self._rate = Fraction(rate).limit_denominator(1001)
        self._graph: Graph | None = None
        self._pushed = 0
        self._values: list[float | None] = []

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames; the values of earlier ones may already be known."""
        if min(pair.size) < SMALLEST_SIDE[self._name]:
            self._values.append(None)
            return
        gt, pred, depth = luma_codes(pair)
        if self._graph is None:
            self._build(gt.shape[1], gt.shape[0], GRAY_FORMATS[depth])
        for source, plane in zip(self._sources, (gt, pred), strict=True):
            picture = picture_of([plane], GRAY_FORMATS[depth])
            picture.pts, picture.time_base = self._pushed, 1 / self._rate
            source.push(picture)
        self._pushed += 1
        self._drain()

    def close(self) -> list[float | None]:
        """One value for each pair pushed; None where the picture is too small."""
        if self._graph is not None:
            for source in self._sources:
                source.push(None)
            self._drain()
            assert len(self._values) == self._pushed
        return self._values

    def discard(self) -> None:
        """Nothing to free beyond what garbage collection frees."""
        self._graph = None

    def _build(self, width: int, height: int, pix_fmt: str) -> None:
        graph = Graph()
        self._sources = [
            graph.add(
                "buffer",
                video_size=f"{width}x{height}",
                pix_fmt=pix_fmt,
                time_base=str(1 / self._rate),
                frame_rate=str(self._rate),
            )
            for _ in range(2)
        ]
        judge, self._sink = graph.add(self._name), graph.add("buffersink")
        for pad, source in enumerate(self._sources):
            source.link_to(judge, 0, pad)
        judge.link_to(self._sink)
        graph.configure()
        self._graph = graph

    def _drain(self) -> None:
        while True:
            try:
                metadata = self._sink.pull().metadata
            except (av.BlockingIOError, av.EOFError):
                return
            self._values.append(sum(float(metadata[key]) for key in self._keys) / len(self._keys))


def luma_codes(pair: PairView) -> tuple[np.ndarray, np.ndarray, int]:
    """Luma planes (h, w) of both sides at one bit depth that FFmpeg's gray formats have, and that depth."""
    codes = pair.codes(0)
    if codes is None:
        planes = [side.luma[0].round().byte().numpy() for side in (pair.gt, pair.pred)]
        return planes[0], planes[1], 8
    gt, pred, highest = codes
    depth = int(highest + 1).bit_length() - 1
    wider = min(known for known in GRAY_FORMATS if known >= depth)
    if wider == depth:
        return gt, pred, depth
    return gt << (wider - depth), pred << (wider - depth), wider
