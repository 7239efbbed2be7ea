"""`vqe ensemble`: several results, or several pipelines on one input, become one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqe_cli.cli.console import check_target, say, show, write_json
from vqe_cli.cli.options import Debug, JsonFile, Quiet, key_values, setting
from vqe_cli.errors import VqeError, unexpected
from vqe_cli.runs.settings import Settings

if TYPE_CHECKING:
    from vqe_cli.ensemble.fitting import Fit
    from vqe_cli.ensemble.jobs import Job
    from vqe_cli.restore.ensemble import LoadedEnsemble
    from vqe_cli.weights.ensembles import Fusion


EXAMPLE = "Example: vqe ensemble a.mkv b.mkv --out fused.mkv --weights 0.6,0.4"
METHOD, NETWORK, FITTED, WRITTEN = "Method", "Pipelines on one input", "Fitting", "Written video"
# Settings of `enhance` that serve here, too.
SHARED = (
    "scale",
    "tta",
    "stages",
    "device",
    "precision",
    "engine",
    "codec",
    "crf",
    "pix_fmt",
    "frames",
    "overwrite",
)


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
    engine: Annotated[str | None, setting("engine", "What computes the networks.", NETWORK)] = None,
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


def loaded_members(names: list[str], fusion: "Fusion", settings: Settings) -> "LoadedEnsemble":
    """The pipelines of `--models`."""
    from vqe_cli.restore.ensemble import load_ensemble
    from vqe_cli.weights.ensembles import Ensemble

    ensemble = Ensemble(f"{fusion.method} of {', '.join(names)}", tuple(names), fusion)
    return load_ensemble(ensemble, settings.networks)


def fuse_all(
    jobs: "list[Job]",
    fusion: "Fusion",
    settings: Settings,
    loaded: "LoadedEnsemble | None",
    quiet: bool,
) -> list[dict[str, Any]]:
    """Fuse every clip and give the reports; of several clips a bad one does not stop the rest.

    Raises VqeError when one failed.
    """
    if jobs[0].output != settings.output:
        make_folder(settings.output)
    fuse = fuse_pipelines(loaded, settings, quiet) if loaded else fuse_files(fusion, settings, quiet)
    reports: list[dict[str, Any]] = []
    failed = []
    for job in jobs:
        try:
            reports.append(fuse(job))
        except Exception as error:  # whatever is wrong with a clip, the others are fused
            if len(jobs) == 1:
                raise
            failed.append(job.name)
            say(f"{job.name}: {unexpected(error, 'Fuse this clip by itself')}")
    if failed:
        raise VqeError(
            f"{len(failed)} of {len(jobs)} clips failed: {', '.join(failed)}.", "The lines above say why."
        )
    return reports


def fuse_pipelines(
    loaded: "LoadedEnsemble", settings: Settings, quiet: bool
) -> "Callable[[Job], dict[str, Any]]":
    """What runs the pipelines on a clip and writes the result."""
    from vqe_cli.cli.display import Display, summary_line
    from vqe_cli.runs.run import enhance_by

    def fuse(job: "Job") -> dict[str, Any]:
        assert job.output is not None
        chosen = replace(settings, input=job.members[0], output=job.output)
        with Display(quiet) as display:
            report = enhance_by(loaded, chosen, display.listen)
        if not quiet:
            say(summary_line(report))
        return report.as_dict()

    return fuse


def fuse_files(fusion: "Fusion", settings: Settings, quiet: bool) -> "Callable[[Job], dict[str, Any]]":
    """What fuses finished results and writes them."""
    from vqe_cli.cli.display import Display
    from vqe_cli.ensemble.results import Results, Writing, fuse_results
    from vqe_cli.restore.device import choose
    from vqe_cli.restore.ensemble import load_mask
    from vqe_cli.runs.report import Notice, Progress

    mask = (
        load_mask(fusion.gate, choose(settings.device, settings.precision, settings.engine))
        if fusion.gate
        else None
    )
    options = settings.encoder_options
    writing = Writing(settings.codec, settings.crf, settings.pix_fmt, options, settings.overwrite)

    def fuse(job: "Job") -> dict[str, Any]:
        assert job.output is not None
        clip = Results(job.members, job.given, settings.frames)
        with Display(quiet) as display:
            report = fuse_results(
                clip, job.output, fusion, writing, mask, lambda n, of: display.listen(Progress(n, of))
            )
            for text in report.warnings:
                display.listen(Notice(text))
        if not quiet:
            say(f"{report.output}: {report.frames} frames, {report.method}, {report.wall_s:.1f} s")
        return report.as_dict()

    return fuse


def make_folder(folder: Path) -> None:
    """The folder for the results of several clips."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VqeError(f"cannot make the folder {folder} ({error.strerror}).", "Choose another.") from error


def fitted(
    names: list[str], jobs: "list[Job]", settings: Settings, loaded: "LoadedEnsemble | None", quiet: bool
) -> "Fit":
    """The best weights on all clips."""
    from vqe_cli.ensemble.fitting import errors_of_results, fit
    from vqe_cli.ensemble.results import Results
    from vqe_cli.runs.run import errors_of_pipelines

    clips = []
    for job in jobs:
        assert job.truth is not None
        if loaded is not None:
            chosen = replace(settings, input=job.members[0])
            clips.append(errors_of_pipelines(job.name, chosen, loaded, job.truth))
        else:
            clip = Results(job.members, job.given, settings.frames)
            clips.append(errors_of_results(job.name, clip, job.truth))
        if not quiet:
            say(f"{job.name}: {len(clips[-1].products)} frames")
    return fit(names, clips)


def show_fit(report: dict[str, Any]) -> None:
    """Weights, PSNRs and gains as lines."""
    show(*(f"{row['member']}: weight {row['weight']:.4f}, {row['psnr']:.3f} dB" for row in report["members"]))
    lines = [f"mean of all: {report['psnr_mean']:.3f} dB", f"fitted: {report['psnr_fitted']:.3f} dB"]
    gain, worst = report["gain_over_best_db"], report["worst_clip_over_best_db"]
    lines.append(
        f"gain over the better member, {report['best_member']}: {gain:+.3f} dB, worst clip {worst:+.3f}"
    )
    if report["gain_over_input_db"] is not None:
        lines.append(f"gain over the input: {report['gain_over_input_db']:+.3f} dB")
    shares = ", ".join(f"{row['weight']:.4f}" for row in report["members"])
    show(*lines, f"for weights.toml: weights = [{shares}]")
