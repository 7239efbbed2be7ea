"""The bench of motion: what moves evenly is found, by least squares better than by a network."""

from pathlib import Path

import pytest
from conftest import ROOT
from small_clips import clip, write

from vqe_cli.bench.motion import bench_motion
from vqe_cli.errors import VqeError

SHIPPED = ROOT / "models"


def test_refined_motion_is_the_best(tmp_path: Path) -> None:
    for folder in ("raw", "lq/same"):
        (tmp_path / folder).mkdir(parents=True)
        write(tmp_path / folder / "drift.mkv", clip(13, width=128, height=96))
    rows = bench_motion(tmp_path, ["same"], SHIPPED / "flow.safetensors")["recipes"]
    assert rows[0]["recipe"] == "same"
    assert rows[0]["least squares"] > rows[0]["network"] > rows[0]["none"]
    assert rows[0]["least squares"] > rows[0]["none"] + 6
    with pytest.raises(VqeError, match="holds no flow network"):
        bench_motion(tmp_path, ["same"], SHIPPED / "fast.safetensors")
