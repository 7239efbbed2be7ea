"""The training of the flow network, stage I and stage II, read from top to bottom: train, fit, optimise,
validate."""

import math
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vqe_cli.errors import VqeError
from vqe_cli.training import checkpoint, distributed, validation
from vqe_cli.training.data import Batch
from vqe_cli.training.export import TrainedPhase, card_of, write_weights
from vqe_cli.training.gradients import batch_advice, memory_advice
from vqe_cli.training.progress import Listener, Meter, Progress
from vqe_cli.training.run import Place, Run, setup
from vqe_cli.training.schedule import Clock, Interrupted, group_rate, rate_at, watched
from vqe_cli.training.schema import TrainConfig


@dataclass(frozen=True)
class TrainOptions:
    """How a run is carried out, whatever its config says."""

    resume: bool = False
    max_minutes: float | None = None
    """Takes the place of the number of steps: the schedule runs by the clock and ends in time."""
    device: torch.device | None = None
    """None: a GPU where there is one."""
    shard_mib: int | None = None
    """Files are written in parts below this size."""


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    options: TrainOptions = TrainOptions(),
    listen: Listener = lambda _: None,
) -> Path:
    """Train what `config` says on the data folder (`train/` and `val/` below it); gives the exported weights'
    path.

    A config with phases is trained phase by phase, each in a folder of its own below `out`, each from the
    averaged weights of the one before. Under torchrun the processes share the work. Raises VqeError for data,
    configs and checkpoints that do not fit together, `Interrupted` after Ctrl-C.
    """
    started = time.monotonic()
    phases = config.all_phases()
    weights: dict[str, Tensor] | None = None
    ended: list[TrainedPhase] = []
    run: Run | None = None
    path = out / f"{config.name}.safetensors"
    with distributed.joined() as world:
        place = Place(data, world.device(options.device), world, listen, len(phases), options.shard_mib)
        for number, phase in enumerate(phases, 1):
            folder = out / f"{number}-{phase.phase}" if config.phases else out
            if options.resume and number < len(phases) and checkpoint.exists(folder / path.name):
                state = checkpoint.load_state(folder / checkpoint.LAST, phase)
                ended.append(TrainedPhase(phase, state["step"], state["elapsed_s"], state["elapsed_s"]))
                weights = state["ema"]
                continue
            with memory_advice("setting up", "Lower data.cache_gib, or use data.cache: ram."):
                run = setup(phase, place, folder, options.resume, weights, run)
            run.number, run.ended, earlier_s = number, tuple(ended), run.elapsed_s
            spent_s = sum(each.took_s for each in ended)
            budget_s = budget_of(phases[number - 1 :], options.max_minutes, spent_s)
            setup_s = time.monotonic() - started
            fit(run, None if budget_s is None else budget_s - setup_s)
            finish(run, path if number == len(phases) else folder / path.name)
            now = time.monotonic()
            ended.append(TrainedPhase(phase, run.step, run.elapsed_s, earlier_s + now - started))
            weights, started = run.ema.state_dict(), now
    return path


def budget_of(phases: Sequence[TrainConfig], max_minutes: float | None, spent_s: float) -> float | None:
    """Seconds that the first of the phases to come may take: its part, by its steps, of what is left."""
    if max_minutes is None:
        return None
    left_s = max(0.0, 60 * max_minutes - spent_s)
    return left_s * phases[0].schedule.steps / max(1, sum(phase.schedule.steps for phase in phases))


def fit(run: Run, budget_s: float | None) -> None:
    """Run optimisation steps until the schedule or the time (seconds; None: no limit) is over."""
    config, place = run.config, run.place
    with watched() as stop, closing(run.sampler.batches(run.step, place.device)) as batches:
        every_s = 60 * config.validation.every_minutes
        clock = Clock(place.world, stop, config.schedule.steps, budget_s, run.elapsed_s, every_s)
        meter = Meter()
        for batch in meter.timed(batches):
            due, run.elapsed_s = clock.due(run.step, meter.due()), clock.elapsed_s
            if due.report and meter.losses:
                report(run, meter, due.share)
            if due.save:
                began = time.monotonic()
                save(run)
                clock.checkpoint_took(time.monotonic() - began)
            if due.stop:
                raise Interrupted(run.step, run.folder / checkpoint.LAST)
            if due.share >= 1:
                break
            if due.validate:
                began = time.monotonic()
                gains = validate(run, stop)
                clock.validation_took(time.monotonic() - began)
                report(run, meter, due.share, gains)
            meter.losses.append(optimise(run, batch, due.share))
            run.step += 1


