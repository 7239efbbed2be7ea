"""The training of stage I and stage II, read from top to bottom: setup, fit, validate, export."""

import json
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import models
from vqe_cli.errors import VqeError
from vqe_cli.training import checkpoint
from vqe_cli.training.config import TrainConfig
from vqe_cli.training.data import Batch, Pair, Sampler, load_pairs
from vqe_cli.training.flow import FlowTask, motion_filters
from vqe_cli.training.schedule import rate_at
from vqe_cli.training.stage import StageTask
from vqe_cli.training.validation import mean_by_recipe

CHECKPOINT_EVERY_S = 180.0


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes: step, share done (0 … 1), loss, learning rate, steps a second, and gains by recipe
    (dB) right after a validation."""

    step: int
    share: float
    loss: float
    rate: float
    steps_per_s: float
    gains: dict[str, float] | None = None


Listener = Callable[[Progress], None]


class Task(Protocol):
    """What is learned: the loss of a batch, and what is measured on the validation clips."""

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """The loss at `share` (0 … 1) of the run."""

    def measure(self, network: nn.Module) -> dict[tuple[str, str], float]:
        """A figure in dB (more is better) for each (recipe, clip)."""


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    resume: bool = False,
    max_minutes: float | None = None,
    device: torch.device | None = None,
    listen: Listener = lambda _: None,
) -> Path:
    """Train what `config` says on the data folder (`train/` and `val/` below it); gives the exported weights' path.

    `max_minutes` replaces the number of steps by time: the schedule runs by the clock and ends in time.
    Raises VqeError for data, configs and checkpoints that do not fit together.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    run = setup(config, data, out, device, resume)
    budget_s = max_minutes * 60 if max_minutes is not None else None
    fit(run, budget_s, listen)
    gains = validate(run)
    path = out / f"{config.name}.safetensors"
    card = checkpoint.card_of(config, run.step, run.elapsed_s / 60, gains)
    checkpoint.export(path, run.ema, config, card)
    return path


@dataclass
class Run:
    """The state of a run: what a checkpoint holds, and what it is fed with."""

    config: TrainConfig
    out: Path
    device: torch.device
    bf16: bool
    network: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    sampler: Sampler
    task: Task
    step: int = 0
    elapsed_s: float = 0.0

    def state(self) -> dict[str, Any]:
        """What `last.pt` holds."""
        return {
            "config": asdict(self.config),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }


def setup(config: TrainConfig, data: Path, out: Path, device: torch.device, resume: bool) -> Run:
    """Build network, optimizer and data; take up a checkpoint when asked."""
    torch.manual_seed(config.seed)
    network = build_network(config).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(parameter_groups(network), lr=config.schedule.rate, weight_decay=0.0, fused=True)
    pairs = load_pairs(data / "train", list(config.data.recipes), config.data)
    task_of = FlowTask if config.network.arch == "spynet" else StageTask
    task = task_of(config, validation_pairs(config, data / "val"), device)
    run = Run(
        config,
        out,
        device,
        use_bf16(config, device),
        network,
        deepcopy(network).eval(),
        optimizer,
        Sampler(pairs, config.data, config.seed),
        task,
    )
    if resume:
        state = checkpoint.load_state(out / "last.pt", config)
        network.load_state_dict(state["network"])
        run.ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        run.step, run.elapsed_s = state["step"], state["elapsed_s"]
    return run


def build_network(config: TrainConfig) -> nn.Module:
    """The network at the start of a run: fresh, then grown or initialised as the config says."""
    network = models.build(config.network.arch, config.network.config)
    if config.network.arch == "spynet":
        motion_filters(network)
    if config.network.grow_from:
        models.grow_from_spatial(network, checkpoint.read_weights(Path(config.network.grow_from)))
    if config.network.flow:
        missing = checkpoint.load_fitting(network.spynet, checkpoint.read_weights(Path(config.network.flow)))
        if missing:
            raise VqeError(f"{config.network.flow} is no flow network of this shape.", "Train it with train-stage flow.")
    if config.network.init:
        fresh = checkpoint.load_fitting(network, checkpoint.read_weights(Path(config.network.init)))
        if len(fresh) == len(network.state_dict()):
            raise VqeError(f"nothing in {config.network.init} fits {config.network.arch}.", "Name other weights.")
    for name, parameter in network.named_parameters():
        if name.startswith(config.network.frozen):
            parameter.requires_grad_(False)
    return network


