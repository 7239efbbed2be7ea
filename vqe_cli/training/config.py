"""What a training run is told: one YAML file as frozen dataclasses, every problem reported together."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml

import models
from vqe_cli.errors import VqeError
from vqe_cli.hevc.pqf import RULES
from vqe_cli.training.parsing import apply_overrides, merged, parse

STAGES = ("flow", "1", "2")


@dataclass(frozen=True)
class NetworkConfig:
    """Which network is trained. arch and config go to `models.build`.

    init: weights to start from (a file of ours or a public checkpoint); where names and shapes fit only
    partly, the rest is listed and starts fresh. grow_from: weights of a trained single-frame network that
    becomes the spatial path (stage I). flow: weights of a pre-trained flow network. frozen: beginnings of the
    names of parameters that stay as they are. joint: stage II trains together with the stage I of
    `data.input_stage`.
    """

    arch: str = "qecnn"
    config: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    grow_from: str | None = None
    flow: str | None = None
    frozen: tuple[str, ...] = ()
    joint: bool = False


@dataclass(frozen=True)
class DataConfig:
    """What is fed. recipes: name of a folder below lq/ -> how often it is drawn (relative).

    frames: clip length; crop: side of the square crops, pixels of the compressed picture; batch: clips a step
    and process. unknown_qp: share of clips whose QPs are hidden, so that unknown is a trained case. scale:
    how much larger the truth is than the input. duplicates: "remove" takes frames that equal their
    predecessor bit for bit out of the compressed clip and its truth (RMD), "keep" does not. cache_gib: most
    memory that decoded clips may take, in each process; cache: "ram", or "device" (on the GPU). input_stage:
    weights of a trained stage I whose outputs are the input (stage II only); every: of each clip's outputs
    every n-th frame is learned from (stage II).
    """

    recipes: dict[str, float] = field(default_factory=lambda: {"qp37": 1.0})
    frames: int = 1
    crop: int = 96
    batch: int = 16
    unknown_qp: float = 0.1
    scale: int = 1
    pqf_rule: str = "prominent"
    duplicates: str = "remove"
    cache_gib: float = 8.0
    cache: str = "ram"
    input_stage: str | None = None
    every: int = 1


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast. rate: peak learning rate; warmup: share of the run; mse_share: last share of the
    run whose loss is the mean squared error in place of Charbonnier; restarts: cosine periods; flow_rate: the
    flow network's rate relative to `rate`; flow_frozen: share of the run in which it does not move.
    """

    steps: int = 20_000
    rate: float = 5e-4
    final_rate: float = 1e-6
    warmup: float = 0.03
    restarts: int = 1
    mse_share: float = 0.25
    clip_norm: float = 1.0
    ema: float = 0.999
    flow_rate: float = 0.25
    flow_frozen: float = 0.1


@dataclass(frozen=True)
class FlowConfig:
    """Training of the flow network alone. synthetic_share: first share of the run, on synthetic motions of
    single frames; the rest is on real pairs. motion_px: least and greatest amplitude of a synthetic
    motion, pixels of the quarter-size picture. smoothness: weight of the flow's gradient in the
    photometric loss."""

    synthetic_share: float = 0.5
    motion_px: tuple[float, ...] = (0.2, 5.0)
    smoothness: float = 0.02


