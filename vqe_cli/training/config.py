"""What a training run is told: one YAML file, read into frozen dataclasses, every problem reported together."""

import dataclasses
import difflib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from vqe_cli.errors import VqeError


@dataclass(frozen=True)
class NetworkConfig:
    """Which network is trained. arch and config go to `models.build`.

    init: a safetensors file to start from; where its names and shapes fit only partly, the rest is listed and starts
    fresh. grow_from: weights of a trained single-frame network that becomes the spatial path (stage I).
    flow: weights of a pre-trained flow network.
    """

    arch: str = "qecnn"
    config: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    grow_from: str | None = None
    flow: str | None = None


@dataclass(frozen=True)
class DataConfig:
    """What is fed. recipes: name of a folder below lq/ -> how often it is drawn (relative).

    frames: clip length; crop: side of the square crops, pixels of the compressed picture; batch: clips a step.
    unknown_qp: share of clips whose QPs are hidden, so that unknown is a trained case.
    scale: how much larger the truth is than the input. cache_gib: most memory that decoded clips may take.
    input_stage: weights of a trained stage I whose outputs are the input (stage II only).
    """

    recipes: dict[str, float] = field(default_factory=lambda: {"qp37": 1.0})
    frames: int = 1
    crop: int = 96
    batch: int = 16
    unknown_qp: float = 0.1
    scale: int = 1
    pqf_rule: str = "prominent"
    cache_gib: float = 8.0
    input_stage: str | None = None


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast. rate: peak learning rate; warmup: share of the run; mse_share: last share of the run
    whose loss is the mean squared error in place of Charbonnier; restarts: cosine periods; flow_rate: the flow
    network's rate relative to `rate`; flow_frozen: share of the run in which it does not move.
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
    """Training of the flow network alone. synthetic_share: first share of the run, on synthetic motions of single
    frames; the rest is on real pairs. motion_px: least and greatest amplitude of a synthetic motion, pixels of the
    quarter-size picture. smoothness: weight of the flow's gradient in the photometric loss."""

    synthetic_share: float = 0.5
    motion_px: tuple[float, ...] = (0.2, 5.0)
    smoothness: float = 0.02


@dataclass(frozen=True)
class ValidationConfig:
    """Measured while training. recipes: folders below lq/; every_minutes: between two measurements; frame_step: every
    n-th frame of a clip is measured (image networks) and clips: how many of the clips."""

    recipes: tuple[str, ...] = ("qp37",)
    every_minutes: float = 4.0
    frame_step: int = 8
    clips: int = 12


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. precision: "auto" (bf16 where the machine is faster with it), "fp32" or "bf16"."""

    name: str
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    flow: FlowConfig = FlowConfig()
    validation: ValidationConfig = ValidationConfig()
    seed: int = 0
    precision: str = "auto"
    footage: str = ""


def load(path: Path, overrides: list[str] = []) -> TrainConfig:  # noqa: B006 (never changed)
    """Read a YAML file and `section.key=value` overrides.

    Raises VqeError with every problem in one message: unreadable file, unknown keys, wrong types.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VqeError(f"cannot read the training config {path}: {error.strerror}.", "Name an existing file.") from error
    except yaml.YAMLError as error:
        raise VqeError(f"{path} is not YAML: {error}.", "Mend the file; configs/ has examples.") from error
    if not isinstance(tree, dict):
        raise VqeError(f"{path} holds no settings.", "configs/ has examples.")
    problems: list[str] = []
    for override in overrides:
        _apply_override(tree, override, problems)
    config = _parse(TrainConfig, tree, "", problems)
    if config is not None:
        problems += _contradictions(config)
    if problems:
        raise VqeError(f"{path}: " + "; ".join(problems) + ".", "Mend these and run again.")
    assert config is not None
    return config


def _apply_override(tree: dict[str, Any], override: str, problems: list[str]) -> None:
    key, sign, value = override.partition("=")
    if not sign:
        problems.append(f"--set {override} has no '='")
        return
    *sections, last = key.split(".")
    node = tree
    for section in sections:
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            problems.append(f"--set {override}: {section} is not a section")
            return
    node[last] = yaml.safe_load(value)


def _parse(cls: type, tree: Any, where: str, problems: list[str]) -> Any:
    """Build dataclass `cls` from a mapping; problems are appended and None stands for what could not be built."""
    if not isinstance(tree, dict):
        problems.append(f"{where or 'the file'} must be a mapping")
        return None
    hints = get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{where}{key}"
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            problems.append(f"unknown key {name}" + (f" (did you mean {near[0]}?)" if near else ""))
        elif dataclasses.is_dataclass(hints[key]):
            values[key] = _parse(hints[key], value, f"{name}.", problems)  # type: ignore[arg-type]
        else:
            values[key] = _convert(hints[key], value, name, problems)
    missing = [n for n, f in known.items() if n not in values and _required(f)]
    problems += [f"{where}{name} is missing" for name in missing]
    return None if missing or any(v is None and _required(known[k]) for k, v in values.items()) else cls(**values)


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, name: str, problems: list[str]) -> Any:
    """Value as the annotated type; YAML reads 1e-4 as text, which counts as a number here."""
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    origin = get_origin(kind) or kind
    try:
        if origin is tuple:
            return tuple(value) if isinstance(value, list | tuple) else (str(value),)
        if origin is dict and isinstance(value, dict):
            return value
        if origin is float and not isinstance(value, bool):
            return float(value)
        if origin is int and not isinstance(value, bool) and int(value) == float(value):
            return int(value)
        if origin is str and isinstance(value, str | int | float):
            return str(value)
    except (TypeError, ValueError):
        pass
    problems.append(f"{name} must be {getattr(origin, '__name__', origin)}, not {value!r}")
    return None


def _contradictions(config: TrainConfig) -> list[str]:
    """What is readable but cannot be meant."""
    problems = []
    if config.precision not in ("auto", "fp32", "bf16"):
        problems.append(f"precision must be auto, fp32 or bf16, not {config.precision!r}")
    if config.data.scale not in (1, 2, 4):
        problems.append(f"data.scale must be 1, 2 or 4, not {config.data.scale}")
    for name in ("frames", "crop", "batch"):
        if getattr(config.data, name) < 1:
            problems.append(f"data.{name} must be at least 1")
    if not config.data.recipes or any(float(w) <= 0 for w in config.data.recipes.values()):
        problems.append("data.recipes must name at least one folder, each with a weight above 0")
    if config.schedule.steps < 1:
        problems.append("schedule.steps must be at least 1")
    if not 0 <= config.schedule.mse_share <= 1:
        problems.append("schedule.mse_share must lie between 0 and 1")
    return problems
