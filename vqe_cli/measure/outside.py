"""Metrics that other software computes.

FFmpeg's filters (XPSNR, SSIM, VIF) run inside this process through PyAV, VMAF in a program that the user has:
an ffmpeg built with libvmaf, or Netflix's vmaf.
"""

import math
import shutil
import subprocess
import tempfile
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.filter import filters_available
from av.filter.graph import Graph

from vqe_cli.documents import MIB, DocumentError, Limits, expect, read_json
from vqe_cli.errors import VqeError
from vqe_cli.measure.pictures import PairView
from vqe_cli.video import y4m
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


REPORT = Limits(bytes=1024 * MIB)
HOW_TO_GET = (
    "Install an ffmpeg with libvmaf (`ffmpeg -filters` lists libvmaf; most static builds have it) or "
    "Netflix's vmaf, and have it on PATH."
)


@lru_cache
def find_program() -> tuple[str, str]:
    """("ffmpeg" or "vmaf", its path): what computes VMAF here. Raises VqeError when there is neither."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is not None:
        asked = subprocess.run(
            [ffmpeg, "-hide_banner", "-filters"], capture_output=True, text=True, check=False
        )
        if " libvmaf " in asked.stdout:
            return "ffmpeg", ffmpeg
    vmaf = shutil.which("vmaf")
    if vmaf is not None:
        return "vmaf", vmaf
    lacking = "the ffmpeg found has no libvmaf" if ffmpeg else "no ffmpeg and no vmaf was found"
    raise VqeError(f"The metric vmaf is not available here: {lacking}.", HOW_TO_GET)


class VmafMetric:
    """VMAF's default model over luma; rate is in frames per second. Raises VqeError when no program is there.

    ffmpeg reads both pictures stacked in one raw stream from a pipe; vmaf needs two y4m files, which are
    written to a temporary folder (1.5 bytes a pixel, frame and side).
    """

    def __init__(self, rate: float) -> None:
        self._kind, self._program = find_program()
        self._rate = rate
        self._pushed = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._targets: list[BinaryIO] = []

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames."""
        gt, pred, depth = luma_codes(pair)
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="vqe-vmaf-")
            self._start(gt.shape[1], gt.shape[0], depth)
        try:
            if self._kind == "ffmpeg":
                self._targets[0].write(with_neutral_chroma(np.concatenate([_even(gt), _even(pred)]), depth))
            else:
                for target, plane in zip(self._targets, (gt, pred), strict=True):
                    target.write(y4m.FRAME + with_neutral_chroma(plane, depth))
        except BrokenPipeError as error:
            raise self._failed() from error
        self._pushed += 1

    def close(self) -> list[float | None]:
        """One value for each pair pushed. Raises VqeError when the program fails or gives another count."""
        if self._folder is None:
            return []
        for target in self._targets:
            target.close()
        if self._process is None:
            self._process = self._run_vmaf()
        self._process.wait()
        report = Path(self._folder.name) / "vmaf.json"
        if self._process.returncode != 0 or not report.exists():
            raise self._failed()
        try:
            values = _values(read_json(report, REPORT))
        except DocumentError as error:
            raise VqeError(
                f"{self._program} wrote no report that can be read ({error}).", HOW_TO_GET
            ) from error
        self.discard()
        if len(values) != self._pushed:
            raise VqeError(f"{self._program} measured {len(values)} of {self._pushed} frames.", HOW_TO_GET)
        return values

    def discard(self) -> None:
        """End the program and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for target in self._targets:
            try:
                target.close()
            except BrokenPipeError:
                continue
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self, width: int, height: int, depth: int) -> None:
        assert self._folder is not None
        folder = Path(self._folder.name)
        if self._kind == "vmaf":
            colour = "420jpeg" if depth == 8 else f"420p{depth}"
            rate = Fraction(self._rate).limit_denominator(1001)
            for name in ("gt.y4m", "pred.y4m"):
                target = (folder / name).open("wb")
                target.write(y4m.header((width, height), rate, colour))
                self._targets.append(target)
            return
        stacked = 2 * (height + height % 2)
        halves = f"crop={width}:{height}:0:{{}}:exact=1"
        graph = (
            f"split[a][b];[a]{halves.format(0)}[gt];[b]{halves.format(stacked // 2)}[pred];"
            "[pred][gt]libvmaf=log_fmt=json:log_path=vmaf.json"
        )
        pix_fmt = "yuv420p" if depth == 8 else f"yuv420p{depth}le"
        source = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            pix_fmt,
            "-s",
            f"{width}x{stacked}",
            "-r",
            f"{self._rate:.6f}",
        ]
        self._process = subprocess.Popen(
            [self._program, "-v", "error", *source, "-i", "-", "-lavfi", graph, "-f", "null", "-"],
            stdin=subprocess.PIPE,
            stderr=(folder / "stderr").open("wb"),
            cwd=folder,
        )
        assert self._process.stdin is not None
        self._targets.append(self._process.stdin)  # type: ignore[arg-type]

    def _run_vmaf(self) -> subprocess.Popen[bytes]:
        assert self._folder is not None
        folder = Path(self._folder.name)
        arguments = ["--reference", "gt.y4m", "--distorted", "pred.y4m", "--json", "--output", "vmaf.json"]
        with (folder / "stderr").open("wb") as errors:
            return subprocess.Popen([self._program, *arguments], stderr=errors, stdout=errors, cwd=folder)

    def _failed(self) -> VqeError:
        assert self._folder is not None
        if self._process is not None:
            self._process.wait()
        lines = (Path(self._folder.name) / "stderr").read_text(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return VqeError(f"{self._program} failed while measuring VMAF: {said.strip()}.", HOW_TO_GET)


def with_neutral_chroma(luma: np.ndarray, depth: int) -> bytes:
    """A 4:2:0 picture with this luma (h, w) and no colour, as raw bytes: VMAF looks at luma alone."""
    height, width = luma.shape
    chroma = 2 * math.ceil(height / 2) * math.ceil(width / 2)
    return luma.tobytes() + np.full(chroma, 1 << (depth - 1), dtype=luma.dtype).tobytes()


def _even(plane: np.ndarray) -> np.ndarray:
    """The plane with its last row repeated where the height is odd: 4:2:0 pictures stack on even rows."""
    return np.concatenate([plane, plane[-1:]]) if plane.shape[0] % 2 else plane


def _values(tree: Any) -> list[float | None]:
    """VMAF of each frame in the program's report; DocumentError where it is none."""
    expect(tree, dict, "it")
    expect(tree.get("frames"), [dict], "frames")
    values: list[float | None] = []
    for frame in tree["frames"]:
        expect(frame.get("metrics"), dict, "metrics")
        expect(frame["metrics"].get("vmaf"), float, "vmaf")
        values.append(float(frame["metrics"]["vmaf"]))
    return values
