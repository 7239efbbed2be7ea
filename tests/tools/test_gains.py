"""What a pipeline gains on a validation folder, and which clips are taken from it."""

from pathlib import Path

import pytest
from conftest import DATA, ROOT
from gains import METRICS, RGB, clips_of, gains_of, measured_gains, row, truth_of

from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.training.compress import Source, compress
from vqe_cli.training.recipes import recipe_of


def test_records_of_vqe_compress_are_not_clips(tmp_path: Path) -> None:
    for name in ("lq/hm/a.mkv", "lq/hm/a.json", "lq/hm/a.log", "raw/a.json", "raw/a.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (clip,) = clips_of(tmp_path / "lq/hm")
    assert clip == tmp_path / "lq/hm/a.mkv"
    assert truth_of(tmp_path, clip) == tmp_path / "raw/a.mkv"
    with pytest.raises(VqeError, match=r"b\.mkv has no truth"):
        truth_of(tmp_path, clip.with_name("b.mkv"))
    with pytest.raises(VqeError, match="is not a folder"):
        clips_of(tmp_path / "lq/none")


def test_infinite_gains_are_left_out_of_means_and_are_the_worst() -> None:
    sides = [
        [DATA / "cases" / "gain" / side / f"{name}.mkv" for side in ("gt", "pred", "lq")] for name in "ab"
    ]
    results = [compare_pair(*paths, metrics=METRICS) for paths in sides]
    assert gains_of(results[0])[RGB] is None
    found = row("qp37", results, 1.0)
    assert found[RGB] == gains_of(results[1])[RGB] < -10
    assert (found["worst_clip"], found["worst_psnr"]) == ("a", None)
    assert found["ms-ssim"] is None  # too small for it


@pytest.mark.slow
def test_gains_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    truth = tmp_path / "raw/flower.mkv"
    truth.symlink_to(ROOT / "samples/truth/flower.mkv")
    compress(Source(truth), recipe_of("qp37"), tmp_path / "lq/qp37")
    found = measured_gains(tmp_path, ["qp37"], {"model": "fast", "frames": 2, "device": "cpu"})
    [qp37], [flower] = found["recipes"], found["clips"]
    assert 0.2 < qp37[RGB] == flower[RGB] == qp37["worst_psnr"] < 1.5
    assert (qp37["worst_clip"], flower["clip"]) == ("flower", "flower")
