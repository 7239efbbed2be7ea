"""The runs of `vqe ensemble`: clip by clip, with what is shown of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqe_cli.cli.console import say, show
from vqe_cli.cli.display import Display, summary_line
from vqe_cli.ensemble.fitting import ClipErrors, Fit, errors_of_results, fit
from vqe_cli.ensemble.jobs import Job
from vqe_cli.ensemble.results import Results, Writing, fuse_results
from vqe_cli.errors import VqeError, unexpected
from vqe_cli.restore.device import choose
from vqe_cli.restore.ensemble import LoadedEnsemble, load_ensemble, load_mask
from vqe_cli.runs.members import enhance_by, errors_of_pipelines
from vqe_cli.runs.report import Notice, Progress
from vqe_cli.runs.settings import Settings
from vqe_cli.weights.ensembles import Ensemble, Fusion


def loaded_members(names: list[str], fusion: Fusion, settings: Settings) -> LoadedEnsemble:
    """The pipelines of `--models`."""
    ensemble = Ensemble(f"{fusion.method} of {', '.join(names)}", tuple(names), fusion)
    return load_ensemble(ensemble, settings.networks)


def fuse_all(
    jobs: list[Job],
    fusion: Fusion,
    settings: Settings,
    loaded: LoadedEnsemble | None,
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
    loaded: LoadedEnsemble, settings: Settings, quiet: bool
) -> Callable[[Job], dict[str, Any]]:
    """What runs the pipelines on a clip and writes the result."""

    def fuse(job: Job) -> dict[str, Any]:
        assert job.output is not None
        chosen = replace(settings, input=job.members[0], output=job.output)
        with Display(quiet) as display:
            report = enhance_by(loaded, chosen, display.listen)
        if not quiet:
            say(summary_line(report))
        return report.as_dict()

    return fuse


def fuse_files(fusion: Fusion, settings: Settings, quiet: bool) -> Callable[[Job], dict[str, Any]]:
    """What fuses finished results and writes them."""
    mask = load_mask(fusion.gate, choose(settings.device, settings.precision)) if fusion.gate else None
    options = settings.encoder_options
    writing = Writing(settings.codec, settings.crf, settings.pix_fmt, options, settings.overwrite)

    def fuse(job: Job) -> dict[str, Any]:
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
    names: list[str], jobs: list[Job], settings: Settings, loaded: LoadedEnsemble | None, quiet: bool
) -> Fit:
    """The best weights on all clips."""
    clips: list[ClipErrors] = []
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
