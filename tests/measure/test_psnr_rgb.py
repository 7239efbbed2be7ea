"""RGB-PSNR as the challenge has it: PSNR of the PNGs that the ffmpeg program writes."""

import os
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import DATA
from small_clips import MATRIX_BT601, MATRIX_BT709, Planes, write

from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.vmaf import bundled_ffmpeg

# Colours of both files: pixel format, FFmpeg's number of the matrix (2: untagged), full range, size.
CASES = {
    "bt709": ("yuv420p", MATRIX_BT709, False, (96, 64)),
    "bt601": ("yuv420p", MATRIX_BT601, False, (96, 64)),
    "untagged": ("yuv420p", 2, False, (96, 64)),
    "full range": ("yuv420p", MATRIX_BT709, True, (96, 64)),
    "odd size": ("yuv420p", MATRIX_BT709, False, (95, 63)),
    "ten bits": ("yuv420p10le", MATRIX_BT709, False, (96, 64)),
}
# dB of the first three frames of clip.npz, by ffmpeg 5.1.9 and numpy (`by_the_program` below).
STORED = {
    "bt709": [29.3497, 28.3422, 28.1629],
    "bt601": [29.4676, 28.4534, 28.2790],
    "untagged": [29.4676, 28.4534, 28.2790],
    "full range": [30.5036, 29.5281, 29.3499],
    "odd size": [29.5341, 29.0080, 28.7560],
    "ten bits": [29.4079, 28.3956, 28.2053],
}
TOLERANCE_DB = 0.03


def sides(folder: Path, case: str) -> tuple[Path, Path]:
    """The truth and the x265 version of the stored clip, without loss, as the case wants them."""
    pix_fmt, matrix, full_range, (width, height) = CASES[case]
    stored = np.load(DATA / "metrics" / "clip.npz")
    options = {"color_range": "pc"} if full_range else {}
    paths = []
    for side in ("truth", "x265"):
        frames: list[Planes] = []
        for index in range(3):
            planes = [stored[f"{side}_{plane}"][index] for plane in "yuv"]
            planes[0] = planes[0][:height, :width]
            if pix_fmt.endswith("10le"):
                planes = [plane.astype(np.uint16) * 4 + 1 for plane in planes]
            frames.append(tuple(planes))
        paths.append(write(folder / f"{side}.mkv", frames, pix_fmt, matrix, options=options))
    return paths[0], paths[1]


def by_the_program(ffmpeg: str, gt: Path, pred: Path) -> list[float]:
    """PSNR of every frame (dB) of the PNGs that the program writes."""
    pictures = []
    for path in (gt, pred):
        folder = path.with_suffix(".png")
        folder.mkdir()
        subprocess.run(
            [ffmpeg, "-v", "error", "-i", path, "-pix_fmt", "rgb24", folder / "f%03d.png"], check=True
        )
        pictures.append([_pixels(name) for name in sorted(folder.iterdir())])
    errors = [np.square(one.astype(float) - other).mean() for one, other in zip(*pictures, strict=True)]
    return [float(10 * np.log10(255**2 / error)) for error in errors]


def _pixels(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def program() -> str:
    """An ffmpeg that is installed; skips the test where there is none, fails it under CI."""
    found = bundled_ffmpeg() or shutil.which("ffmpeg")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("there is no ffmpeg")
        pytest.skip("needs an ffmpeg")
    return found


@pytest.mark.parametrize("case", CASES)
def test_psnr_is_that_of_the_stored_pngs(tmp_path: Path, case: str) -> None:
    found = compare_pair(*sides(tmp_path, case), metrics=["psnr"]).output["psnr"].values
    assert found == pytest.approx(STORED[case], abs=TOLERANCE_DB)


@pytest.mark.parametrize("case", CASES)
def test_psnr_is_that_of_the_programs_pngs(tmp_path: Path, case: str) -> None:
    pair = sides(tmp_path, case)
    found = compare_pair(*pair, metrics=["psnr"]).output["psnr"].values
    assert found == pytest.approx(by_the_program(program(), *pair), abs=TOLERANCE_DB)


def test_smooth_chroma_reads_higher(tmp_path: Path) -> None:
    """Chroma enlarged in float is another measure, which is why it has another name."""
    found = compare_pair(*sides(tmp_path, "bt709"), metrics=["psnr", "psnr-rgb-float"]).output
    means = found["psnr"].mean, found["psnr-rgb-float"].mean
    assert None not in means
    assert means[1] - means[0] > TOLERANCE_DB
