"""The command `vqe`: its commands and what belongs to all of them."""

import os
import sys
from typing import Annotated

import typer

from vqe_cli import __version__
from vqe_cli.cli.bench import bench_app
from vqe_cli.cli.compress import EXAMPLE as COMPRESS_EXAMPLE
from vqe_cli.cli.compress import compress_command
from vqe_cli.cli.console import bear_any_text, end_on_signals, guarded, results_to_stdout, show
from vqe_cli.cli.doctor import EXAMPLE as DOCTOR_EXAMPLE
from vqe_cli.cli.doctor import doctor_command
from vqe_cli.cli.enhance import EXAMPLE as ENHANCE_EXAMPLE
from vqe_cli.cli.enhance import enhance_command
from vqe_cli.cli.ensemble import EXAMPLE as ENSEMBLE_EXAMPLE
from vqe_cli.cli.ensemble import ensemble_command
from vqe_cli.cli.eval import eval_command
from vqe_cli.cli.inspect import EXAMPLE as INSPECT_EXAMPLE
from vqe_cli.cli.inspect import inspect_command
from vqe_cli.cli.options import WithDeinterlace
from vqe_cli.cli.preview import EXAMPLE as PREVIEW_EXAMPLE
from vqe_cli.cli.preview import preview_command
from vqe_cli.cli.train import EXAMPLE as TRAIN_EXAMPLE
from vqe_cli.cli.train import train_command
from vqe_cli.cli.weights import weights_app
from vqe_cli.machine import address_space_limit

# Read by libraries when they are imported, which no command has done yet. Whoever sets them wins.
# Threads that wait for work sleep (OpenMP). By default they turn in circles, and whatever else runs waits for
# them: the encoder, or a second vqe (two at a time on two cores took 15 s by default, 9 s like this).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# PyTorch takes large tensors from the system anew each time. In pages of 2 MiB instead of 4 KiB that costs
# nothing to speak of (Linux; `fast` takes 0.12 instead of 0.17 core seconds for a frame of 480x272).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

EVAL_EXAMPLE = "Example: vqe eval --gt truth.mkv --pred out.mkv --lq in.mkv"
EXIT_CODES = (
    "Exit codes: 0 done, 1 an error (one sentence says what and what to do), 2 wrong usage, 130 Ctrl-C."
)

app = typer.Typer(
    name="vqe",
    help="Makes compressed video look better, guided by what the bitstream knows.",
    epilog=f"Example: vqe enhance in.mkv out.mkv    {EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("enhance", cls=WithDeinterlace, epilog=ENHANCE_EXAMPLE)(guarded(enhance_command))
app.command("preview", cls=WithDeinterlace, epilog=PREVIEW_EXAMPLE)(guarded(preview_command))
app.command("inspect", epilog=INSPECT_EXAMPLE)(guarded(inspect_command))
app.command("eval", epilog=EVAL_EXAMPLE)(guarded(eval_command))
app.command("ensemble", epilog=ENSEMBLE_EXAMPLE)(guarded(ensemble_command))
app.command("train-stage", epilog=TRAIN_EXAMPLE)(guarded(train_command))
app.command("compress", epilog=COMPRESS_EXAMPLE)(guarded(compress_command))
app.command("doctor", epilog=DOCTOR_EXAMPLE)(guarded(doctor_command))
app.add_typer(weights_app, name="weights")
app.add_typer(bench_app, name="bench")


def show_version(wanted: bool) -> None:
    """Print the versions that decide what a run does, and the device it would use."""
    if not wanted:
        return
    import av
    import torch

    from vqe_cli.restore.device import choose

    libraries = ", ".join(
        f"{name} {'.'.join(map(str, version))}" for name, version in sorted(av.library_versions.items())
    )
    show(
        f"vqe {__version__}",
        f"Python {sys.version.split()[0]}, torch {torch.__version__}, PyAV {av.__version__}",
        f"FFmpeg {av.ffmpeg_version_info} ({libraries})",
        f"device {choose().name}",
    )
    raise typer.Exit


@app.callback()
def vqe(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show versions and the device, then exit."
        ),
    ] = False,
) -> None:
    """Makes compressed video look better, guided by what the bitstream knows."""


def run() -> None:
    """Entry point of the command."""
    bear_any_text()
    end_on_signals()
    try:
        with results_to_stdout():
            app()
    except SystemExit as ending:
        if ending.code == 1 and address_space_limit() is not None:
            os._exit(1)  # all is said and removed; libraries without memory hang or crash at their end
        raise
