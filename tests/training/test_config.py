"""Configs: every shipped one can be built, and everything that is wrong with one is said at once."""

import copy
import dataclasses
import random
import time
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
import yaml
from conftest import ROOT

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.training.config import load
from vqe_cli.training.schema import TrainConfig

SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_builds(path: Path) -> None:
    config = load(path, need_files=False)
    by_arch = {"spynet": "flow", "gate": "gate"}
    second = config.network.joint or config.data.inputs != "lq"
    stage = by_arch.get(config.network.arch, "2" if second else "1")
    phases = load(path, stage=stage, need_files=False).all_phases()
    for phase in phases:
        with torch.device("meta"):
            network = networks.build(phase.network.arch, phase.network.config)
        assert network.scale == phase.data.scale
        assert phase.name == path.stem
    assert {path.stem for path in SHIPPED} >= {"fast", "flow", "tiny", "stage1_c128n25", "stage2_swinir"}


def test_the_papers_stage_one_has_the_papers_sizes() -> None:
    """SPEC section 4: 44,075,631 parameters with 5 blocks, 3,099,264 more for each group of ten."""
    phases = load(ROOT / "configs/paper/stage1_c128n25.yaml", stage="1").all_phases()
    counts = []
    for phase in phases:
        with torch.device("meta"):
            network = networks.build(phase.network.arch, phase.network.config)
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
    grown = [44_075_631 + 3_099_264 * groups for groups in range(6)]
    assert counts == [*grown, grown[-1], grown[-1]]


def test_the_papers_stage_two_is_the_public_denoiser() -> None:
    [alone, _] = load(ROOT / "configs/paper/stage2_swinir.yaml", need_files=False).all_phases()
    with torch.device("meta"):
        network = networks.build(alone.network.arch, alone.network.config)
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
        ("network: {grow_from: f.safetensors}", "qecnn has no single-frame network inside"),
        ("network: {joint: one.safetensors}", "network.joint: there is no file one.safetensors"),
        (
            "network: {joint: one.safetensors}\ndata: {inputs: stage1}",
            "network.joint computes stage I itself: data.inputs must be lq then",
        ),
        ("network: {arch: spynet}\ndata: {inputs: stage1, frames: 2}", "spynet is not a network of stage II"),
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
    one, two, three = load(path, ["schedule.steps=7", "name=y"]).all_phases()
    assert two.network.config == {"channels": 8, "blocks": 2}
    assert two.data.recipes == {"qp37": 1.0}
    assert one.data.recipes == three.data.recipes == {"qp37": 1.0, "qp42": 2.0}
    assert (one.schedule.rate, two.schedule.rate) == (1e-3, 1e-5)
    assert three.network.config == {"levels": 2}
    assert {phase.schedule.steps for phase in (one, two, three)} == {7}
    assert {phase.name for phase in (one, two, three)} == {"y"}


ABSURD = [
    "network: {arch: qecnn, config: {blocks: 1000000000}}",
    "network: {arch: qecnn, config: {channels: 1000000000}}",
    "network: {arch: qecnn, config: {unshuffle: 0}}",
    "network: {arch: qecnn, config: {blocks: -1}}",
    "network: {arch: qecnn, config: {blocks: [1]}}",
    "network: {arch: spynet, config: {levels: 1000000000}}\ndata: {frames: 2}",
    "network: {arch: swinir, config: {depths: [64, 64, 64, 64], num_heads: [6, 6, 6, 6], embed_dim: 4092}}",
    "network: {arch: swinir, config: {window_size: 100000}}",
    "network: {arch: swinir, config: {in_chans: 1000000000}}",
    "network: {arch: [qecnn]}",
    "data: {crop: 1000000000}",
    "data: {batch: 1000000000}",
    "data: {frames: 1000000000}",
    "data: {batch: 4096, frames: 1000, crop: 4096}",
    "data: {cache_gib: .inf}",
    "data: {cache_gib: 1e300}",
    "data: {recipes: {qp37: .inf}}",
    "schedule: {steps: 1000000000000}",
    "schedule: {steps: .inf}",
    "schedule: {restarts: 1000000000}",
    "schedule: {clip_norm: .inf}",
    "schedule: {rate: .inf}",
    "validation: {every_minutes: .inf}",
    "validation: {clips: 1000000000000}",
    "flow: {motion_px: [0.1, .inf]}",
    "flow: {motion_px: [0.1, .nan]}",
    "seed: 9223372036854775807",
    "seed: " + "9" * 5000,
    "seed: '" + "9" * 5000 + "'",
    "seed: [" + "x" * 10_000 + "]",
    "network: {frozen: [" + "x, " * 5000 + "]}",
    "network: {init: " + "x" * 50_000 + "}",
    'network: {init: "a\\0b"}',
    "x" * 50_000 + ": 1",
    "phases: [" + "{phase: a}, " * 2000 + "]",
    "phases: [{phase: [1, 2]}]",
    "phases: [{phase: " + "x" * 50_000 + "}]",
    "data: " + "[" * 3000 + "]" * 3000,
    "\n".join(f"k{n}: 1" for n in range(3000)),
    "a: &a {x: 1}\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n"
    "d: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e]",
]


@pytest.mark.parametrize("number", range(len(ABSURD)))
def test_absurd_settings_get_one_bearable_message(tmp_path: Path, number: int) -> None:
    began = time.monotonic()
    told = problems_of(tmp_path, f"name: x\n{ABSURD[number]}\n")
    assert time.monotonic() - began < 4
    assert len(told) < 5000


@pytest.mark.parametrize(
    "override",
    [
        "seed=" + "9" * 5000,
        "seed=[" * 2000,
        "x" * 10_000,
        "data.crop=*a",
        "a" + ".a" * 5000 + "=1",
        "seed=!!int ''",
    ],
    ids=lambda text: text[:20],
)
def test_absurd_overrides_get_one_bearable_message(tmp_path: Path, override: str) -> None:
    assert len(problems_of(tmp_path, "name: x\n", override)) < 1000


def test_mutated_configs_are_taken_or_refused(tmp_path: Path) -> None:
    """Every key with values of every kind: nothing but VqeError comes out."""
    values = [
        0,
        -1,
        1.5,
        "a",
        [],
        ["a", 1],
        {},
        {"a": 1},
        True,
        None,
        float("nan"),
        10**12,
        "",
        [[1]],
        "1e400",
    ]
    values += [float("inf"), "a/b", "\0", "x" * 1000]
    base = yaml.safe_load((ROOT / "configs/tiny.yaml").read_text(encoding="utf-8"))
    base.pop("phases", None)
    path = tmp_path / "c.yaml"
    chance = random.Random(24)
    known = get_type_hints(TrainConfig)
    for section, kind in known.items():
        inside = get_type_hints(kind) if dataclasses.is_dataclass(kind) else {"": None}
        for key in inside:
            for value in chance.sample(values, 6):
                tree = copy.deepcopy(base)
                if key:
                    tree.setdefault(section, {})[key] = value
                else:
                    tree[section] = value
                path.write_text(yaml.safe_dump(tree), encoding="utf-8")
                try:
                    load(path, need_files=False)
                except VqeError as error:
                    assert len(str(error)) < 5000
