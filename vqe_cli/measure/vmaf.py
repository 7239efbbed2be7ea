"""VMAF and CAMBI by libvmaf, inside an ffmpeg program: that of the extra vqe[vmaf], else one on the path.

VMAF: Li et al., "Toward a practical perceptual video quality metric", 2016; NEG: Li et al., 2020; CAMBI, a
measure of banding (lower is better): Tandon et al., PCS 2021.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from vqe_cli.documents import MIB, DocumentError, Limits, expect, read_json
from vqe_cli.errors import VqeError
from vqe_cli.machine import usable_cores
from vqe_cli.measure.pictures import SWSCALE_MATRICES, PairView, View
from vqe_cli.video.formats import SUBSAMPLING_NAMES, planes_of

REPORT = Limits(bytes=1024 * MIB)
HOW_TO_GET = (
    "Install the extra vqe[vmaf] (`pip install '.[vmaf]'`), whose imageio-ffmpeg brings an ffmpeg with "
    "libvmaf, or have an ffmpeg whose `ffmpeg -filters` lists libvmaf on PATH."
)


@dataclass(frozen=True)
class Judge:
    """What libvmaf is asked for."""

    argument: str
    """Of the filter: the model or the feature."""
    key: str = "vmaf"
    """Of the value in the filter's report."""
    least_bits: int = 8
    """Bit depth that pictures have at least when they are judged."""
    smallest: tuple[int, int] = (17, 17)
    """Shorter and longer side (pixels) below which libvmaf 3 fails or crashes."""

    @property
    def model(self) -> str:
        """The model's name with its version, or the feature's."""
        return self.argument.rpartition("=")[2]


def _v1(model: str, shorter: int = 160) -> Judge:
    """A model of VMAF v1, which is to be given 10 bits even of 8-bit video."""
    return Judge(f"model=version=vmaf_v1.0.16_{model}", least_bits=10, smallest=(shorter, 216))


JUDGES = {
    "vmaf": Judge("model=version=vmaf_v0.6.1"),
    "vmaf-neg": Judge("model=version=vmaf_v0.6.1neg"),
    "vmaf-v1": _v1("3d0h"),
    "vmaf-v1-phone": _v1("5d0h", 272),
    "vmaf-v1-4k": _v1("1d5h_2160"),
    "vmaf-v1-hfr": _v1("hfr_3d0h"),
    "cambi": Judge("feature=name=cambi", "cambi", smallest=(17, 216)),
}


@lru_cache
def find_ffmpeg() -> str:
    """The path of an ffmpeg with libvmaf. Raises VqeError when there is none."""
    found = [path for path in (bundled_ffmpeg(), shutil.which("ffmpeg")) if path is not None]
    for path in found:
        if " libvmaf " in _output([path, "-hide_banner", "-filters"]):
            return path
    lacking = f"{' and '.join(found)} has no libvmaf" if found else "no ffmpeg was found"
    raise VqeError(f"VMAF and CAMBI are not available here: {lacking}.", HOW_TO_GET)


def bundled_ffmpeg() -> str | None:
    """The ffmpeg that the package imageio-ffmpeg brings or finds; None without the package or a program."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


@lru_cache
def check_judge(program: str, name: str) -> None:
    """Raises VqeError when the program's libvmaf does not have the model or feature."""
    judge = JUDGES[name]
    gray = ["-f", "lavfi", "-i", "color=gray:size=320x320:rate=1:duration=1,format=yuv420p10le"]
    said = _output(
        [program, "-v", "error", *gray, *gray, "-lavfi", f"libvmaf={judge.argument}", "-f", "null", "-"]
    )
    if said.strip():
        raise VqeError(
            f"{program} has no {judge.model}, which {name} needs: {said.strip().splitlines()[0]}.", HOW_TO_GET
        )


