"""Progressive training: a phase starts with what the one before ended with, and growing changes nothing."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_clips import make_data

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.training import checkpoint, loop
from vqe_cli.training.checks import contradictions
from vqe_cli.training.distributed import World
from vqe_cli.training.export import TrainedPhase, card_of, write_weights
from vqe_cli.training.run import Place, Run, setup
from vqe_cli.training.schedule import group_rate, loss_at, rate_at
from vqe_cli.training.schema import (
    DataConfig,
    NetworkConfig,
    ScheduleConfig,
    TrainConfig,
    ValidationConfig,
)
from vqe_cli.training.start import build_network, continue_from
from vqe_cli.weights.load import load_network, read_header
from vqe_cli.weights.registry import StageSpec

SPATIAL = {"channels": 8, "blocks": 2, "unshuffle": 2}
FUSION: dict[str, Any] = {"spatial": SPATIAL, "blocks": 1, "channels": 8}
PUBLIC: dict[str, Any] = {"mid_channels": 8, "num_blocks": 1, "deform_groups": 2, "is_low_res_input": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), clips=1, frames=4)


def randomised(arch: str, config: dict[str, Any]) -> nn.Module:
    """A network without a zero in it, so that every part shows in the output."""
    torch.manual_seed(1)
    network = networks.build(arch, config)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    return network.eval()


def clip_of(size: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.rand(1, 3, 3, size, size), torch.tensor([[True, False, False]]), torch.full((1, 3), 37.0)


@torch.no_grad()
def test_fusion_is_added_without_changing_anything() -> None:
    spatial = randomised("qecnn", SPATIAL)
    grown = build_network(TrainConfig("x", NetworkConfig("motion_fusion", FUSION)), spatial.state_dict())
    clip, pqf, qp = clip_of()
    torch.testing.assert_close(grown(clip, pqf, qp)[0], spatial(clip[0], qp[0]), atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_block_is_added_without_changing_anything() -> None:
    before = randomised("motion_fusion", FUSION)
    deeper = networks.build("motion_fusion", {**FUSION, "spatial": {**SPATIAL, "blocks": 4}})
    continue_from(deeper, before.state_dict())
    clip, pqf, qp = clip_of()
    assert torch.equal(deeper(clip, pqf, qp), before(clip, pqf, qp))


@torch.no_grad()
def test_a_group_is_added_as_the_paper_does() -> None:
    """The weights before are taken; the new group, whose blocks rest, hands on all that is positive."""
    before = randomised("pqf_basicvsrpp", {**PUBLIC, "reconstruction_blocks": [1]})
    deeper = networks.build("pqf_basicvsrpp", {**PUBLIC, "reconstruction_blocks": [1, 2]})
    continue_from(deeper, before.state_dict())
    for key, value in before.state_dict().items():
        assert torch.equal(deeper.state_dict()[key], value)
    features = torch.rand(1, 8, 8, 8)
    torch.testing.assert_close(deeper.reconstruction[1](features), features)


def three_phases() -> TrainConfig:
    base = TrainConfig(
        "grown",
        NetworkConfig("qecnn", SPATIAL),
        DataConfig({"qp37": 1.0}, crop=32, batch=2),
        ScheduleConfig(steps=3, rate=1e-3, ema=0.5),
        validation=ValidationConfig(clips=1),
        precision="fp32",
        phase="spatial",
    )
    video = replace(base.data, frames=3)
    temporal = replace(base, phase="temporal", network=NetworkConfig("motion_fusion", FUSION), data=video)
    mse = replace(temporal, phase="mse", schedule=ScheduleConfig(steps=3, rate=1e-4, mse_share=1))
    return replace(base, phase="", phases=(base, temporal, mse))


def test_phases_are_one_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, dict[str, torch.Tensor], Any]] = []
    fit = loop.fit

    def noted(run: Run, *rest: Any, **more: Any) -> None:
        weights = {key: value.clone() for key, value in run.network.state_dict().items()}
        started.append((run.config.phase, weights, run.feed.library))
        if len(started) == 3:
            raise KeyboardInterrupt
        fit(run, *rest, **more)

    monkeypatch.setattr(loop, "fit", noted)
    config = three_phases()
    with pytest.raises(KeyboardInterrupt):
        loop.train(config, data, tmp_path)
    ema = [checkpoint.read_weights(tmp_path / folder / "last.pt") for folder in ("1-spatial", "2-temporal")]
    for key, value in ema[0].items():
        assert torch.equal(started[1][1][f"spatial.{key}"], value)
    for key, value in ema[1].items():
        assert torch.equal(started[2][1][key], value)
    # The clips of the second phase serve the third.
    assert started[1][2] is started[2][2]

    path = loop.train(config, data, tmp_path, loop.TrainOptions(resume=True))
    assert [phase for phase, _, _ in started] == ["spatial", "temporal", "mse", "mse"]
    for key, value in ema[1].items():
        assert torch.equal(started[3][1][key], value)
    assert path == tmp_path / "grown.safetensors"
    assert load_network(StageSpec(str(path))).is_video
    card = read_header(path).card
    assert (card["phase"], card["iterations"], card["schedule"]["mse_share"]) == ("mse", 3, 1)
    before = [
        (phase["phase"], phase["iterations"], phase["data"]["frames"]) for phase in card["phases_before"]
    ]
    assert before == [("spatial", 3, 1), ("temporal", 3, 3)]


def test_a_blend_is_solved_once(data: Path, tmp_path: Path) -> None:
    temporal = three_phases().phases[1]
    config = replace(temporal, network=replace(temporal.network, fit_clips=2))
    solved = alone(data, tmp_path, config).network.state_dict()
    assert solved["blend.weight"].any()
    later = replace(config, seed=1)
    run = alone(data, tmp_path / "b", later, solved)
    assert torch.equal(run.network.state_dict()["blend.weight"], solved["blend.weight"])


def test_a_blend_needs_no_steps(data: Path, tmp_path: Path) -> None:
    temporal = three_phases().phases[1]
    network = replace(temporal.network, config=FUSION | {"blocks": 0}, fit_clips=2)
    config = replace(temporal, phase="", network=network, schedule=ScheduleConfig(steps=0))
    solved = checkpoint.read_weights(loop.train(config, data, tmp_path))
    assert solved["blend.weight"].any()
    rest = alone(data, tmp_path / "b", config).network.get_parameter("spatial.head.weight")
    assert torch.equal(solved["spatial.head.weight"], rest.bfloat16().float())


def test_context_is_seen_but_not_learned_from(data: Path, tmp_path: Path) -> None:
    temporal = three_phases().phases[1]
    run = alone(data, tmp_path, replace(temporal, data=replace(temporal.data, frames=4, context=1)))
    nn.init.normal_(run.network.get_parameter("residual.last.weight"))
    batch = run.sampler.batch(0)
    loss = run.task.loss(run.network, batch, 0.0)
    outer, inner = batch.gt.clone(), batch.gt.clone()
    outer[:, [0, -1]] = 0
    inner[:, 1] = 0
    assert run.task.loss(run.network, replace(batch, gt=outer), 0.0) == loss
    assert run.task.loss(run.network, replace(batch, gt=inner), 0.0) != loss
    seen = batch.lq.clone()
    seen[:, 0] = 0
    assert run.task.loss(run.network, replace(batch, lq=seen), 0.0) != loss


def test_stage_two_alone_then_both_stages_jointly(data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(data / split / "lq", data / split / "stage1")
    first = TrainConfig("first", NetworkConfig("motion_fusion", FUSION))
    stage_one = randomised("motion_fusion", FUSION)
    weights = tmp_path / "first.safetensors"
    write_weights(weights, stage_one, first, card_of([TrainedPhase(first)], 0, {}))
    alone = TrainConfig(
        "second",
        NetworkConfig("qecnn", {"channels": 8, "blocks": 1}),
        DataConfig({"qp37": 1.0}, crop=32, batch=1, inputs="stage1"),
        ScheduleConfig(steps=2, rate=1e-3),
        validation=ValidationConfig(clips=1),
        precision="fp32",
        phase="alone",
    )
    joint = replace(
        alone,
        phase="joint",
        network=replace(alone.network, joint=str(weights)),
        data=replace(alone.data, frames=3, inputs="lq"),
        schedule=ScheduleConfig(steps=2, rate=1e-3, mse_share=1, flow_frozen=0),
    )
    path = loop.train(replace(alone, phase="", phases=(alone, joint)), data, tmp_path / "run")
    one = load_network(StageSpec(str(tmp_path / "run" / "second-stage1.safetensors")))
    two = load_network(StageSpec(str(path)))
    was_one = load_network(StageSpec(str(weights)))
    was_two = checkpoint.read_weights(tmp_path / "run/1-alone/last.pt")
    assert any(not torch.equal(p, q) for p, q in zip(one.parameters(), was_one.parameters(), strict=True))
    assert any(not torch.equal(value, was_two[key]) for key, value in two.state_dict().items())
    assert not (tmp_path / "run/1-alone/second-stage1.safetensors").exists()


def test_stage_two_behind_a_stage_one_that_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    first = TrainConfig("first", NetworkConfig("motion_fusion", FUSION))
    weights = tmp_path / "first.safetensors"
    write_weights(weights, randomised("motion_fusion", FUSION), first, card_of([TrainedPhase(first)], 0, {}))
    named = NetworkConfig(
        "qecnn", {"channels": 8, "blocks": 1}, joint=str(weights), frozen=("stage_one.", "body.")
    )
    feed = DataConfig({"qp37": 1.0}, frames=4, context=1, crop=32, batch=1)
    schedule = ScheduleConfig(steps=1, rate=1e-3)
    run = alone(data, tmp_path / "run", TrainConfig("second", named, feed, schedule, precision="fp32"))
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    loop.optimise(run, run.sampler.batch(0), share=0.5)
    moved = {key for key, value in run.network.state_dict().items() if not torch.equal(value, before[key])}
    assert "stage_two.tail.weight" in moved
    assert not any(key.startswith(("stage_one.", "stage_two.body.")) for key in moved)
    loop.export(run, tmp_path / "second.safetensors", {})
    assert not (tmp_path / "second-stage1.safetensors").exists()


def test_parts_of_stage_one_stay_as_they_are(data: Path, tmp_path: Path) -> None:
    first = TrainConfig("first", NetworkConfig("qecnn", {"channels": 8, "blocks": 2}))
    weights = tmp_path / "first.safetensors"
    write_weights(
        weights, randomised("qecnn", first.network.config), first, card_of([TrainedPhase(first)], 0, {})
    )
    named = NetworkConfig("qecnn", {"channels": 8}, joint=str(weights), frozen=("stage_one.body.0.", "head."))
    network = build_network(TrainConfig("second", named))
    rests = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    beginnings = ("stage_one.body.0.", "stage_two.head.")
    assert rests == {name for name, _ in network.named_parameters() if name.startswith(beginnings)}
    wrong = TrainConfig("second", replace(named, frozen=("stage_one.body.2.",)))
    assert contradictions(wrong) == ["network.frozen: no parameter of qecnn begins with 'stage_one.body.2.'"]


def alone(
    data: Path, folder: Path, config: TrainConfig, weights: dict[str, torch.Tensor] | None = None
) -> Run:
    place = Place(data, torch.device("cpu"), World(), lambda _: None)
    return setup(config, place, folder, resume=False, weights=weights)


def test_one_step_clips_averages_and_rests_what_is_frozen(data: Path, tmp_path: Path) -> None:
    temporal = three_phases().phases[1]
    network = NetworkConfig("pqf_basicvsrpp", PUBLIC, frozen=("feat_extract.0.",))
    schedule = replace(temporal.schedule, clip_norm=1e-4, flow_frozen=0.5, ema=0.0, warmup=0.0)
    run = alone(data, tmp_path, replace(temporal, network=network, schedule=schedule))
    before = {key: value.clone() for key, value in run.network.state_dict().items()}

    def moved(prefix: str) -> bool:
        own = run.network.state_dict()
        return any(not torch.equal(own[key], before[key]) for key in own if key.startswith(prefix))

    batch = run.sampler.batch(0)
    loop.optimise(run, batch, share=0.2)
    norms = [p.grad.norm() for p in run.network.parameters() if p.grad is not None]
    assert torch.stack(norms).norm() <= 1.001e-4
    assert moved("feat_extract.2.")
    assert moved("conv_last.")
    assert not moved("spynet.")
    assert not moved("feat_extract.0.")
    for averaged, trained in zip(run.ema.parameters(), run.network.parameters(), strict=True):
        assert torch.equal(averaged, trained)
    loop.optimise(run, batch, share=0.6)
    assert moved("spynet.")
    assert not moved("feat_extract.0.")


def test_rate() -> None:
    schedule = ScheduleConfig(
        rate=1.0, final_rate=0.1, warmup=0.1, restarts=2, flow_rate=0.25, flow_frozen=0.3
    )
    assert rate_at(0.05, schedule) == pytest.approx(0.51)
    assert rate_at(0.1, schedule) == pytest.approx(1.0)
    assert rate_at(0.325, schedule) == pytest.approx(0.55)  # half way down the first period
    assert rate_at(0.5499, schedule) == pytest.approx(0.1, abs=1e-4)
    assert rate_at(0.55, schedule) == pytest.approx(1.0)  # restarted
    assert rate_at(1.0, schedule) == pytest.approx(0.1)
    assert group_rate(0.29, schedule, part="flow") == 0
    assert group_rate(0.325, schedule, part="flow") == pytest.approx(0.25 * 0.55)


def test_loss_turns_to_squared_error() -> None:
    one, other = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1)
    schedule, errors = ScheduleConfig(mse_share=0.25), torch.ones(1)
    assert float(loss_at(0.74, one, other, errors, schedule)) == pytest.approx(0.1)
    assert float(loss_at(0.76, one, other, errors, schedule)) == pytest.approx(20 * 0.01)


def test_crops_are_learned_from_as_whole_pictures_are_measured() -> None:
    """The slope of the "psnr" loss over all crops of two pictures, one flat and textured, one bad all over,
    is that of these pictures' PSNR."""
    torch.manual_seed(0)
    schedule = ScheduleConfig(loss="psnr", mse_share=0)
    errors = 0.3 * torch.randn(2, 3, 8, 16) * torch.tensor([0.2, 1.0]).repeat_interleave(8)
    errors[1] *= 3
    pictures = torch.zeros(2, 3, 8, 16, requires_grad=True)
    psnr = -10 * torch.log10((pictures - errors).square().mean(dim=(1, 2, 3))).mean()
    [wanted] = torch.autograd.grad(psnr, pictures)
    crops = [x.unfold(3, 8, 8).permute(0, 3, 1, 2, 4).flatten(0, 1) for x in (pictures, errors)]
    sizes = errors.square().mean(dim=(1, 2, 3)).repeat_interleave(2)
    [slope] = torch.autograd.grad(loss_at(0.0, *crops, sizes, schedule), pictures)
    slope, wanted = slope / slope.norm(), wanted / wanted.norm()
    assert torch.allclose(slope, -wanted, atol=0.01 * float(wanted.abs().max()))


def test_growing_from_the_wrong_network_is_told() -> None:
    wide = networks.build("qecnn", {**SPATIAL, "channels": 12})
    with pytest.raises(VqeError, match="the phase before is not the single-frame network"):
        build_network(TrainConfig("x", NetworkConfig("motion_fusion", FUSION)), wide.state_dict())
