"""`vqe train-stage STAGE`: the options, one call, and what is shown while it trains."""

import os
from pathlib import Path
from typing import Annotated

import typer

from vqe_cli.cli.console import INTERRUPTED, say, show
from vqe_cli.cli.options import Debug, Quiet

EXAMPLE = "Example: vqe train-stage 1 --config fast --data corpus --out runs/fast"
STAGES = ("flow", "1", "2", "gate")


def check_stage(value: str) -> str:
    """The stage, if there is such a one."""
    if value not in STAGES:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(STAGES)}")
    return value


def train_command(
    stage: Annotated[
        str,
        typer.Argument(
            callback=check_stage,
            metavar="flow|1|2|gate",
            help="The flow network, stage I (clips), stage II (frames) or an ensemble's mask.",
            autocompletion=lambda: list(STAGES),
        ),
    ],
    config: Annotated[
        Path, typer.Option(metavar="NAME|FILE", help="A config that comes with vqe, or a YAML file.")
    ],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder with train/ and val/, each raw/ and lq/RECIPE/.")
    ] = Path("data"),
    changes: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", show_default=False, help="Change the config (data.batch=4)."
        ),
    ] = [],  # noqa: B006 (typer's way to say "none")
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="Folder of the run (default: runs/NAME)."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    init: Annotated[
        Path | None,
        typer.Option(metavar="WEIGHTS", show_default=False, help="Start from these, as far as they fit."),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="M", show_default=False, help="Anneal the schedule to end in time."),
    ] = None,
    shard_mib: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default=False, help="Write files in parts below N MiB."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]|mps", help="Where to compute.")] = "auto",
    quiet: Quiet = None,
    debug: Debug = False,
) -> None:
    """Train a network on pairs of compressed and clean video.

    Several processes by `torchrun --nproc-per-node N "$(command -v vqe)" train-stage ...`. Ctrl-C finishes
    the step and writes a checkpoint for --resume; a second Ctrl-C ends at once.
    """
    import json

    from vqe_cli.restore.device import choose
    from vqe_cli.training.config import load
    from vqe_cli.training.interrupt import Interrupted

    from_flag = [f"network.init={json.dumps(str(init))}"] if init else []
    chosen = load(config, [*changes, *from_flag], stage)
    place = None if device == "auto" else choose(device).device

    from vqe_cli.cli.train_display import TrainDisplay
    from vqe_cli.training.loop import train

    folder = out or Path("runs") / chosen.name
    first = os.environ.get("RANK", "0") == "0"
    with TrainDisplay(quiet=bool(quiet) or not first) as display:
        try:
            path = train(chosen, data, folder, resume, max_minutes, place, display.listen, shard_mib)
        except Interrupted as stopped:
            if first:
                say(f"stopped after step {stopped.step}; the same command with --resume goes on from there")
            raise typer.Exit(INTERRUPTED) from None
    if first:
        show(path)
