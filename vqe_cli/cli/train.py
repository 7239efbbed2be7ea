"""`vqe train-stage STAGE`: the options, one call, and what is shown while it trains (on stderr)."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from vqe_cli.cli.console import INTERRUPTED, messages, plain_column, say, show
from vqe_cli.cli.options import Debug, Quiet
from vqe_cli.text import printable

if TYPE_CHECKING:
    from vqe_cli.training.progress import Progress


EXAMPLE = "Example: vqe train-stage 1 --config fast --data corpus --out runs/fast"
LINE_EVERY_S = 30.0
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
    from vqe_cli.training.schedule import Interrupted

    from_flag = [f"network.init={json.dumps(str(init))}"] if init else []
    chosen = load(config, [*changes, *from_flag], stage)
    place = None if device == "auto" else choose(device).device

    from vqe_cli.training.loop import TrainOptions, train

    folder = out or Path("runs") / chosen.name
    options = TrainOptions(resume, max_minutes, place, shard_mib)
    first = os.environ.get("RANK", "0") == "0"
    with TrainDisplay(quiet=bool(quiet) or not first) as display:
        try:
            path = train(chosen, data, folder, options, display.listen)
        except Interrupted as stopped:
            if first:
                say(f"stopped after step {stopped.step}; the same command with --resume goes on from there")
            raise typer.Exit(INTERRUPTED) from None
    if first:
        show(path)


class TrainDisplay:
    """A progress bar on a terminal, plain lines elsewhere; and notes on weights that fit in part.

    A context manager; `listen` takes the figures. quiet: nothing is shown. clock: gives seconds.
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        console = messages()
        self._quiet, self._clock = quiet, clock
        self._bar = Progress(
            plain_column("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.1f} %  {task.fields[figures]}"),
            console=console,
            disable=quiet or not console.is_terminal or console.is_dumb_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("decoding the clips", total=None, figures="")
        self._last_line = -LINE_EVERY_S
        self._origin: tuple[float, float, int] | None = None
        self._notes = _Notes(self._line)

    def __enter__(self) -> Self:
        logger = logging.getLogger("vqe.training")
        logger.addHandler(self._notes)
        logger.setLevel(logging.INFO)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("vqe.training").removeHandler(self._notes)
        self._bar.stop()

    def listen(self, progress: "Progress") -> None:
        """Shows the figures of a run."""
        if self._quiet:
            return
        now = self._clock()
        if self._origin is None or self._origin[2] != progress.phase_number:
            self._origin = now, progress.share, progress.phase_number
        figures = figures_line(progress, self._left_s(progress, now))
        name = phase_name(progress)
        self._bar.update(
            self._task, description=printable(name), total=1.0, completed=progress.share, figures=figures
        )
        if progress.gains is not None:
            self._line(f"{name} step {progress.step}: " + gains_line(progress.gains, progress.figure))
        elif self._bar.disable and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            say(f"{name} step {progress.step}, {100 * progress.share:.1f} %, {figures}")

    def _left_s(self, progress: "Progress", now: float) -> float | None:
        """Seconds to the end of the phase, by the pace since it was first heard of."""
        assert self._origin is not None
        began, share, _ = self._origin
        if progress.share <= share or progress.share >= 1:
            return None
        return (now - began) * (1 - progress.share) / (progress.share - share)

    def _line(self, text: str) -> None:
        """A line above the bar."""
        if self._quiet:
            return
        if self._bar.disable:
            say(text)
        else:
            self._bar.console.print(printable(text))


class _Notes(logging.Handler):
    """Hands the training room's notes on."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


def phase_name(progress: "Progress") -> str:
    """Which part of the run this is."""
    return (
        f"phase {progress.phase_number}/{progress.phase_count} {progress.phase}".strip()
        if progress.phase_count > 1
        else "training"
    )


def figures_line(progress: "Progress", left_s: float | None) -> str:
    """Loss, learning rate, speed and time left."""
    line = f"loss {progress.loss:.5f}  rate {progress.rate:.1e}  {progress.steps_per_s:.2f} it/s"
    if progress.waiting > 0.05:
        line += f"  waiting for data {100 * progress.waiting:.0f} %"
    if left_s is not None:
        left = max(0, round(left_s))
        line += f"  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
    return line


def gains_line(gains: dict[str, float], figure: str = "gain_db") -> str:
    """The figures of a validation, in dB: gains with their sign, all else with its name."""
    if figure == "gain_db":
        return ", ".join(f"{recipe} {gain:+.3f} dB" for recipe, gain in gains.items())
    name = figure.removesuffix("_db").replace("_", " ")
    return ", ".join(f"{recipe} {name} {level:.2f} dB" for recipe, level in gains.items())
