"""`vqe compress RAW...`: compressed versions of clean clips, by the recipes of the field."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqe_cli.cli.console import say, show
from vqe_cli.cli.options import Debug, Quiet
from vqe_cli.errors import VqeError, unexpected

if TYPE_CHECKING:
    from vqe_cli.training.recipes import ReferenceEncoder

EXAMPLE = "Example: vqe compress data/train/raw --recipe qp37 --out data/train/lq/qp37"
RECIPES = ["qp37", "crf28", "ntire-200k", "rate-60k", "x264-crf32", "hm-ldp-qp37", "lossless"]


def check_scale(value: int) -> int:
    """The divisor, if it is one that networks undo."""
    if value not in (1, 2, 4):
        raise typer.BadParameter(f"{value} is none of 1, 2, 4")
    return value


def compress_command(
    raw: Annotated[
        list[Path],
        typer.Argument(metavar="RAW...", help="Clean videos, picture folders, or folders of such clips."),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="qpNN|crfNN|ntire-200k|rate-60k|x264-crfNN|hm-ldp-qpNN|lossless",
            help="How to compress.",
            autocompletion=lambda incomplete: [name for name in RECIPES if name.startswith(incomplete)],
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the versions: data/train/lq/RECIPE.")],
    scale: Annotated[
        int, typer.Option(metavar="1|2|4", callback=check_scale, help="Scale down by this first.")
    ] = 1,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME=ARGUMENTS",
            show_default=False,
            help="Change the pictures by FFmpeg's filter first; repeatable.",
        ),
    ] = None,
    hm: Annotated[
        Path | None, typer.Option(metavar="TAppEncoder", show_default=False, help="HM's encoder.")
    ] = None,
    hm_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Its encoder_lowdelay_P_main.cfg."),
    ] = None,
    photographs: Annotated[
        bool,
        typer.Option(
            "--photographs", help="RAW are photographs: make a clip of each, over which a camera moves."
        ),
    ] = False,
    frames: Annotated[int, typer.Option(metavar="3..12", help="Frames of a photograph's clip.")] = 4,
    size: Annotated[
        str, typer.Option(metavar="WIDTHxHEIGHT", help="Size of a photograph's clip.")
    ] = "320x224",
    seed: Annotated[int, typer.Option(metavar="N", help="Another one moves the cameras otherwise.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing versions.")] = False,
    quiet: Quiet = None,
    debug: Debug = False,
) -> None:
    """Make compressed versions of clean clips, for training and measuring.

    Frame counts, times and colour tags stay; NAME.json beside each version says how it was made.
    """
    from vqe_cli.training.compress import Source, compress, find_clips
    from vqe_cli.training.photographs import Clips, PhotographSource, find_photographs
    from vqe_cli.training.recipes import recipe_of

    how = recipe_of(recipe)
    encoder = _reference_encoder(hm, hm_config)
    if photographs:
        if scale != 1 or filters:
            raise typer.BadParameter(
                "make clips with --recipe lossless; --scale and --filter are for those clips",
                param_hint="--photographs",
            )
        clips = find_photographs(raw)
        made_of = Clips(frames, *_size(size), seed)
    else:
        clips = find_clips(raw)
    failed = 0
    for clip in clips:
        try:
            if photographs:
                source: Source | PhotographSource = PhotographSource(clip, made_of, clips)
            else:
                source = Source(clip, scale, filters or ())
            made = compress(source, how, out, encoder, overwrite)
        except Exception as error:  # whatever is wrong with a clip, the others are compressed
            if len(clips) == 1:
                raise
            failed += 1
            say(f"error: {unexpected(error, 'Compress this clip by itself')}")
            continue
        show(made.path)
        if not quiet:
            say(f"{made.frames} frames, {made.bytes / 1024:.1f} KiB, luma {made.psnr_y_db:.2f} dB")
    if failed:
        raise VqeError(f"{failed} of {len(clips)} clips could not be compressed.", "The lines above say why.")


def _reference_encoder(program: Path | None, config: Path | None) -> "ReferenceEncoder | None":
    """HM as the user named it."""
    from vqe_cli.training.recipes import ReferenceEncoder

    if (program is None) != (config is None):
        raise typer.BadParameter("--hm and --hm-config go together", param_hint="--hm")
    return ReferenceEncoder(program, config) if program and config else None


def _size(text: str) -> tuple[int, int]:
    """Width and height from "320x224"."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a size such as 320x224", param_hint="--size")
    return int(found[1]), int(found[2])
