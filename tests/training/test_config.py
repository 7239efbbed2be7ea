"""Configs: every shipped one can be built, and everything that is wrong with one is said at once."""

from pathlib import Path

import pytest
import torch
from conftest import ROOT

import models
from vqe_cli.errors import VqeError
from vqe_cli.training.config import load

SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_builds(path: Path) -> None:
    config = load(path, need_files=False)
    by_arch = {"spynet": "flow", "gate": "gate"}
    second = config.network.joint or config.data.inputs != "lq"
    stage = by_arch.get(config.network.arch, "2" if second else "1")
    legs = load(path, stage=stage, need_files=False).legs()
    for leg in legs:
        with torch.device("meta"):
            network = models.build(leg.network.arch, leg.network.config)
        assert network.scale == leg.data.scale
        assert leg.name == path.stem
    assert {path.stem for path in SHIPPED} >= {"fast", "flow", "tiny", "stage1_c128n25", "stage2_swinir"}


def test_the_papers_stage_one_has_the_papers_sizes() -> None:
    """SPEC section 4: 44,075,631 parameters with 5 blocks, 3,099,264 more for each group of ten."""
    legs = load(ROOT / "configs/paper/stage1_c128n25.yaml", stage="1").legs()
    counts = []
    for leg in legs:
        with torch.device("meta"):
            network = models.build(leg.network.arch, leg.network.config)
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
    grown = [44_075_631 + 3_099_264 * groups for groups in range(6)]
    assert counts == [*grown, grown[-1], grown[-1]]


def test_the_papers_stage_two_is_the_public_denoiser() -> None:
    [alone, _] = load(ROOT / "configs/paper/stage2_swinir.yaml", need_files=False).legs()
    with torch.device("meta"):
        network = models.build(alone.network.arch, alone.network.config)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_504_163


def problems_of(tmp_path: Path, text: str, *overrides: str, stage: str | None = None) -> str:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(VqeError) as raised:
        load(path, list(overrides), stage)
    return raised.value.message


def test_all_problems_at_once(tmp_path: Path) -> None:
    told = problems_of(
        tmp_path,
        "name: x\n"
        "network: {arch: qecnn, config: {chanels: 8}}\n"
        "data: {crop: 33, recipes: {qp37: -1}, scale: 2, freams: 3}\n"
        "schedule: {steps: 0, rate: fast, warmup: 2}\n"
        "precision: fp8\n",
        "seed",
        "schedule.restarts=0",
        stage="2",
    )
    for problem in (
        "--set seed has no '='",
        "unknown key data.freams (did you mean frames?)",
        "schedule.rate must be a number, not 'fast'",
        "schedule.steps must be at least 1",
        "schedule.restarts must be at least 1",
        "schedule.warmup must lie between 0 and 1",
        "precision must be one of auto, fp32, bf16, not 'fp8'",
        "data.crop must be even",
        "data.recipes must name at least one folder, each with a weight above 0",
        "qecnn has no setting 'chanels'; did you mean 'channels'?",
        "stage 2 needs data.inputs",
    ):
        assert problem in told, told


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("network: {arch: qecnn, config: {scale: 2}}", "the network enlarges by 2, data.scale is 1"),
        ("network: {arch: qecnn, flow: f.safetensors}", "qecnn has no flow network"),
        ("network: {grow_from: f.safetensors}", "qecnn is not in the layout that grows from one"),
        ("network: {joint: one.safetensors}", "network.joint: there is no file one.safetensors"),
        (
            "network: {joint: one.safetensors}\ndata: {inputs: stage1}",
            "network.joint computes stage I itself: data.inputs must be lq then",
        ),
        ("network: {arch: spynet}\ndata: {inputs: stage1, frames: 2}", "spynet is no network of stage II"),
        ("network: {frozen: [tial.]}", "no parameter of qecnn begins with 'tial.'"),
        ("network: {arch: spynet}\ndata: {frames: 1}", "real pairs need data.frames of at least 2"),
        ("network: {init: /no/such/file.pth}", "network.init: there is no file /no/such/file.pth"),
        ("network: {arch: swinnir}", "did you mean 'swinir'?"),
        ("data: {duplicates: maybe}", "data.duplicates must be one of remove, keep, not 'maybe'"),
        ("data: {frames: 4, context: 2}", "data.context must be less than half of data.frames"),
        ("data: {frames: 3, context: 1}", "data.context is for video networks"),
        ("network: {fit_clips: -1}", "network.fit_clips must not be below 0"),
        ("data: {recipes: {qp37: .nan}}", "each with a weight above 0"),
        ("validation: {recipes: []}", "validation.recipes must name at least one folder"),
        ("validation: {every_minutes: 0}", "validation.every_minutes must be above 0"),
        ("seed: -1", "seed must not be below 0"),
        ("schedule: {rate: .nan}", "schedule.rate must be above 0"),
        ("schedule: {flow_rate: -1}", "schedule.flow_rate must not be below 0"),
        ("phases: [{phase: a/b}]", "phase must be fit for a file name, not 'a/b'"),
        ("phases: [{phase: a}, {phase: a}]", "two phases are named 'a'"),
        ("phases: [{phase: a}, {phase: b, schedule: {steps: 0}}]", "phase b: schedule.steps must be"),
        ("network: []", "network must be a mapping"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problems_of(tmp_path, f"name: x\n{text}\n")


@pytest.mark.parametrize("text", ["[1, 2]", "name: [", "\x00", "", "schedule: {steps: 3}"])
def test_not_a_config(tmp_path: Path, text: str) -> None:
    assert "wrong.yaml" in problems_of(tmp_path, text)


def test_phases_inherit_and_overrides_win(tmp_path: Path) -> None:
    path = tmp_path / "phases.yaml"
    path.write_text(
        "name: x\n"
        "network: {arch: qecnn, config: {channels: 8, blocks: 1}}\n"
        "data: {recipes: {qp37: 1, qp42: 2}}\n"
        "schedule: {steps: 10, rate: 1e-3}\n"
        "phases:\n"
        "  - {phase: a}\n"
        "  - {phase: b, network: {config: {blocks: 2}}, data: {recipes: {qp37: 1}}, schedule: {rate: 1e-5}}\n"
        "  - {phase: c, network: {arch: spynet, config: {levels: 2}}, data: {frames: 2}}\n"
    )
    one, two, three = load(path, ["schedule.steps=7", "name=y"]).legs()
    assert two.network.config == {"channels": 8, "blocks": 2}
    assert two.data.recipes == {"qp37": 1.0}
    assert one.data.recipes == three.data.recipes == {"qp37": 1.0, "qp42": 2.0}
    assert (one.schedule.rate, two.schedule.rate) == (1e-3, 1e-5)
    assert three.network.config == {"levels": 2}
    assert {leg.schedule.steps for leg in (one, two, three)} == {7}
    assert {leg.name for leg in (one, two, three)} == {"y"}
