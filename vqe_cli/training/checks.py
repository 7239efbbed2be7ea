"""What is wrong with a config that can be read: contradictions, missing files, unbuildable networks."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vqe_cli import networks
from vqe_cli.bitstream.peaks import MODES, RULES
from vqe_cli.errors import VqeError, shortened
from vqe_cli.training.checkpoint import exists
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.start import STAGE_ONE
from vqe_cli.weights.load import outline

STAGES = ("flow", "1", "2", "gate")
MOST_NUMBERS = 1 << 30  # of a network that is trained: 4 GiB, and three times as much beside them
# What no run is meant to exceed; beyond it memory, time or a number's range would give way.
MOST: dict[str, float] = {
    "seed": 10**12,
    "data.frames": 1000,
    "data.crop": 4096,
    "data.batch": 4096,
    "data.cache_gib": 1 << 20,
    "network.fit_clips": 1_000_000,
    "schedule.steps": 10**9,
    "schedule.restarts": 10_000,
    "schedule.rate": 100,
    "schedule.clip_norm": 10**9,
    "schedule.flow_rate": 1000,
    "flow.smoothness": 10**6,
    "validation.every_minutes": 10**6,
    "validation.frame_step": 10**6,
    "validation.clips": 10**6,
}
COUNTS = (
    *("data.frames", "data.crop", "data.batch", "schedule.steps", "schedule.restarts"),
    *("validation.frame_step", "validation.clips"),
)
SHARES = (
    *("data.unknown_qp", "data.recoloured", "schedule.warmup", "schedule.mse_share", "schedule.ema"),
    *("schedule.flow_frozen", "schedule.encoder_frozen", "schedule.intermediate_share"),
    "flow.synthetic_share",
)
ABOVE_ZERO = ("data.cache_gib", "schedule.rate", "schedule.clip_norm", "validation.every_minutes")
NOT_NEGATIVE = (
    *("seed", "schedule.flow_rate", "schedule.intermediate", "flow.smoothness", "network.fit_clips"),
    *("data.context", "schedule.steps"),
)
LONGEST_PATH = 200  # that a message shows whole
LONGEST_NAME = 100
MOST_MOTION_PX = 1000
MOST_FROZEN = 256
MOST_BATCH_NUMBERS = 1 << 33  # of a batch's compressed pictures


def contradictions(config: TrainConfig, stage: str | None = None) -> list[str]:
    """What is readable but cannot be meant; `stage` as in `load`."""
    return [
        *_unknown_choices(config),
        *_out_of_range(config),
        *_contradictory(config),
        *_network_problems(config),
        *_stage_problems(config, stage),
    ]


def _unknown_choices(config: TrainConfig) -> list[str]:
    """Settings that are none of the values that there are."""
    data, schedule = config.data, config.schedule
    return [
        f"{name} must be one of {', '.join(map(str, allowed))}, not {shortened(value)}"
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


def _out_of_range(config: TrainConfig) -> list[str]:
    """Numbers that are too small or too large by themselves."""

    def named(names: Sequence[str], fits: Callable[[float], bool], rule: str) -> list[str]:
        return [f"{name} {rule}" for name in names if not fits(_value(config, name))]

    counts = [name for name in COUNTS if name != "schedule.steps" or not config.network.fit_clips]
    return [
        *named(counts, lambda value: value >= 1, "must be at least 1"),
        *named(SHARES, lambda value: 0 <= value <= 1, "must lie between 0 and 1"),
        *named(ABOVE_ZERO, lambda value: value > 0, "must be above 0"),
        *(
            f"{name} must be at most {most:g}, not {_value(config, name):g}"
            for name, most in MOST.items()
            if _value(config, name) > most
        ),
        *named(NOT_NEGATIVE, lambda value: 0 <= value < math.inf, "must not be below 0"),
    ]


def _contradictory(config: TrainConfig) -> list[str]:
    """Settings that do not go together, or cannot be used."""
    data, schedule = config.data, config.schedule
    problems = []
    if 3 * data.batch * data.frames * data.crop**2 > MOST_BATCH_NUMBERS:
        problems.append(
            "data.batch clips of data.frames pictures of data.crop pixels are too much for any memory"
        )
    if len(config.network.frozen) > MOST_FROZEN:
        problems.append(f"network.frozen has more than {MOST_FROZEN} entries")
    if not 0 <= schedule.final_rate <= schedule.rate:
        problems.append("schedule.final_rate must lie between 0 and schedule.rate")
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
        if name in ("", ".", "..") or set("/\\\0") & set(name) or len(name) > LONGEST_NAME:
            problems.append(f"{key} must be fit for a file name, not {shortened(name)}")
    motion = config.flow.motion_px
    if len(motion) != 2 or not 0 < motion[0] <= motion[-1] <= MOST_MOTION_PX:
        problems.append(
            f"flow.motion_px must be two amplitudes above 0 and up to {MOST_MOTION_PX}, the smaller one first"
        )
    return problems


def _value(config: TrainConfig, name: str) -> float:
    """A value by its whole name, "section.key"."""
    value: Any = functools.reduce(getattr, name.split("."), config)
    return float(value)


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
        f"{key}: there is no file {_path(path)}"
        for key, path in named.items()
        if path and not _is_there(path)
    ]


def _is_there(path: str) -> bool:
    try:
        return exists(Path(path))
    except (OSError, ValueError):  # a name that no file can have
        return False


def _path(path: str) -> str:
    return path if len(path) <= LONGEST_PATH and path.isprintable() else shortened(path)


def _network_problems(config: TrainConfig) -> list[str]:
    """What is wrong with the network by itself and with the data it is fed."""
    network, data = config.network, config.data
    try:
        built = networks.outline(network.arch, network.config, networks.MOST_TENSORS, MOST_NUMBERS)
    except ValueError as error:
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
    if network.grow_from and not hasattr(built, "spatial"):
        problems.append(f"network.grow_from is set, but {network.arch} has no single-frame network inside")
    if network.fit_clips and not hasattr(built, "blend"):
        problems.append(f"network.fit_clips is set, but {network.arch} has no blend of neighbours")
    if (config.schedule.intermediate or config.schedule.encoder_frozen) and network.arch != "crds":
        problems.append(f"schedule.intermediate and encoder_frozen are for crds, not for {network.arch}")
    names = [name for name, _ in built.named_parameters()]
    if stage_one is not None:
        names += [STAGE_ONE + name for name, _ in stage_one.named_parameters()]
    problems += [
        f"network.frozen: no parameter of {network.arch} begins with {shortened(prefix)}"
        for prefix in network.frozen[:MOST_FROZEN]
        if readable and not any(name.startswith(prefix) for name in names)
    ]
    if network.init and network.grow_from:
        problems.append("network.init and network.grow_from contradict each other")
    second = _second_stage(config)
    if second and (built.is_video or network.arch in ("spynet", "gate")):
        problems.append(f"{second} is for stage II, {network.arch} is not a network of stage II")
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
    """The network of a file of weights, without its memory; None where that cannot be read, which is said
    when it is loaded."""
    try:
        return outline(Path(weights))
    except VqeError:
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
        return [f"there is no stage {shortened(stage)}, only {', '.join(STAGES)}"]
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
