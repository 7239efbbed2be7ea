"""Where the time of `enhance` goes: the shares hang together."""

from pathlib import Path

import pytest
from conftest import shared_path
from tiny_weights import write_aligned

from vqe_cli.bench.pipeline import bench_pipeline


def test_shares_of_the_pipeline(tmp_path: Path) -> None:
    weights = write_aligned(tmp_path / "net.safetensors")
    options = {"device": "cpu", "precision": "fp32", "weights": (weights,), "frames": 6, "codec": "ffv1"}
    found = bench_pipeline(shared_path("hevc/streams/hm_ldp_cuts.bin"), options)
    parts = {row["part"].strip(): row for row in found["parts"]}
    assert found["frames"] == 6 and found["fps"] == pytest.approx(6 / found["wall_s"], rel=0.01)
    assert 0 < parts["of which alignment"]["seconds"] < parts["stage I"]["seconds"]
    whole = sum(parts[name]["share_percent"] for name in ("decode", "stage I", "stage II", "encode"))
    assert whole == pytest.approx(100, abs=0.3)
