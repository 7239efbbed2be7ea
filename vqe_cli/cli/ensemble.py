"""`vqe ensemble`: several results, or several pipelines on one input, become one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vqe_cli.cli.console import check_target, write_json
from vqe_cli.cli.options import Debug, JsonFile, Quiet, key_values, setting
from vqe_cli.errors import VqeError
from vqe_cli.runs.settings import Settings

EXAMPLE = "Example: vqe ensemble a.mkv b.mkv --out fused.mkv --weights 0.6,0.4"
METHOD, NETWORK, FITTED, WRITTEN = "Method", "Pipelines on one input", "Fitting", "Written video"
# Settings of `enhance` that serve here, too.
SHARED = ("scale", "tta", "stages", "device", "precision", "codec", "crf", "pix_fmt", "frames", "overwrite")


def ensemble_command(
    ctx: typer.Context,
    members: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[A B ...]", show_default=False, help="Results of one input, or folders of them."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", show_default=False, help="What to write, as for enhance.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="mean, weighted, gated, adaptive or guard (default: mean).",
            rich_help_panel=METHOD,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W,W,...", show_default=False, help="One for each member.", rich_help_panel=METHOD
        ),
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Mask network for gated.", rich_help_panel=METHOD
        ),
    ] = None,
    limit: Annotated[
        float, typer.Option(metavar="DB", help="guard: least PSNR against input.", rich_help_panel=METHOD)
    ] = 30.0,
    segment: Annotated[
        int,
        typer.Option(metavar="N", help="guard: frames judged together; 0 is all.", rich_help_panel=METHOD),
    ] = 24,
    lq: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Input of the results.", rich_help_panel=METHOD
        ),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Run pipelines on this.", rich_help_panel=NETWORK
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", show_default=False, help="The pipelines.", rich_help_panel=NETWORK),
    ] = None,
    scale: Annotated[int | None, setting("scale", "Output size over input size.", NETWORK)] = None,
    stages: Annotated[str | None, setting("stages", "Which stages run.", NETWORK)] = None,
    tta: Annotated[
        int | None,
        setting("tta", "Flips and rotations that are averaged (default: the pipeline's).", NETWORK),
    ] = None,
    device: Annotated[
        str | None, setting("device", "Where to compute.", NETWORK, metavar="auto|cpu|cuda[:n]|mps")
    ] = None,
    precision: Annotated[str | None, setting("precision", "Arithmetic of the networks.", NETWORK)] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Print the best weights; write nothing.", rich_help_panel=FITTED)
    ] = False,
    gt: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", show_default=False, help="The truth, paired by name.", rich_help_panel=FITTED
        ),
    ] = None,
    codec: Annotated[str | None, setting("codec", "libx265, ffv1, ... (default: libx265).", WRITTEN)] = None,
    crf: Annotated[float | None, setting("crf", "Quality, lower is better.", WRITTEN)] = None,
    pix_fmt: Annotated[
        str | None, setting("pix_fmt", "Pixel format (default: the members').", WRITTEN)
    ] = None,
    encoder_options: Annotated[
        list[str] | None,
        setting(
            "encoder_options",
            "Option of the encoder.",
            WRITTEN,
            "-e",
            "--encoder-option",
            metavar="KEY=VALUE",
        ),
    ] = None,
    frames: Annotated[int | None, setting("frames", "Only the first frames.", WRITTEN)] = None,
    overwrite: Annotated[
        bool | None,
        setting("overwrite", "Replace an existing output.", WRITTEN, "--overwrite/--no-overwrite"),
    ] = None,
    json_file: JsonFile = None,
    quiet: Quiet = None,
    debug: Debug = False,
) -> None:
    """Fuse results of one input (A B ...), or several pipelines on one --input.

    An ensemble that is wanted often is an entry [ensembles.NAME] of weights.toml for `vqe enhance --model
    NAME`. Where both are there, sound and other streams come from the first member or from the input.
    """
    check_usage(ctx.params)
    check_target(json_file)
    given = {name: ctx.params[name] for name in SHARED if ctx.params[name] is not None}
    if options := key_values(encoder_options):
        given["encoder_options"] = options
    settings = Settings(input or Path(), out or Path(), **given)

    from vqe_cli.cli.ensemble_runs import fitted, fuse_all, loaded_members, show_fit
    from vqe_cli.ensemble.jobs import jobs_of
    from vqe_cli.weights.ensembles import Fusion
    from vqe_cli.weights.registry import StageSpec

    names = models.split(",") if models else [str(path) for path in members or []]
    fusion = Fusion()
    if not fit:
        implied = "weighted" if weights else "gated" if gate else "mean"
        mask = StageSpec(str(gate.absolute())) if gate else None
        fusion = Fusion(method or implied, numbers(weights), mask, limit, segment)
    fusion.check(names)
    jobs = jobs_of([input] if input else members or [], lq, gt, out)
    loaded = loaded_members(names, fusion, settings) if input else None
    if fit:
        report: dict[str, Any] = fitted(names, jobs, settings, loaded, bool(quiet)).as_dict()
        if str(json_file) != "-":
            show_fit(report)
    else:
        found = fuse_all(jobs, fusion, settings, loaded, bool(quiet))
        report = found[0] if len(jobs) == 1 else {"clips": found}
    if json_file:
        write_json(report, json_file)


def check_usage(given: dict[str, Any]) -> None:
    """Raises BadParameter where the options contradict each other."""
    if (given["input"] is None) != (given["models"] is None):
        raise typer.BadParameter("--input and --models go together.")
    if given["input"] and (given["members"] or given["lq"]):
        raise typer.BadParameter("Name results (and --lq), or --input with --models, not both.")
    if given["fit"] != (given["gt"] is not None):
        raise typer.BadParameter("--fit and --gt go together.")
    if given["fit"] == (given["out"] is not None):
        raise typer.BadParameter("Give either --out, or --fit, which writes nothing.")
    if given["fit"] and (given["method"] or given["weights"] or given["gate"]):
        raise typer.BadParameter("--fit finds weights; leave out --method, --weights and --gate.")


def numbers(weights: str | None) -> tuple[float, ...]:
    """`0.6,0.4` as numbers. Raises VqeError for what is none."""
    try:
        return tuple(float(weight) for weight in weights.split(",")) if weights else ()
    except ValueError as error:
        raise VqeError(f"--weights {weights} is not a list of numbers.", "Write it like 0.6,0.4.") from error
