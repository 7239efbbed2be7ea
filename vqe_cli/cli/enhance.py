"""`vqe enhance INPUT OUTPUT`: the options, one call, and what is shown while it runs."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from vqe_cli.cli.console import check_target, show
from vqe_cli.cli.options import Debug, JsonFile, ProgressKind, Quiet, from_variables, key_values, setting
from vqe_cli.errors import SettingsError
from vqe_cli.runs.settings import Settings
from vqe_cli.video.pipes import STDOUT

NETWORK, SIZES, PEAKS, WRITTEN = "Network", "Chunks and tiles", "Peak quality frames", "Written video"
FOLDERS, LONG = "Folders", "Long videos, several devices"
EXAMPLE = "Example: vqe enhance in.mkv out.mkv --model fast --crf 14"


def enhance_command(
    ctx: typer.Context,
    input: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="A video, a folder of videos or of images, 'x%05d.png', .y4m or - (pipe)."
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="A video, a folder or 'x%05d.png' for PNG, .y4m, or - (pipe)."),
    ],
    model: Annotated[
        str | None, setting("model", "A pipeline: see `vqe weights list`.", NETWORK, metavar="NAME")
    ] = None,
    weights: Annotated[
        list[Path] | None,
        setting("weights", "Use this file instead; repeat for stage II.", NETWORK, metavar="FILE"),
    ] = None,
    scale: Annotated[int | None, setting("scale", "Output size over input size.", NETWORK)] = None,
    stages: Annotated[
        str | None, setting("stages", "Which stages run (default: all there are).", NETWORK)
    ] = None,
    tta: Annotated[
        int | None,
        setting("tta", "Flips and rotations that are averaged (default: the pipeline's).", NETWORK),
    ] = None,
    strength: Annotated[
        float | None,
        setting("strength", "Per cent of the change that is kept, 0 to 150 (default: 100).", NETWORK),
    ] = None,
    device: Annotated[
        str | None, setting("device", "Where to compute.", NETWORK, metavar="auto|cpu|cuda[:n],...|mps")
    ] = None,
    precision: Annotated[str | None, setting("precision", "Arithmetic of the networks.", NETWORK)] = None,
    engine: Annotated[str | None, setting("engine", "What computes the networks.", NETWORK)] = None,
    chunk: Annotated[
        int | None, setting("chunk", "Frames kept at a time (default: 0, automatic).", SIZES)
    ] = None,
    overlap: Annotated[
        int | None, setting("overlap", "Context frames on each side (default: automatic).", SIZES)
    ] = None,
    tile: Annotated[
        int | None, setting("tile", "Tile size in pixels (default: 0, automatic).", SIZES)
    ] = None,
    tile_overlap: Annotated[
        int | None, setting("tile_overlap", "Pixels that tiles share (default: 0, automatic).", SIZES)
    ] = None,
    pqf: Annotated[str | None, setting("pqf", "Where they come from.", PEAKS)] = None,
    pqf_rule: Annotated[str | None, setting("pqf_rule", "Which minima of the QP count.", PEAKS)] = None,
    pqf_period: Annotated[int | None, setting("pqf_period", "Distance where QPs do not tell.", PEAKS)] = None,
    hm_log: Annotated[
        Path | None, setting("hm_log", "Log of the HM encoder or decoder.", PEAKS, metavar="FILE")
    ] = None,
    codec: Annotated[
        str | None, setting("codec", "libx265, hevc_nvenc, libsvtav1, ... (default: libx265).", WRITTEN)
    ] = None,
    crf: Annotated[
        float | None, setting("crf", "Quality, lower is better (default: by codec).", WRITTEN)
    ] = None,
    pix_fmt: Annotated[
        str | None, setting("pix_fmt", "Pixel format (default: the input's).", WRITTEN)
    ] = None,
    encoder_options: Annotated[
        list[str] | None,
        setting(
            "encoder_options",
            "Option of the encoder; repeatable.",
            WRITTEN,
            "-e",
            "--encoder-option",
            metavar="KEY=VALUE",
        ),
    ] = None,
    start: Annotated[int | None, setting("start", "First frame to use, from 0.", WRITTEN)] = None,
    frames: Annotated[
        int | None, setting("frames", "How many frames to use (default: all).", WRITTEN)
    ] = None,
    from_: Annotated[
        str | None, setting("from_", "First time to use: 90, 1:30, 1:02:03.5.", WRITTEN, metavar="TIME")
    ] = None,
    to: Annotated[
        str | None, setting("to", "Time before which the part ends.", WRITTEN, metavar="TIME")
    ] = None,
    deinterlace: Annotated[
        str | None, setting("deinterlace", "Of interlaced video: a frame a picture, or a field.", WRITTEN)
    ] = None,
    detelecine: Annotated[
        bool | None,
        setting("detelecine", "Take film out of 3:2 pulldown.", WRITTEN, "--detelecine/--no-detelecine"),
    ] = None,
    pattern: Annotated[
        str | None, setting("pattern", "Only files whose names fit, '*.mkv'.", FOLDERS, metavar="GLOB")
    ] = None,
    suffix: Annotated[
        str | None, setting("suffix", "Put behind each name: a_better.mkv.", FOLDERS, metavar="TEXT")
    ] = None,
    container: Annotated[
        str | None, setting("container", "Kind of file, or of stream for -.", FOLDERS)
    ] = None,
    segment: Annotated[
        int | None, setting("segment", "Frames that are finished at a time; 0: all.", LONG)
    ] = None,
    restart: Annotated[
        bool | None,
        setting("restart", "Forget an unfinished run of this output.", LONG, "--restart/--no-restart"),
    ] = None,
    workers: Annotated[int | None, setting("workers", "Processes that work at the same time.", LONG)] = None,
    cluster: Annotated[
        str | None, setting("cluster", "Work on a Ray cluster.", LONG, metavar="auto|ADDRESS")
    ] = None,
    cluster_ship: Annotated[
        bool | None,
        setting(
            "cluster_ship", "Its machines do not see our files.", LONG, "--cluster-ship/--no-cluster-ship"
        ),
    ] = None,
    force: Annotated[
        bool | None,
        setting("force", "Enhance what cannot come out right, too.", WRITTEN, "--force/--no-force"),
    ] = None,
    overwrite: Annotated[
        bool | None,
        setting("overwrite", "Replace an existing output.", WRITTEN, "--overwrite/--no-overwrite"),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on with videos that arrive, until Ctrl-C.", rich_help_panel=FOLDERS),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            help="Join what is finished of an interrupted run into NAME.part.SUFFIX, then exit.",
            rich_help_panel=LONG,
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="VQE_CONFIG", show_envvar=False, help="Read this in place of vqe.yaml.", metavar="FILE"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what it takes, then exit.")
    ] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Show every setting and where it comes from, then exit.")
    ] = False,
    json_file: JsonFile = None,
    progress: ProgressKind = "auto",
    quiet: Quiet = None,
    debug: Debug = False,
) -> None:
    """Make a compressed video look better; audio, subtitles and timing stay as they are.

    Flags win over variables (VQE_MODEL, VQE_TILE_OVERLAP, ...), these over --config or vqe.yaml in the
    working folder, that over vqe.yaml in the user's configuration folder, that over defaults.
    """
    from vqe_cli.cli.merge import as_yaml, file_layers, given_layer, merged

    given = {entry.name: ctx.params[entry.name] for entry in fields(Settings)[2:] if entry.name in ctx.params}
    given["encoder_options"] = key_values(encoder_options)
    chosen = merged([given_layer(given, from_variables(ctx)), *file_layers(config, os.environ)])
    settings = Settings(input, output, **{name: each.value for name, each in chosen.items()})
    if show_config:
        show(*as_yaml(chosen).split("\n"))
        return
    refuse_missing_codec(settings.codec)
    from vqe_cli.cli.enhance_run import join_finished, run, show_plan
    from vqe_cli.runs.tree import refuse_folder_options

    # Variables and files hold for many runs, so that there they may wait for a folder.
    variables = from_variables(ctx)
    refuse_folder_options(settings, {n for n, v in given.items() if v is not None and n not in variables})
    if str(json_file) == "-" and settings.output == STDOUT and not dry_run:
        raise SettingsError("--json - and the output - are both standard output.", "Name a file for one.")
    check_target(json_file)
    if finish:
        join_finished(settings, json_file)
    elif dry_run:
        show_plan(settings, json_file)
    else:
        run(settings, json_file, "json" if progress == "json" else "quiet" if quiet else "auto", watch)


def refuse_missing_codec(codec: str | None) -> None:
    """Raises VqeError for an encoder that is not there, before PyTorch is loaded, which takes longer."""
    if codec is not None:
        from vqe_cli.video.encoders import check_codec

        check_codec(codec)
