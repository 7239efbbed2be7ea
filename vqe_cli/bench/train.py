"""How fast a config trains here: pixels a second, where the time goes, share of the matrix rate."""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from vqe_cli.restore.device import choose
from vqe_cli.training import loop
from vqe_cli.training.distributed import World
from vqe_cli.training.progress import Meter
from vqe_cli.training.run import Place, Run, setup
from vqe_cli.training.schema import TrainConfig

WARM_STEPS = 3
TIMED_STEPS = 5
SHARE = 0.5  # of the schedule at which is measured: the flow network learns, too
MATRIX_SIZES = {"cuda": 8192, "mps": 4096, "cpu": 2048}
MATRIX_S = 1.0


def bench_train(
    config: TrainConfig, data: Path, seconds: float = 30.0, device: str = "auto"
) -> dict[str, Any]:
    """Train for `seconds` on a data folder, in its last phase, and throw the result away.

    `pixels_per_s` are pixels of output that the loss sees. `waiting_percent` is the share of the time in
    which no batch was ready; `data_percent` to `optimizer_percent` are shares of the work, done once more by
    one thread, part after part (on a CPU as time of the process, so that other programs do not count).
    `matrix_gflop_s` is measured here, of one large product in the type that the training computes in, and
    `reached_percent` what the network's own floating-point operations make of it. Raises VqeError as `train`
    does.
    """
    compute = choose(device)
    phase = config.all_phases()[-1]
    with tempfile.TemporaryDirectory(prefix="vqe-") as folder:
        phase = replace(phase, validation=replace(phase.validation, clips=1))
        run = setup(phase, Place(data, compute.device, World(), lambda _: None), Path(folder), resume=False)
    flops = flops_of_a_step(run)
    steps, waited_s, passed_s = timed_steps(run, seconds)
    rate = matrix_rate(compute.device, torch.bfloat16 if run.bf16 else torch.float32)
    reached = flops * steps / passed_s
    shares = shares_of_work(run)
    kept = len(range(phase.data.frames)[phase.data.kept])
    pixels = phase.data.batch * kept * (phase.data.scale * phase.data.crop) ** 2
    return {
        "config": phase.name,
        "device": compute.name,
        "precision": "bf16" if run.bf16 else "fp32",
        "threads": torch.get_num_threads(),
        "steps_per_s": steps / passed_s,
        "clips_per_s": steps * phase.data.batch / passed_s,
        "frames_per_s": steps * phase.data.batch * phase.data.frames / passed_s,
        "pixels_per_s": steps * pixels / passed_s,
        **{f"{part}_percent": 100 * share for part, share in shares.items()},
        "waiting_percent": 100 * waited_s / passed_s,
        "gflop_per_step": flops / 1e9,
        "reached_gflop_s": reached / 1e9,
        "matrix_gflop_s": rate / 1e9,
        "reached_percent": 100 * reached / rate,
    }


def flops_of_a_step(run: Run) -> int:
    """Floating-point operations of a step's forward and backward pass (a product and a sum are two)."""
    batch = run.sampler.batch(0, run.place.device)
    with FlopCounterMode(display=False) as counter:
        run.gradients.part(batch, SHARE, of=len(batch.lq))
    return counter.get_total_flops()


def timed_steps(run: Run, seconds: float) -> tuple[int, float, float]:
    """Steps in about so many seconds, the seconds that they waited for batches, and all seconds they took."""
    meter = Meter()
    with closing(run.sampler.batches(0, run.place.device)) as batches:
        for count, batch in enumerate(meter.timed(batches)):
            if count == WARM_STEPS:
                _finished(run.place.device)
                meter.reset()
            if count > WARM_STEPS and time.monotonic() - meter.since > seconds:
                break
            loop.optimise(run, batch, SHARE)
            run.step += 1
    _finished(run.place.device)
    return count - WARM_STEPS, meter.waited_s, time.monotonic() - meter.since


def shares_of_work(run: Run) -> dict[str, float]:
    """Which share of a step's work is data, forward pass, backward pass and optimizer; the least of a few
    steps counts for each."""
    clock = time.process_time if run.place.device.type == "cpu" else time.perf_counter
    least: dict[str, float] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for step in range(WARM_STEPS + TIMED_STEPS):
        for part, seconds in work_of_a_step(run, step, clock).items():
            if step >= WARM_STEPS:
                least[part] = min(seconds, least.get(part, seconds))
    torch.set_num_threads(threads)
    return {part: seconds / sum(least.values()) for part, seconds in least.items()}


def work_of_a_step(run: Run, step: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of the parts of a step, in their order."""
    spent: dict[str, float] = {}
    began = clock()

    def ended(part: str) -> None:
        nonlocal began
        _finished(run.place.device)
        now = clock()
        spent[part] = now - began
        began = now

    batch = run.sampler.batch(step, run.place.device)
    ended("data")
    run.gradients.refresh()
    loss = run.gradients.loss(batch, SHARE)
    ended("forward")
    run.gradients.leave([run.gradients.derivatives(loss)])
    ended("backward")
    loop.update(run)
    ended("optimizer")
    return spent


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of one large square matrix product, the best of about a second's."""
    size = MATRIX_SIZES.get(device.type, 2048)
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, started = 0.0, time.monotonic()
    while best == 0 or time.monotonic() - started < MATRIX_S:
        _finished(device)
        began = time.perf_counter()
        one @ other
        _finished(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def _finished(device: torch.device) -> None:
    """Wait until the device has done what was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
