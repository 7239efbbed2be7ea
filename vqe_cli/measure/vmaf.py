"""VMAF through a program that the user has: an ffmpeg built with libvmaf, or Netflix's vmaf."""

import math
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vqe_cli.documents import MIB, DocumentError, Limits, expect, read_json
from vqe_cli.errors import VqeError
from vqe_cli.measure.filters import luma_codes
from vqe_cli.measure.pictures import PairView

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
                    target.write(b"FRAME\n" + with_neutral_chroma(plane, depth))
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
            numerator, denominator = float(self._rate).as_integer_ratio()
            for name in ("gt.y4m", "pred.y4m"):
                target = (folder / name).open("wb")
                target.write(
                    f"YUV4MPEG2 W{width} H{height} F{numerator}:{denominator} Ip C{colour}\n".encode()
                )
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
