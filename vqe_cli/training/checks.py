"""What is wrong with a config that can be read: contradictions, missing files, unbuildable networks."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

import models
from vqe_cli.errors import VqeError
from vqe_cli.hevc.pqf import MODES, RULES
from vqe_cli.training.joint import STAGE_ONE
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.shards import exists
from vqe_cli.weights.load import read_header

STAGES = ("flow", "1", "2", "gate")


def contradictions(config: TrainConfig, stage: str | None = None) -> list[str]:
    """What is readable but cannot be meant; `stage` as in `load`."""
    data, schedule = config.data, config.schedule
    problems = [
        f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}"
        for name, value, allowed in (
            ("precision", config.precision, ("auto", "fp32", "bf16")),
            ("data.scale", data.scale, (1, 2, 4)),
            ("schedule.loss", schedule.loss, ("charbonnier", "psnr")),
            ("data.pqf", data.pqf, tuple(mode for mode in MODES if mode != "hm-log")),
            ("data.pqf_rule", data.pqf_rule, RULES),
            ("data.duplicates", data.duplicates, ("remove", "keep")),
            ("data.cache", data.cache, ("ram", "device")),
            ("schedule.optimizer", schedule.optimizer, ("adamw", "muon")),
        )
        if value not in allowed
    ]
    counts: list[tuple[Any, tuple[str, ...]]] = [
        (data, ("data.frames", "data.crop", "data.batch")),
        (
            schedule,
            ("schedule.restarts",) if config.network.fit_clips else ("schedule.steps", "schedule.restarts"),
        ),
        (config.validation, ("validation.frame_step", "validation.clips")),
    ]
    for section, names in counts:
        problems += [f"{name} must be at least 1" for name in names if _value(section, name) < 1]
    shares: list[tuple[Any, tuple[str, ...]]] = [
        (data, ("data.unknown_qp", "data.lifted_peaks", "data.recoloured")),
        (
            schedule,
            (
                "schedule.warmup",
                "schedule.mse_share",
                "schedule.ema",
                "schedule.flow_frozen",
                "schedule.encoder_frozen",
                "schedule.intermediate_share",
            ),
        ),
        (config.flow, ("flow.synthetic_share",)),
    ]
    for section, names in shares:
        problems += [f"{n} must lie between 0 and 1" for n in names if not 0 <= _value(section, n) <= 1]
    above: list[tuple[Any, tuple[str, ...]]] = [
        (data, ("data.cache_gib",)),
        (schedule, ("schedule.rate", "schedule.clip_norm")),
        (config.validation, ("validation.every_minutes",)),
    ]
    for section, names in above:
        problems += [f"{name} must be above 0" for name in names if not _value(section, name) > 0]
    for name, value in (
        ("seed", config.seed),
        ("schedule.flow_rate", schedule.flow_rate),
        ("schedule.intermediate", schedule.intermediate),
        ("flow.smoothness", config.flow.smoothness),
        ("network.fit_clips", config.network.fit_clips),
        ("data.context", data.context),
        ("schedule.steps", schedule.steps),
    ):
        if not 0 <= value < math.inf:
            problems.append(f"{name} must not be below 0")
    if not 0 <= schedule.final_rate <= schedule.rate:
        problems.append("schedule.final_rate must lie between 0 and schedule.rate")
    if data.lifted_peaks and data.scale > 1:
        problems.append("data.lifted_peaks needs data.scale 1, because it mixes the input with the truth")
    if not schedule.steps and not config.network.fit_clips:
        problems.append("schedule.steps must be at least 1 without network.fit_clips")
    if 2 * data.context >= data.frames:
        problems.append("data.context must be less than half of data.frames")
    if data.crop % 2:
        problems.append("data.crop must be even, because chroma of 4:2:0 has half the size")
    if not data.recipes or not all(0 < weight < math.inf for weight in data.recipes.values()):
        problems.append("data.recipes must name at least one folder, each with a weight above 0")
    if not config.validation.recipes:
        problems.append("validation.recipes must name at least one folder")
    # Files and folders of the run are called so.
    for key, name in (("name", config.name), ("phase", config.phase or "one")):
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            problems.append(f"{key} must be fit for a file name, not {name!r}")
    if len(config.flow.motion_px) != 2 or not 0 < config.flow.motion_px[0] <= config.flow.motion_px[-1]:
        problems.append("flow.motion_px must be two amplitudes above 0, the smaller one first")
    return problems + _network_problems(config) + _stage_problems(config, stage)


def _value(section: Any, name: str) -> float:
    """A value by its whole name, "section.key"."""
    return float(getattr(section, name.partition(".")[2]))


def missing_files(config: TrainConfig) -> list[str]:
    """Weights that the config names and that are not there."""
    network = config.network
    named = {
        "network.init": network.init,
        "network.grow_from": network.grow_from,
        "network.flow": network.flow,
        "network.joint": network.joint,
    }
    return [
        f"{key}: there is no file {path}" for key, path in named.items() if path and not exists(Path(path))
    ]


def _network_problems(config: TrainConfig) -> list[str]:
    """What is wrong with the network by itself and with the data it is fed."""
    network, data = config.network, config.data
    try:
        with torch.device("meta"):  # sizes without memory
            built = models.build(network.arch, network.config)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        return [f"network: {error}"]
    problems = []
    stage_one = _stage_one(network.joint) if network.joint else None
    before = 1 if stage_one is None else int(stage_one.scale)  # type: ignore[arg-type]
    own = int(built.scale)  # type: ignore[arg-type]
    readable = stage_one is not None or not network.joint
    if readable and own * before != data.scale:
        whole = f"{own}, stage I by {before}" if before > 1 else str(own)
        problems.append(f"the network enlarges by {whole}, data.scale is {data.scale}")
    if network.flow and not hasattr(built, "spynet"):
        problems.append(f"network.flow is set, but {network.arch} has no flow network")
    if network.grow_from and not hasattr(built, "trunk"):
        problems.append(
            f"network.grow_from is set, but {network.arch} is not in the layout that grows from one"
        )
    if network.fit_clips and not hasattr(built, "blend"):
        problems.append(f"network.fit_clips is set, but {network.arch} has no blend of neighbours")
    if (config.schedule.intermediate or config.schedule.encoder_frozen) and network.arch != "crds":
        problems.append(f"schedule.intermediate and encoder_frozen are for crds, not for {network.arch}")
    names = [name for name, _ in built.named_parameters()]
    if stage_one is not None:
        names += [STAGE_ONE + name for name, _ in stage_one.named_parameters()]
    problems += [
        f"network.frozen: no parameter of {network.arch} begins with {prefix!r}"
        for prefix in network.frozen
        if readable and not any(name.startswith(prefix) for name in names)
    ]
    if network.init and network.grow_from:
        problems.append("network.init and network.grow_from contradict each other")
    second = _second_stage(config)
    if second and (built.is_video or network.arch in ("spynet", "gate")):
        problems.append(f"{second} is for stage II, {network.arch} is no network of stage II")
    if network.joint and data.inputs != "lq":
        problems.append("network.joint computes stage I itself: data.inputs must be lq then")
    if data.context and not (built.is_video or network.joint):
        problems.append(f"data.context is for video networks, and {network.arch} is none")
    if (len(data.members) == 2) != (network.arch == "gate") or len(data.members) not in (0, 2):
        problems.append("data.members are two pipelines, for the arch gate, which needs them")
    if network.arch == "spynet" and data.frames < 2 and config.flow.synthetic_share < 1:
        problems.append("real pairs need data.frames of at least 2 (or flow.synthetic_share: 1)")
    return problems


def _stage_one(weights: str) -> nn.Module | None:
    """The network of a file of weights, without its memory; None where that cannot be read, which is told
    when it is loaded."""
    try:
        header = read_header(Path(weights))
        with torch.device("meta"):
            return models.build(header.arch, header.config)
    except (VqeError, ValueError, TypeError, KeyError, RuntimeError):
        return None


def _second_stage(config: TrainConfig) -> str | None:
    """The key that makes a config one for stage II; None for all others."""
    if config.network.joint:
        return "network.joint"
    return "data.inputs" if config.data.inputs != "lq" else None


def _stage_problems(config: TrainConfig, stage: str | None) -> list[str]:
    """Whether the config is one for the stage named on the command line."""
    flow = config.network.arch == "spynet"
    second = _second_stage(config) is not None
    if stage is None:
        return []
    if stage not in STAGES:
        return [f"there is no stage {stage!r}, only {', '.join(STAGES)}"]
    if (stage == "gate") != (config.network.arch == "gate"):
        return [f"the arch gate is for stage gate alone, this is stage {stage} with {config.network.arch}"]
    if stage == "gate":
        return []
    if stage == "flow" and not flow:
        return [f"stage flow trains spynet, the config has {config.network.arch}"]
    if stage != "flow" and flow:
        return [f"spynet is trained by stage flow, not {stage}"]
    if stage == "2" and not second:
        return ["stage 2 needs data.inputs, the folder with what stage I made (or network.joint)"]
    if stage == "1" and second:
        return ["data.inputs or network.joint is set, which is for stage 2"]
    return []
