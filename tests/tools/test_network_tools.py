"""What overlaps, segments and multiples of a change cost and gain: the numbers hang together."""

from pathlib import Path

import pytest
import torch
from conftest import ROOT, shared_path
from receptive_field import errors_by_overlap
from residual_scale import fitted, multiple, noise_ratio, row
from segment_cost import segment_cost
from tiny_weights import write_recurrent, write_tiny

from vqe_cli.ensemble.fitting import ClipErrors
from vqe_cli.training.compress import Source, compress
from vqe_cli.training.recipes import recipe_of

CLIP = "hevc/streams/hm_ldp_cuts.bin"
CHOSEN = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_recurrent(tmp_path_factory.mktemp("weights") / "net.safetensors")


@pytest.mark.slow
def test_errors_fall_with_the_overlap(weights, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("receptive_field.CHUNK_OVERLAPS", (1, 4))
    monkeypatch.setattr("receptive_field.TILE_OVERLAPS", (4, 48))
    clip = ROOT / "samples/lq/flower.mkv"  # moves, without a cut
    found = errors_by_overlap(clip, {**CHOSEN, "weights": (weights,)}, frames=17)
    near, far = (row["worst_frame_percent"] for row in found["chunks"])
    assert near > 2 * far
    # Of one block, which sees ten pixels: what MotionFusion finds of motion depends on the whole tile.
    write_tiny(tmp_path / "tiny.safetensors")
    found = errors_by_overlap(
        shared_path(CLIP), {**CHOSEN, "weights": (tmp_path / "tiny.safetensors",)}, frames=17
    )
    near, far = (row["seam_percent"] for row in found["tiles"])
    assert near > 2 * far


@pytest.mark.slow
def test_what_segments_cost(tmp_path) -> None:
    """A sample looped for five seconds; no workers, whose start would take longer than all else."""
    write_tiny(tmp_path / "tiny.safetensors")
    options = {**CHOSEN, "weights": (tmp_path / "tiny.safetensors",), "segment": 20, "chunk": 8}
    found = segment_cost(ROOT / "samples" / "lq" / "signing.mkv", options, 5.0, 0, lambda text: None)
    assert found["frames"] > 60
    # Each of the short segments begins with a picture of its own.
    assert found["whole_bytes"] < found["segments_bytes"] < 2 * found["whole_bytes"]
    assert found["time_percent"] == pytest.approx(100 * (found["segments_s"] / found["whole_s"] - 1))
    assert 0 < found["kept_frames"] < found["frames"]
    assert found["first_new_frame_s"] > 0 and 0 < found["first_frame_s"] < found["segments_s"]


def test_the_best_multiple_of_a_change() -> None:
    """Of answers that go four fifths of the way and err at random besides: 5/4, less what the noise takes; a
    clip with ten times the error counts no more than another."""
    torch.manual_seed(0)
    clips = []
    for size in (1.0, 10.0):
        lacking = size * torch.randn(3, 50_000, dtype=torch.float64)
        noise = 0.2 * size * torch.randn(3, 50_000, dtype=torch.float64)
        errors = torch.stack([0.2 * lacking + noise, lacking], dim=1)
        clips.append(ClipErrors("clip", errors @ errors.mT / 50_000, has_input=True))
    assert multiple(clips) == pytest.approx(0.8 / (0.8**2 + 0.2**2), rel=0.01)
    found = row("qp37", clips)
    assert found["gain_at_best"] > found["gain"] > 5
    assert noise_ratio((1 + 0.09) / (1 + 0.09 / 8), 8) == pytest.approx(0.09)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.slow
def test_residual_scale_of_a_network(scale: int, tmp_path) -> None:
    """On two clips of a folder; whatever the pipeline's own residual scale is, it is left out.
    At x2 the change is what differs from the input's enlargement."""
    (tmp_path / "raw").mkdir()
    for name in ("bunny", "flower"):
        truth = tmp_path / "raw" / f"{name}.mkv"
        truth.symlink_to(ROOT / "samples" / "truth" / f"{name}.mkv")
        compress(Source(truth, scale=scale), recipe_of("qp37"), tmp_path / "lq" / "qp37")
    found = fitted(tmp_path, ["qp37"], {"model": "fast", "scale": scale, "frames": 2, "device": "cpu"})
    [qp37] = found["recipes"]
    assert 0.7 < qp37["best"] < 1.4 and 0 < found["tta_noise_ratio"] < 0.3
    assert qp37["gain_at_best"] > 0.1 and abs(qp37["gain_at_best"] - qp37["gain"]) < 0.1
    assert qp37["worst"] < qp37["gain"] and qp37["worst_at_best"] < qp37["gain_at_best"]
