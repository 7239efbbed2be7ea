"""Upscaling of compressed video: stage I learns x2 from versions scaled down, stage II works behind it."""

from dataclasses import replace
from pathlib import Path

import av
import pytest
from configurations import shared_work
from training_clips import make_data

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.training import loop
from vqe_cli.training.checks import contradictions
from vqe_cli.training.compress import Source, compress
from vqe_cli.training.export import TrainedPhase, card_of, write_weights
from vqe_cli.training.recipes import recipe_of
from vqe_cli.training.schema import NetworkConfig, TrainConfig

TWICE = NetworkConfig("qecnn", {"channels": 8, "blocks": 1, "scale": 2})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_data(tmp_path_factory.mktemp("data"), recipes=(), clips=1, frames=2)
    for split in ("train", "val"):
        for clip in (root / split / "raw").iterdir():
            compress(Source(clip, scale=2), recipe_of("qp37"), root / split / "lq/qp37")
    return root


def at_scale_2(network: NetworkConfig) -> TrainConfig:
    base = shared_work("image", batch=2)
    return replace(base, network=network, data=replace(base.data, scale=2, crop=16))


def test_stage_one_learns_to_enlarge(data: Path, tmp_path: Path) -> None:
    loop.train(at_scale_2(TWICE), data, tmp_path)
    with av.open(str(tmp_path / "worst.png")) as picture:
        [frame] = picture.decode(video=0)
    assert (frame.width, frame.height) == (3 * 3 * 64, 3 * 64)  # of the truth's size


def test_both_stages_jointly_behind_a_stage_one_that_enlarges(data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.safetensors"
    config = at_scale_2(TWICE)
    write_weights(
        first, networks.build(TWICE.arch, TWICE.config), config, card_of([TrainedPhase(config)], 0, {})
    )
    second = at_scale_2(NetworkConfig("qecnn", {"channels": 8, "blocks": 1}, joint=str(first)))
    assert not contradictions(second, "2")
    assert loop.train(second, data, tmp_path / "run").is_file()
    wrong = replace(second, data=replace(second.data, scale=1))
    assert "the network enlarges by 1, stage I by 2, data.scale is 1" in contradictions(wrong)
    with pytest.raises(VqeError, match=r"is 32x32, its truth 64x64 \(data.scale is 1\)"):
        loop.train(wrong, data, tmp_path / "run")
