"""What `vqe bench train` measures of a small config."""

from pathlib import Path

import pytest
from training_clips import make_data

from vqe_cli.bench.train import bench_train
from vqe_cli.training.schema import DataConfig, NetworkConfig, TrainConfig, ValidationConfig


@pytest.mark.slow
def test_figures_fit_together(tmp_path: Path) -> None:
    config = TrainConfig(
        "small",
        NetworkConfig("qecnn", {"channels": 16, "blocks": 2, "qp_conditioning": False}),
        DataConfig({"qp37": 1.0}, crop=32, batch=4),
        validation=ValidationConfig(clips=1),
        precision="fp32",
    )
    data = make_data(tmp_path / "data", clips=1, frames=2)
    found = bench_train(config, data, seconds=0.5, device="cpu")
    assert found["clips_per_s"] == pytest.approx(4 * found["steps_per_s"])
    assert found["pixels_per_s"] == pytest.approx(found["clips_per_s"] * 32 * 32)
    parts = [found[f"{part}_percent"] for part in ("data", "forward", "backward", "optimizer")]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(100)
    assert 0 <= found["waiting_percent"] < 100
    assert found["reached_percent"] == pytest.approx(100 * found["reached_gflop_s"] / found["matrix_gflop_s"])
    # 3x3 convolutions at half size, four of 16 to 16 channels, 12 to 16 before and 16 to 12 behind: a product
    # and a sum for each weight and pixel; the backward pass twice that, but nothing for the input pictures.
    layers = [12 * 16, *4 * [16 * 16], 16 * 12]
    forward = 2 * 9 * 4 * 16 * 16 * sum(layers)
    first = 2 * 9 * 4 * 16 * 16 * layers[0]
    assert found["gflop_per_step"] * 1e9 == pytest.approx(3 * forward - first)
    assert found["reached_gflop_s"] == pytest.approx(found["gflop_per_step"] * found["steps_per_s"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