def validation_pairs(config: TrainConfig, data: Path) -> list[Pair]:
    """The first clips of the validation folder, in every recipe that is measured."""
    pairs = load_pairs(data, list(config.validation.recipes), replace(config.data, frames=1, crop=1))
    kept = sorted({pair.gt.name for pair in pairs})[: config.validation.clips]
    return [pair for pair in pairs if pair.gt.name in kept]


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """What is trained: all but the flow network, then the flow network, which has a rate of its own."""
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    flow = [p for name, p in trained if name.startswith("spynet.")]
    rest = [p for name, p in trained if not name.startswith("spynet.")]
    groups: list[dict[str, Any]] = [{"params": rest, "flow": False}]
    return [*groups, {"params": flow, "flow": True}] if flow else groups


def use_bf16(config: TrainConfig, device: torch.device) -> bool:
    """Whether to compute in bfloat16: where the machine has instructions for it, unless the config decides."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fit(run: Run, budget_s: float | None, listen: Listener) -> None:
    """Run optimisation steps until the schedule or the time is over."""
    schedule = run.config.schedule
    started = time.monotonic() - run.elapsed_s
    validated = saved = time.monotonic()
    loss_sum, loss_count, since = 0.0, 0, time.monotonic()
    for batch in run.sampler.batches(run.step, run.device):
        run.elapsed_s = time.monotonic() - started
        share = run.elapsed_s / budget_s if budget_s else run.step / schedule.steps
        if share >= 1:
            break
        loss = optimise(run, batch, share)
        run.step += 1
        loss_sum, loss_count = loss_sum + loss, loss_count + 1
        now = time.monotonic()
        if loss_count == 20 or now - since > 10:
            listen(Progress(run.step, share, loss_sum / loss_count, rate_at(share, schedule), loss_count / (now - since)))
            loss_sum, loss_count, since = 0.0, 0, now
        if now - validated > run.config.validation.every_minutes * 60:
            listen(Progress(run.step, share, loss, rate_at(share, schedule), 0.0, validate(run)))
            validated = since = time.monotonic()
        if now - saved > CHECKPOINT_EVERY_S:
            run.elapsed_s = time.monotonic() - started
            checkpoint.save_state(run.out / "last.pt", run.state())
            saved = time.monotonic()
    checkpoint.save_state(run.out / "last.pt", run.state())


def optimise(run: Run, batch: Batch, share: float) -> float:
    """One step; gives the loss."""
    schedule = run.config.schedule
    for group in run.optimizer.param_groups:
        frozen = group["flow"] and share < schedule.flow_frozen
        factor = (0.0 if frozen else schedule.flow_rate) if group["flow"] else 1.0
        group["lr"] = factor * rate_at(share, schedule)
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bf16):
        loss = run.task.loss(run.network, batch, share)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(run.network.parameters(), schedule.clip_norm)
    run.optimizer.step()
    follow(run.ema, run.network, min(schedule.ema, (1 + run.step) / (10 + run.step)))
    return float(loss.detach())


@torch.no_grad()
def follow(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; buffers are copied."""
    parameters = list(network.parameters())
    torch._foreach_lerp_(list(ema.parameters()), parameters, 1 - decay)


def validate(run: Run) -> dict[str, float]:
    """Mean figure (gain in dB) by recipe; appended clip by clip to `curve.jsonl`."""
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bf16):
        by_clip = run.task.measure(run.ema)
    means = mean_by_recipe(by_clip)
    line = {
        "minutes": round(run.elapsed_s / 60, 2),
        "step": run.step,
        "gain_db": {recipe: round(gain, 4) for recipe, gain in means.items()},
        "clips": {f"{recipe}/{name}": round(gain, 4) for (recipe, name), gain in by_clip.items()},
    }
    with (run.out / "curve.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return means
