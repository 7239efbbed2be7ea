"""A run (of one phase) and how it is set up: network, optimizer, data, and what a checkpoint holds of it."""

from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqe_cli.errors import VqeError
from vqe_cli.machine import keep_freed_memory
from vqe_cli.networks.motion_fusion import MotionFusion
from vqe_cli.restore.device import has_bf16_instructions
from vqe_cli.training import checkpoint
from vqe_cli.training.data import Pair
from vqe_cli.training.distributed import World
from vqe_cli.training.export import TrainedPhase
from vqe_cli.training.gradients import Gradients
from vqe_cli.training.library import Library, find_sources
from vqe_cli.training.optimizer import optimizer_of
from vqe_cli.training.progress import Journal, Listener
from vqe_cli.training.sampler import Sampler
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.start import build_network, fit_blend
from vqe_cli.training.tasks import Task, channels_last, task_of


@dataclass(frozen=True)
class Place:
    """What holds for all phases of a run."""

    data: Path
    """The folder with train/ and val/."""
    device: torch.device
    """Where it computes."""
    world: World
    """Which of how many processes this is."""
    listen: Listener
    """Called with the progress."""
    phase_count: int = 1
    """How many phases there are."""
    shard_mib: int | None = None
    """Size of the parts of files; None for whole ones."""


@dataclass(frozen=True)
class Feed:
    """The clips of a run: what the training draws from, and what is measured."""

    library: Library
    val: list[Pair]


@dataclass
class Run:
    """The state of a run, of one phase."""

    config: TrainConfig
    """Of the phase."""
    place: Place
    """What holds for all phases."""
    folder: Path
    """The phase's own."""
    network: nn.Module
    """The weights that are trained, float32."""
    ema: nn.Module
    """Their running average, which is measured and exported."""
    gradients: Gradients
    """Computes losses and gradients."""
    optimizer: torch.optim.Optimizer
    """AdamW or Muon."""
    task: Task
    """What is learned."""
    feed: Feed
    """The clips."""
    sampler: Sampler
    """Draws batches of them."""
    journal: Journal | None
    """In the first process only."""
    bf16: bool
    """Whether it computes in bfloat16."""
    step: int = 0
    """Steps done."""
    elapsed_s: float = 0.0
    """Seconds of training, over all starts."""
    best: float | None = None
    """The highest validation figure so far."""
    number: int = 1
    """Which phase it is, from 1."""
    ended: tuple[TrainedPhase, ...] = ()
    """The phases before."""

    def state(self) -> dict[str, Any]:
        """What `last.pt` holds."""
        return {
            "config": asdict(replace(self.config, phases=())),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "best": self.best,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint ended. Raises VqeError when it is of a run that trains something else."""
        try:
            self.network.load_state_dict(state["network"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.elapsed_s, self.best = state["step"], state["elapsed_s"], state.get("best")
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0].strip()
            raise VqeError(
                f"{self.folder / checkpoint.LAST} does not fit this config ({reason}).",
                "Use the config that the run was started with (network.frozen, network.joint and "
                "schedule.optimizer, too), or start another run from its weights: --init.",
            ) from error


def setup(
    config: TrainConfig,
    place: Place,
    folder: Path,
    resume: bool,
    weights: dict[str, Tensor] | None = None,
    before: Run | None = None,
) -> Run:
    """Build a phase's network, optimizer and data, and take up its checkpoint when asked.

    weights: what the phase before ended with; before: its run, whose decoded clips are used again where they
    serve.
    """
    device, world = place.device, place.world
    torch.manual_seed(config.seed)
    if device.type == "cpu":
        keep_freed_memory()
    make_folder(folder)
    # A phase that was not reached yet has nothing to resume from; without phases that is an error.
    last = folder / checkpoint.LAST
    wanted = resume and (place.phase_count == 1 or checkpoint.exists(last))
    state = checkpoint.load_state(last, config) if wanted else None
    network = channels_last(build_network(config, weights), device)
    optimizer = optimizer_of(network, config.schedule)
    task = task_of(config, device)
    feed = feed_of(config, place, before)
    bf16 = use_bf16(config, device)
    if config.network.fit_clips and state is None:
        fit(network, config, feed.library, device, bf16)
    run = Run(
        config=config,
        place=place,
        folder=folder,
        network=network,
        ema=deepcopy(network).eval().requires_grad_(False),
        gradients=Gradients(network, task, device, world, bf16),
        optimizer=optimizer,
        task=task,
        feed=feed,
        sampler=Sampler(feed.library, config.data, config.seed, world.rank, world.size),
        journal=Journal(folder) if world.first else None,
        bf16=bf16,
    )
    if state is not None:
        run.take_up(state)
    if config.compile:
        run.gradients.working.compile()
    return run


def fit(network: nn.Module, config: TrainConfig, library: Library, device: torch.device, bf16: bool) -> None:
    """Solve the blend of neighbours, unless it has been by a phase before; every process does the same."""
    assert isinstance(network, MotionFusion)
    if network.blend.weight.any():
        return
    sampler = Sampler(library, config.data, config.seed)
    steps = -(-config.network.fit_clips // config.data.batch)
    fit_blend(network, (sampler.batch(step, device) for step in range(steps)), bf16, config.data.kept)


def make_folder(folder: Path) -> None:
    """The folder of a run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VqeError(
            f"cannot make the folder {folder} ({error.strerror}).", "Choose another --out."
        ) from error


def feed_of(config: TrainConfig, place: Place, before: Run | None) -> Feed:
    """The clips of a phase; those of the phase before, when the config says the same of them."""
    if before is not None and before.config.data == config.data:
        library = before.feed.library
    else:
        sources = find_sources(place.data / "train", list(config.data.recipes), config.data.inputs)
        library = Library(sources, config.data, place.device, config.data.batch * place.world.size)
    if before is not None and before.config.validation == config.validation:
        return Feed(library, before.feed.val)
    # The first clips of the validation folder, in every recipe that is measured.
    sources = find_sources(place.data / "val", list(config.validation.recipes), config.data.inputs)
    names = sorted({source.name for source in sources})[: config.validation.clips]
    whole = replace(config.data, frames=1, crop=1, duplicates="keep", cache="ram", cache_gib=float("inf"))
    chosen = [source for source in sources if source.name in names]
    return Feed(library, Library(chosen, whole, place.device, 1).pairs_at(0))


def use_bf16(config: TrainConfig, device: torch.device) -> bool:
    """Whether to compute in bfloat16: where the machine has instructions for it, or as the config decides."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and has_bf16_instructions()