def optimise(run: Run, batch: Batch, share: float) -> Tensor:
    """One step; gives the loss, still on the device.

    Raises VqeError with the batch that fits when there is not enough memory.
    """
    schedule, world = run.config.schedule, run.place.world
    # Whatever a network draws by itself depends on the step alone, so that a resumed run draws it again.
    torch.manual_seed(run.config.seed * 1_000_003 + run.step * world.size + world.rank)
    for group in run.optimizer.param_groups:
        group["lr"] = group_rate(share, schedule, group["part"])
    # Other processes would wait for a trial's gradients.
    trial = (lambda count: run.gradients.compute(batch.head(count), share)) if world.size == 1 else None
    with batch_advice(trial, len(batch.lq)):
        loss = run.gradients.compute(batch, share)
        update(run)
    return loss


def update(run: Run) -> None:
    """Step along the gradients at the parameters, and let the averaged weights follow."""
    schedule = run.config.schedule
    nn.utils.clip_grad_norm_(run.network.parameters(), schedule.clip_norm)
    run.optimizer.step()
    follow(run.ema, run.network, min(schedule.ema, (1 + run.step) / (10 + run.step)))


@torch.no_grad()
def follow(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1 - decay)


def report(run: Run, meter: Meter, share: float, gains: dict[str, float] | None = None) -> None:
    """Report the figures since the last time.

    Raises VqeError when the loss is no number any more; the last checkpoint is from before that.
    """
    loss, steps_per_s, waiting = meter.read()
    loss = run.place.world.mean(loss)
    if not math.isfinite(loss):
        raise VqeError(
            f"the loss is no longer a number at step {run.step}.",
            f"Lower schedule.rate; {run.folder / checkpoint.LAST} is from before that.",
        )
    if run.journal:
        now = Progress(
            step=run.step,
            share=share,
            loss=loss,
            rate=rate_at(share, run.config.schedule),
            steps_per_s=steps_per_s,
            gains=gains,
            figure=run.task.figure,
            waiting=waiting,
            minutes=run.elapsed_s / 60,
            phase=run.config.phase,
            phase_number=run.number,
            phase_count=run.place.phase_count,
        )
        run.journal.note(now)
        run.place.listen(now)


def validate(run: Run, stop: threading.Event) -> dict[str, float] | None:
    """Mean figure (gain in dB) by recipe, written down clip by clip; the best weights so far are kept.

    None when it was stopped on the way.
    """
    pairs, world = run.feed.val, run.place.world
    with (
        memory_advice("measuring whole frames", "Put smaller clips into val/."),
        torch.autocast(run.place.device.type, torch.bfloat16, enabled=run.bf16),
    ):
        by_clip = validation.measure_all(run.task, run.ema, pairs, world, stop)
        if len(by_clip) < len(pairs):
            return None
        if run.journal:
            worst = min(pairs, key=lambda pair: by_clip[pair.recipe, pair.lq.name])
            validation.write_sheet(run.folder / "worst.png", run.task.sheet(run.ema, worst))
    means = validation.mean_by_recipe(by_clip)
    if run.journal:
        run.journal.measured(run.step, run.elapsed_s / 60, run.task.figure, means, by_clip)
    overall = sum(means.values()) / len(means)
    if run.best is None or overall > run.best:
        run.best = overall
        export(run, run.folder / "best.safetensors", means)
    return means


def save(run: Run) -> None:
    """Write the resumable checkpoint."""
    if run.place.world.first:
        checkpoint.save_state(run.folder / checkpoint.LAST, run.state(), run.place.shard_mib)


def finish(run: Run, path: Path) -> None:
    """Measure the end of a phase and write its weights."""
    gains = validate(run, threading.Event())
    assert gains is not None
    export(run, path, gains)


def export(run: Run, path: Path, gains: dict[str, float]) -> None:
    """Write the averaged weights with their card."""
    if run.place.world.first:
        phases = [*run.ended, TrainedPhase(run.config, run.step, run.elapsed_s)]
        card = card_of(phases, run.feed.library.removed, gains, run.task.figure)
        write_weights(path, run.ema, run.config, card, run.place.shard_mib)
