"""The mask network learns which of two pipelines is right, and where."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_weights import write_registry
from training_clips import make_data

from vqe_cli.errors import VqeError
from vqe_cli.training.config import load
from vqe_cli.training.data import Batch
from vqe_cli.training.loop import TrainOptions, train
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.tasks import FrozenPipeline, GateTask
from vqe_cli.weights.load import load_stages, read_header
from vqe_cli.weights.registry import Pipeline, find

CONFIG = """
name: gate
network: {arch: gate, config: {channels: 8, blocks: 1}}
data: {members: [tiny, pair], crop: 32, batch: 2}
schedule: {steps: 12, rate: 1e-2, mse_share: 0}
validation: {clips: 1}
precision: fp32
"""


def test_a_run_ends_with_a_mask_network_and_tells_its_gain_over_the_mean(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("VQE_WEIGHTS_TOML", str(write_registry(tmp_path)))
    (tmp_path / "gate.yaml").write_text(CONFIG)
    make_data(tmp_path / "data", clips=1, frames=2)
    told = load(tmp_path / "gate.yaml", stage="gate")
    path = train(told, tmp_path / "data", tmp_path / "run", TrainOptions(device=torch.device("cpu")))
    assert read_header(path).arch == "gate"
    assert load_file(path)["tail.weight"].any()
    last = json.loads((tmp_path / "run" / "curve.jsonl").read_text().splitlines()[-1])
    assert "gain_over_mean_db" in json.dumps(last) and "qp37" in json.dumps(last)


class Constant(torch.nn.Module):
    """A pipeline's stage that gives the truth on one half of the picture and noise on the other."""

    is_video = False
    scale = 1

    def __init__(self, left: bool) -> None:
        super().__init__()
        self.left = left

    def forward(self, x: torch.Tensor, qp: torch.Tensor) -> torch.Tensor:
        wrong = torch.zeros_like(x)
        half = x.shape[-1] // 2
        wrong[..., half:] = 0.1 if self.left else 0.0
        wrong[..., :half] = 0.0 if self.left else 0.1
        return x + wrong


class Sides(torch.nn.Module):
    """A mask that is `share` on the left and 1 - share on the right."""

    is_video = False

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        mask = torch.full_like(first[:, :1], 1 - self.share)
        mask[..., : mask.shape[-1] // 2] = self.share
        return mask


def test_the_loss_is_least_where_the_mask_takes_the_right_member() -> None:
    """M * A + (1 - M) * B: the first is right on the left."""
    members = [FrozenPipeline(Pipeline("p", 1, ()), [Constant(left)]) for left in (True, False)]
    task = GateTask(TrainConfig("gate"), torch.device("cpu"), members)
    lq = torch.rand(1, 2, 3, 8, 8)
    marks = torch.zeros(1, 2, dtype=torch.bool)
    batch = Batch(lq, lq.clone(), torch.full((1, 2), 37.0), marks, errors=torch.ones(1, 2))
    losses = [float(task.loss(Sides(share), batch, 0.0)) for share in (1.0, 0.5, 0.0)]
    assert losses == pytest.approx([0.0, 0.05, 0.1], abs=1e-4)


def test_members_keep_the_share_of_their_change_that_their_pipeline_keeps() -> None:
    pipeline = Pipeline("p", 1, (), residual_scale=((30.0, 0.5), (40.0, 1.0)))
    member = FrozenPipeline(pipeline, [Constant(left=False)])
    clip = torch.rand(3, 3, 6, 6)
    qp = torch.tensor([30.0, 40.0, float("nan")])
    change = (member.clip(clip, torch.zeros(3, dtype=torch.bool), qp) - clip)[..., 0].mean(dim=(1, 2))
    assert change.tolist() == pytest.approx([0.05, 0.1, 0.1], abs=1e-5)


def test_both_stages_of_a_member_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("VQE_WEIGHTS_TOML", str(write_registry(tmp_path)))
    pair = find("pair", 1)
    first, second = load_stages(pair)
    clip, qp = torch.rand(2, 3, 16, 16), torch.tensor([37.0, 30.0])
    marks = torch.zeros(2, dtype=torch.bool)
    truth = second(first(clip, qp), qp)
    found = FrozenPipeline(pair, [first, second])
    assert torch.allclose(found.clip(clip, marks, qp), truth, atol=1e-6)
    batch = Batch(clip[None], clip[None], qp[None], marks[None], errors=torch.ones(1, 2))
    assert torch.allclose(found.batch(batch), truth, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "stage", "said"),
    [
        ("data.members=[tiny]", "gate", "data.members are two pipelines"),
        ("data.members=[]", "gate", "data.members are two pipelines"),
        ("network.arch=qecnn", "gate", "the arch gate is for stage gate alone"),
        ("seed=1", "1", "the arch gate is for stage gate alone"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(tmp_path, change, stage, said) -> None:
    (tmp_path / "gate.yaml").write_text(CONFIG)
    with pytest.raises(VqeError, match=said):
        load(tmp_path / "gate.yaml", [change], stage)
