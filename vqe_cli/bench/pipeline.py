"""Where the time of `enhance` goes: decode, stage I and of it the deformable alignment, stage II, encode."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from vqe_cli.networks.deform import SecondOrderDeformableAlignment
from vqe_cli.pipeline_threads import Stopwatch
from vqe_cli.restore.device import Compute
from vqe_cli.restore.ensemble import load_model
from vqe_cli.runs.report import Report
from vqe_cli.runs.run import enhance
from vqe_cli.runs.settings import Settings


def bench_pipeline(input: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Enhance `input` once into a file that is thrown away; options: other fields of `Settings`.

    Gives what was run, frames per second on the clock, and the list `parts`: for each its seconds of work,
    its share of the work of all parts, and its own frames per second. Parts overlap, so that work takes
    more than the clock shows. On a GPU the alignment is waited for at every call, which makes it look a
    little dearer than it is.
    Raises VqeError as `enhance` does.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(input, Path(folder) / "enhanced.mkv", **options)
        loaded = load_model(settings.networks)
        alignment = Stopwatch()
        with timed(nn.ModuleList(loaded.networks), alignment, loaded.compute):
            report = enhance(settings, load=lambda networks: loaded)
    plan = report.plan
    return {
        "model": plan.model,
        "input": f"{input.name}, {plan.size_in[0]}x{plan.size_in[1]}",
        "device": plan.device,
        "precision": plan.precision,
        "frames": report.frames,
        "wall_s": report.wall_s,
        "fps": report.fps,
        "parts": parts_of(report, alignment.seconds),
    }


def parts_of(report: Report, alignment_s: float) -> list[dict[str, Any]]:
    """A row for each part of a run; `of which alignment` is a part of stage I and counted there."""
    seconds = report.seconds
    rows = [
        ("decode", seconds.decode),
        ("stage I", seconds.stage_1),
        ("  of which alignment", alignment_s),
        ("stage II", seconds.stage_2),
        ("encode", seconds.encode),
    ]
    work = seconds.decode + seconds.stage_1 + seconds.stage_2 + seconds.encode
    return [
        {
            "part": name,
            "seconds": round(spent, 3),
            "share_percent": round(100 * spent / work, 1),
            "fps": round(report.frames / spent, 2) if spent else 0.0,
        }
        for name, spent in rows
    ]


@contextmanager
def timed(network: nn.Module, clock: Stopwatch, compute: Compute) -> Iterator[None]:
    """Adds the time that the network's alignment modules take to the clock."""
    started: list[float] = []

    def before(*_: Any) -> None:
        compute.finished()
        started.append(time.perf_counter())

    def after(*_: Any) -> None:
        compute.finished()
        clock.seconds += time.perf_counter() - started.pop()

    handles = []
    for module in network.modules():
        if isinstance(module, SecondOrderDeformableAlignment):
            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