@dataclass(frozen=True)
class ValidationConfig:
    """Measured while training. recipes: folders below lq/; every_minutes: between two measurements;
    frame_step: every n-th frame of a clip is measured (image networks) and clips: how many of the clips."""

    recipes: tuple[str, ...] = ("qp37",)
    every_minutes: float = 4.0
    frame_step: int = 8
    clips: int = 12


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. precision: "auto" (bf16 where the machine is faster with it), "fp32" or "bf16". compile:
    whether torch.compile fuses the network (pays on a GPU). footage: a sentence on the material, for the
    card.

    phases: legs of a progressive run, each a whole config of its own that starts from the weights that the
    one before ended with; in the file a phase names only what it changes. phase: the name of such a leg.
    """

    name: str
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    flow: FlowConfig = FlowConfig()
    validation: ValidationConfig = ValidationConfig()
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    footage: str = ""
    phase: str = ""
    phases: tuple["TrainConfig", ...] = ()

    def legs(self) -> tuple["TrainConfig", ...]:
        """The phases in order; a run without phases is its only leg."""
        return self.phases or (self,)


def load(path: Path, overrides: list[str] = [], stage: str | None = None) -> TrainConfig:  # noqa: B006 (never changed)
    """Read a YAML file and `section.key=value` overrides, which hold for every phase.

    stage: "flow", "1" or "2", what the config must be made for (None: any).
    Raises VqeError with every problem in one message: unreadable file, unknown keys, wrong types, settings
    that contradict each other, networks that cannot be built.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VqeError(
            f"cannot read the training config {path}: {error.strerror}.", "Name an existing file."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise VqeError(f"{path} is not YAML: {error}.", "Mend the file; configs/ has examples.") from error
    if not isinstance(tree, dict):
        raise VqeError(f"{path} holds no settings.", "configs/ has examples.")
    config, problems = _with_phases(tree, overrides)
    found: dict[str, list[str]] = {}
    for leg in config.legs() if config else ():
        for problem in contradictions(leg, stage):
            found.setdefault(problem, []).append(leg.phase)
    for problem, phases in found.items():
        everywhere = config is not None and len(phases) == len(config.legs())
        problems.append(problem if everywhere else f"phase {', '.join(phases)}: {problem}")
    if problems or config is None:
        raise VqeError(f"{path}: " + "; ".join(dict.fromkeys(problems)) + ".", "Mend these and run again.")
    return config


def _with_phases(tree: dict[str, Any], overrides: list[str]) -> tuple[TrainConfig | None, list[str]]:
    """The config of a whole file and what is wrong with it.

    A phase is the file's other settings with its changes laid over, and the overrides over those.
    """
    problems: list[str] = []
    base = {key: value for key, value in tree.items() if key != "phases"}
    apply_overrides(base, overrides, problems)
    config = parse(TrainConfig, base, "", problems)
    changes = tree.get("phases") or []
    if not isinstance(changes, list) or not all(isinstance(change, dict) for change in changes):
        problems.append("phases must be a list of mappings")
        return None, problems
    phases = []
    for number, change in enumerate(changes, 1):
        leg = {**merged(base, change), "phase": str(change.get("phase", f"phase{number}"))}
        apply_overrides(leg, overrides, [])
        wrong: list[str] = []
        phases.append(parse(TrainConfig, leg, "", wrong))
        problems += [f"phase {leg['phase']}: {problem}" for problem in wrong if problem not in problems]
    names = [phase.phase for phase in phases if phase]
    problems += [f"two phases are named {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    return replace(config, phases=tuple(phase for phase in phases if phase)) if config else None, problems


def contradictions(config: TrainConfig, stage: str | None = None) -> list[str]:
    """What is readable but cannot be meant; `stage` as in `load`."""
    data, schedule = config.data, config.schedule
    problems = [
        f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}"
        for name, value, allowed in (
            ("precision", config.precision, ("auto", "fp32", "bf16")),
            ("data.scale", data.scale, (1, 2, 4)),
            ("data.pqf_rule", data.pqf_rule, RULES),
            ("data.duplicates", data.duplicates, ("remove", "keep")),
            ("data.cache", data.cache, ("ram", "device")),
        )
        if value not in allowed
    ]
    counts: list[tuple[Any, tuple[str, ...]]] = [
        (data, ("frames", "crop", "batch", "every")),
        (schedule, ("steps", "restarts")),
        (config.validation, ("frame_step", "clips")),
    ]
    for section, names in counts:
        problems += [f"{name} must be at least 1" for name in names if getattr(section, name) < 1]
    shares: list[tuple[Any, tuple[str, ...]]] = [
        (data, ("unknown_qp",)),
        (schedule, ("warmup", "mse_share", "ema", "flow_frozen")),
        (config.flow, ("synthetic_share",)),
    ]
    for section, names in shares:
        problems += [f"{n} must lie between 0 and 1" for n in names if not 0 <= getattr(section, n) <= 1]
    for name in ("rate", "clip_norm"):
        if not getattr(schedule, name) > 0:
            problems.append(f"schedule.{name} must be above 0")
    if not 0 <= schedule.final_rate <= schedule.rate:
        problems.append("schedule.final_rate must lie between 0 and schedule.rate")
    if data.crop % 2:
        problems.append("data.crop must be even, because chroma of 4:2:0 has half the size")
    if not data.recipes or any(weight <= 0 for weight in data.recipes.values()):
        problems.append("data.recipes must name at least one folder, each with a weight above 0")
    if len(config.flow.motion_px) != 2 or not 0 < config.flow.motion_px[0] <= config.flow.motion_px[-1]:
        problems.append("flow.motion_px must be two amplitudes above 0, the smaller one first")
    return problems + _network_problems(config) + _stage_problems(config, stage)


def _network_problems(config: TrainConfig) -> list[str]:
    """What is wrong with the network by itself and with the data it is fed."""
    network, data = config.network, config.data
    try:
        with torch.device("meta"):  # sizes without memory
            built = models.build(network.arch, network.config)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        return [f"network: {error}"]
    problems = []
    if built.scale != data.scale:
        problems.append(f"the network enlarges by {built.scale}, data.scale is {data.scale}")
    if network.flow and not hasattr(built, "spynet"):
        problems.append(f"network.flow is set, but {network.arch} has no flow network")
    if network.grow_from and not hasattr(built, "trunk"):
        problems.append(
            f"network.grow_from is set, but {network.arch} is not in the layout that grows from one"
        )
    problems += [
        f"network.frozen: no parameter of {network.arch} begins with {prefix!r}"
        for prefix in network.frozen
        if not any(name.startswith(prefix) for name, _ in built.named_parameters())
    ]
    if network.init and network.grow_from:
        problems.append("network.init and network.grow_from contradict each other")
    if network.joint and not data.input_stage:
        problems.append("network.joint needs data.input_stage, the stage I to train with")
    if data.input_stage and (built.is_video or network.arch == "spynet"):
        problems.append(f"data.input_stage is for stage II, {network.arch} is no network of stage II")
    if data.every > 1 and (not data.input_stage or network.joint):
        problems.append("data.every is for stage II by itself, with data.input_stage")
    if data.every > data.frames:
        problems.append("data.every must not exceed data.frames")
    if network.arch == "spynet" and data.frames < 2 and config.flow.synthetic_share < 1:
        problems.append("real pairs need data.frames of at least 2 (or flow.synthetic_share: 1)")
    return problems


def _stage_problems(config: TrainConfig, stage: str | None) -> list[str]:
    """Whether the config is one for the stage named on the command line."""
    flow, second = config.network.arch == "spynet", config.data.input_stage is not None
    if stage is None:
        return []
    if stage not in STAGES:
        return [f"there is no stage {stage!r}, only {', '.join(STAGES)}"]
    if stage == "flow" and not flow:
        return [f"stage flow trains spynet, the config has {config.network.arch}"]
    if stage != "flow" and flow:
        return [f"spynet is trained by stage flow, not {stage}"]
    if stage == "2" and not second:
        return ["stage 2 needs data.input_stage, the weights of stage I"]
    if stage == "1" and second:
        return ["data.input_stage is set, which is for stage 2"]
    return []