def _output(command: Sequence[str]) -> str:
    """What a program writes to stdout and stderr; its failure as text where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        return str(error)
    return done.stdout + done.stderr


class VmafMetric:
    """One of `JUDGES` over pairs in order; rate: frames per second. Raises VqeError where it cannot be had.

    The program reads both pictures stacked in one raw stream from a pipe: nothing is written to disk but its
    report.
    """

    def __init__(self, name: str, rate: float) -> None:
        self._program = find_ffmpeg()
        check_judge(self._program, name)
        self._name, self._judge = name, JUDGES[name]
        self._rate = rate
        self._pushed = 0
        self._version = ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def source(self) -> str:
        """The model and, once it has measured, the version of libvmaf."""
        return f"libvmaf {self._version}, {self._judge.model}" if self._version else self._judge.model

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames; nothing is done with pictures that are too small for libvmaf."""
        self._pushed += 1
        shorter, longer = sorted(pair.size)
        if shorter < self._judge.smallest[0] or longer < self._judge.smallest[1]:
            return
        gt, pred, sampling, depth = yuv_of(pair, self._judge.least_bits)
        if self._process is None:
            self._start(pair.size, sampling, depth)
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(stacked(gt, pred, sampling))
        except BrokenPipeError as error:
            raise self._failed() from error

    def close(self) -> list[float | None]:
        """One value for each pair pushed. Raises VqeError when the program fails or gives another count."""
        if self._process is None or self._folder is None:
            return [None] * self._pushed
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError as error:
            raise self._failed() from error
        report = Path(self._folder.name) / "vmaf.json"
        if self._process.wait() != 0 or not report.exists():
            raise self._failed()
        try:
            values, self._version = read_report(read_json(report, REPORT), self._judge.key)
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
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            assert self._process.stdin is not None
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                self._process.stdin = None
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self, size: tuple[int, int], sampling: tuple[int, int], depth: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vqe-vmaf-")
        folder = Path(self._folder.name)
        width, height = size
        rows = height + height % 2
        half = f"crop={width}:{height}:0:{{}}:exact=1"
        graph = (
            f"split[a][b];[a]{half.format(0)}[gt];[b]{half.format(rows)}[pred];[pred][gt]libvmaf="
            f"{self._judge.argument}:n_threads={usable_cores()}:log_fmt=json:log_path=vmaf.json"
        )
        pix_fmt = f"yuv{SUBSAMPLING_NAMES[sampling]}p" + ("" if depth == 8 else f"{depth}le")
        source = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            pix_fmt,
            "-s",
            f"{width}x{2 * rows}",
            "-r",
            f"{self._rate:.6f}",
        ]
        with (folder / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                [self._program, "-v", "error", *source, "-i", "-", "-lavfi", graph, "-f", "null", "-"],
                stdin=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
            )

    def _failed(self) -> VqeError:
        assert self._folder is not None and self._process is not None
        self._process.wait()
        lines = (Path(self._folder.name) / "stderr").read_text(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return VqeError(f"{self._program} failed while measuring {self._name}: {said.strip()}.", HOW_TO_GET)


# What libvmaf takes.
SAMPLINGS = ((2, 2), (2, 1), (1, 1))
DEPTHS = (8, 10, 12, 16)

Yuv = tuple[np.ndarray, ...]


def yuv_of(pair: PairView, least_bits: int) -> tuple[Yuv, Yuv, tuple[int, int], int]:
    """Y, U, V of both sides in one format: the planes (truth first), the subsampling, the bit depth.

    The codes as they are, with shallow ones shifted up, as FFmpeg does. RGB, gray, and pairs of different
    subsampling become 8-bit 4:4:4 by swscale first.
    """
    codes = [pair.codes(index) for index in range(3)]
    known = [each for each in codes if each is not None]
    sampling = pair.gt.colour.subsampling
    if len(known) == 3 and sampling in SAMPLINGS:
        gt, pred = tuple(each[0] for each in known), tuple(each[1] for each in known)
        depth = int(known[0][2] + 1).bit_length() - 1
    else:
        gt, pred, sampling, depth = _full_chroma(pair.gt), _full_chroma(pair.pred), (1, 1), 8
    wanted = min(bits for bits in DEPTHS if bits >= max(depth, least_bits))
    if wanted > depth:
        gt, pred = (
            tuple(np.left_shift(plane.astype(np.uint16), wanted - depth) for plane in planes)
            for planes in (gt, pred)
        )
    return gt, pred, sampling, wanted


def _full_chroma(view: View) -> Yuv:
    """A picture's 8-bit RGB as Y, U, V (h, w) of limited range."""
    matrix = SWSCALE_MATRICES.get(view.luma_colour.matrix, SWSCALE_MATRICES["bt601"])
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(view.rgb24), format="rgb24")
    return planes_of(picture.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range=1))


def stacked(gt: Yuv, pred: Yuv, sampling: tuple[int, int]) -> bytes:
    """A raw picture with the truth above and the judged one below, each on an even number of rows."""
    height, width = gt[0].shape
    parts = []
    for index in range(3):
        across, down = sampling if index else (1, 1)
        columns, rows = -(-width // across), -(-(height + height % 2) // down)
        for planes in (gt, pred):
            plane = planes[index][:rows, :columns]
            parts.append(np.pad(plane, ((0, rows - plane.shape[0]), (0, 0)), mode="edge").tobytes())
    return b"".join(parts)


def read_report(tree: Any, key: str) -> tuple[list[float | None], str]:
    """The value of each frame in libvmaf's report, and its version; DocumentError where it is none."""
    expect(tree, dict, "it")
    expect(tree.get("frames"), [dict], "frames")
    values: list[float | None] = []
    for frame in tree["frames"]:
        expect(frame.get("metrics"), dict, "metrics")
        expect(frame["metrics"].get(key), float, key)
        values.append(float(frame["metrics"][key]))
    return values, str(tree.get("version", "of unknown version"))
