"""The benches of the restore room: their numbers hang together."""

from pathlib import Path

import pytest
from conftest import ROOT, shared_path
from tiny_weights import write_recurrent, write_tiny

from vqe_cli.bench.pipeline import bench_pipeline
from vqe_cli.bench.reach import bench_reach
from vqe_cli.bench.segments import bench_segments

CLIP = "hevc/streams/hm_ldp_cuts.bin"
CHOSEN = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_recurrent(tmp_path_factory.mktemp("weights") / "net.safetensors")


def test_shares_of_the_pipeline(weights) -> None:
    found = bench_pipeline(shared_path(CLIP), {**CHOSEN, "weights": (weights,), "frames": 6, "codec": "ffv1"})
    parts = {row["part"].strip(): row for row in found["parts"]}
    assert found["frames"] == 6 and found["fps"] == pytest.approx(6 / found["wall_s"], rel=0.01)
    assert 0 < parts["of which alignment"]["seconds"] < parts["stage I"]["seconds"]
    whole = sum(parts[name]["share_percent"] for name in ("decode", "stage I", "stage II", "encode"))
    assert whole == pytest.approx(100, abs=0.3)


def test_errors_fall_with_the_overlap(weights, monkeypatch) -> None:
    monkeypatch.setattr("vqe_cli.bench.reach.CHUNK_OVERLAPS", (1, 4))
    monkeypatch.setattr("vqe_cli.bench.reach.TILE_OVERLAPS", (4, 48))
    found = bench_reach(shared_path(CLIP), {**CHOSEN, "weights": (weights,)}, frames=17)
    near, far = (row["worst_frame_percent"] for row in found["chunks"])
    assert near > 2 * far
    near, far = (row["seam_percent"] for row in found["tiles"])
    assert near > 2 * far


def test_what_segments_cost(tmp_path) -> None:
    """A sample looped for five seconds; no workers, whose start would take longer than all else."""
    write_tiny(tmp_path / "tiny.safetensors")
    options = {**CHOSEN, "weights": (tmp_path / "tiny.safetensors",), "segment": 20, "chunk": 8}
    found = bench_segments(ROOT / "samples" / "lq" / "signing.mkv", options, 5.0, 0, lambda text: None)
    assert found["frames"] > 60
    # Each of the short segments begins with a picture of its own.
    assert found["whole_bytes"] < found["segments_bytes"] < 2 * found["whole_bytes"]
    assert found["time_percent"] == pytest.approx(100 * (found["segments_s"] / found["whole_s"] - 1))
    assert 0 < found["kept_frames"] < found["frames"]
    assert found["first_new_frame_s"] > 0 and 0 < found["first_frame_s"] < found["segments_s"]
