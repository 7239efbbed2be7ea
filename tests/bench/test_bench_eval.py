"""The speed of measuring is compared with something that measures the same."""

from pathlib import Path

import pytest
from small_clips import clip, write

from vqe_cli.bench.eval import SAME_METRICS, bench_eval, by_filters
from vqe_cli.measure.compare import compare_pair


def test_the_reference_measures_the_same_values(tmp_path: Path) -> None:
    gt, pred = write(tmp_path / "gt.mkv", clip(6)), write(tmp_path / "pred.mkv", clip(6, noise=4))
    found = by_filters(gt, pred)
    ours = compare_pair(gt, pred, metrics=SAME_METRICS).output
    assert [psnr for psnr, _ in found] == pytest.approx(ours["psnr-yuv"].values, abs=1e-4)
    assert len(found) == 6
    # FFmpeg's average SSIM has chroma in it, which is equal on both sides here: 2/3 luma, 1/3 ones.
    assert [ssim for _, ssim in found] == pytest.approx(
        [(2 * value + 1) / 3 for value in ours["ssim-ffmpeg"].values], abs=1e-4
    )


def test_rows_name_what_they_are_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for folder, noise in (("gt", 0), ("pred", 3)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.mkv", clip(4, noise))
    found = bench_eval(tmp_path / "gt", tmp_path / "pred", repeats=1)
    assert "FFmpeg's psnr and ssim filters" in found["reference"]
    assert (found["videos"], found["frames"]) == (1, 4)
    assert found["rows"][0]["way"] == found["reference"]
    for row in found["rows"]:
        assert row["frames_per_s"] == pytest.approx(4 / row["seconds"])
        assert row["times_as_fast"] == pytest.approx(found["rows"][0]["seconds"] / row["seconds"])
