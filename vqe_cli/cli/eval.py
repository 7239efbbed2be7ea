"""`vqe eval`: the options, the batch, and its results as tables, JSON, plots, crops and a report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqe_cli.cli.console import messages, plain_column, results, say, show
from vqe_cli.cli.options import Debug
from vqe_cli.text import command_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from vqe_cli.measure.batch import Task
    from vqe_cli.measure.report import Results
    from vqe_cli.measure.result import Options, Outcome
    from vqe_cli.measure.tables import Table
    from vqe_cli.video.reader import RawLayout

FORMATS = ("table", "json", "csv", "md")
UNBOUNDED = 10_000  # Columns; a table asks for what it needs.
SIDES, WHAT, RAW, WRITTEN = "Videos", "What is measured", "Raw .yuv", "Written files"


def eval_command(
    pred: Annotated[
        list[Path],
        typer.Option(
            "--pred",
            metavar="PATH",
            help="The output to judge; repeat for several QPs.",
            rich_help_panel=SIDES,
        ),
    ],
    gt: Annotated[
        Path | None,
        typer.Option("--gt", metavar="PATH", help="The truth: a video or a folder.", rich_help_panel=SIDES),
    ] = None,
    lq: Annotated[
        list[Path] | None,
        typer.Option(
            "--lq",
            metavar="PATH",
            help="The input it was made from: adds gains; without --gt what changed is measured.",
            rich_help_panel=SIDES,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Of psnr[-y|-u|-v|-yuv|-rgb-float], ssim[-y], ms-ssim[-y], xpsnr, vif, ssim-ffmpeg, "
            "vmaf[-neg|-v1|-v1-phone|-v1-4k|-v1-hfr], cambi, blockiness, clipped, changed, flicker, "
            "ssimulacra2, cvvdp, lpips, fid, kid, vid.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Only each N-th frame.", rich_help_panel=WHAT)] = 1,
    offset: Annotated[
        int,
        typer.Option(
            min=0, help="The first of them, from 0; --every 10 --offset 9 is NTIRE's.", rich_help_panel=WHAT
        ),
    ] = 0,
    crop: Annotated[
        int, typer.Option(min=0, help="Pixels to leave out at each border.", rich_help_panel=WHAT)
    ] = 0,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Only the first frames of each video.", rich_help_panel=WHAT)
    ] = None,
    lpips_weights: Annotated[
        Path | None,
        typer.Option(
            envvar="VQE_LPIPS_WEIGHTS",
            metavar="FILE",
            help="AlexNet's weights for lpips.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    fid_network: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TorchScript network for fid and kid.", rich_help_panel=WHAT),
    ] = None,
    vid_network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same for vid.", rich_help_panel=WHAT)
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size of raw .yuv files.", rich_help_panel=RAW)
    ] = None,
    pix_fmt: Annotated[str, typer.Option(help="Their pixel format.", rich_help_panel=RAW)] = "yuv420p",
    fps: Annotated[
        float, typer.Option(min=0.001, help="Their frames per second.", rich_help_panel=RAW)
    ] = 25.0,
    format: Annotated[
        str,
        typer.Option(
            metavar="|".join(FORMATS), help="How results are written to stdout.", rich_help_panel=WRITTEN
        ),
    ] = "table",
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg", help="Quality of every frame, PQFs marked.", rich_help_panel=WRITTEN
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|svg",
            help="Crops side by side where most changed (captions in SVG).",
            rich_help_panel=WRITTEN,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="All of it on one page.", rich_help_panel=WRITTEN)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files.", rich_help_panel=WRITTEN)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no warnings.")] = False,
    debug: Debug = False,
) -> None:
    """Measure videos against their truth, or against their input: did they get better, by how much, where.

    Means are over frames, then over videos, as NTIRE's. Frames pair by index, folders by stem.

    Exit code 1 when any pair could not be measured.
    """
    if format not in FORMATS:
        raise typer.BadParameter(f"{format!r} is not one of {', '.join(FORMATS)}", param_hint="--format")
    from vqe_cli.measure import report as reports
    from vqe_cli.measure.batch import plan_tasks
    from vqe_cli.measure.metrics import Setup, check_available, parse
    from vqe_cli.measure.result import Failure, Options, PairResult
    from vqe_cli.measure.sets import SET_METRICS, check_sets

    wanted = reports.check(plot, compare, report, overwrite)
    asked = parse(metrics) if metrics is not None else _default_metrics(gt is not None, quiet)
    sets = tuple(name for name in asked if name in SET_METRICS)
    names = tuple(name for name in asked if name not in SET_METRICS) or ("psnr",)
    check_available(names, Setup(lpips_weights=lpips_weights))
    if sets and gt is None:
        raise typer.BadParameter(f"{sets[0]} is a distance from the truth", param_hint="--gt")
    check_sets(sets, every, fid_network, vid_network)
    tasks, failures = plan_tasks(gt, pred, lq or [])
    crops = reports.crops_each(len(tasks)) if compare in wanted or report in wanted else 0
    options = Options(
        every,
        offset,
        crop,
        max_frames,
        _raw_layout(size, pix_fmt, fps),
        lpips_weights,
        sets,
        fid_network,
        vid_network,
        crops,
    )
    outcomes: list[Outcome] = [*_measured(tasks, names, options, quiet), *failures]
    if len(outcomes) == 1 and isinstance(outcomes[0], Failure):
        raise outcomes[0].error
    _warn(outcomes, quiet)
    command = command_line(["vqe", *sys.argv[1:]])
    made = reports.Results(outcomes, names, command, several_rates=len(pred) > 1, options=options)
    _show(made, format)
    for path in made.write(plot, compare, report):
        say(f"wrote {path}")
    if not all(isinstance(outcome, PairResult) for outcome in outcomes):
        raise typer.Exit(1)


def _default_metrics(truth: bool, quiet: bool) -> tuple[str, ...]:
    """What is measured when nothing is named; without a truth also banding, where there is a libvmaf."""
    from vqe_cli.errors import VqeError
    from vqe_cli.measure.metrics import CHANGE_METRICS, DEFAULT_METRICS, Setup, check_available

    if truth:
        return DEFAULT_METRICS
    try:
        check_available(["cambi"], Setup())
    except VqeError as error:
        if not quiet:
            say(f"warning: banding (cambi) is left out: {error}")
        return CHANGE_METRICS
    return (*CHANGE_METRICS, "cambi")


def _measured(
    tasks: "Sequence[Task]", names: Sequence[str], options: "Options", quiet: bool
) -> "Iterator[Outcome]":
    """The outcomes one by one, with a progress bar on a terminal and a line for each video otherwise."""
    from vqe_cli.measure.batch import compare_all
    from vqe_cli.measure.tables import brief

    console = messages()
    if quiet or not console.is_terminal:
        for number, outcome in enumerate(compare_all(tasks, names, options), 1):
            if not quiet:
                say(f"[{number}/{len(tasks)}] {brief(outcome, names[0])}")
            yield outcome
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (plain_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        whole = bar.add_task("measuring", total=len(tasks))

        def show(task: "Task", frames: int) -> None:
            bar.update(whole, description=printable(f"{task.pair.name}: frame {frames}"))

        for outcome in compare_all(tasks, names, options, show):
            bar.advance(whole)
            yield outcome


def _warn(outcomes: "Sequence[Outcome]", quiet: bool) -> None:
    """Say on stderr which pairs failed, always, and what casts doubt on the others."""
    from vqe_cli.measure.result import Failure
    from vqe_cli.measure.tables import title

    for outcome in outcomes:
        if isinstance(outcome, Failure):
            say(f"error: {title(outcome)}: {outcome.error}")
        elif not quiet:
            for warning in outcome.warnings:
                say(f"warning: {title(outcome)}: {warning}")


def _show(made: "Results", format: str) -> None:
    """Write the results to stdout."""
    from vqe_cli.cli.console import write_json
    from vqe_cli.measure import tables

    if format == "json":
        write_json(tables.to_json(made.outcomes, made.metrics, made.curves, made.distances), Path("-"))
    elif format == "csv":
        show(*tables.to_csv(made.outcomes, made.metrics).split("\n")[:-1])
    elif format == "md":
        show(*"\n".join(tables.to_markdown(table) for table in made.tables).split("\n")[:-1])
    else:
        for table in made.tables:
            _print_table(table)


def _print_table(table: "Table") -> None:
    """One table for people. No number is cut: headings break first, and what is still too wide runs on."""
    from rich import box
    from rich.table import Table as RichTable

    console = results()
    shown = RichTable(
        title=table.title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for index, column in enumerate(table.columns):
        widest = max((len(row[index]) for row in table.rows), default=0)
        shown.add_column(column, justify="right" if index else "left", min_width=widest)
    for index, row in enumerate(table.rows):
        mean = table.last_is_mean and row[0].startswith("mean of ")
        if mean and index and not table.rows[index - 1][0].startswith("mean of "):
            shown.add_section()
        shown.add_row(*[_coloured(column, cell) for column, cell in zip(table.columns, row, strict=True)])
    available, console.width = console.width, UNBOUNDED
    needed = console.measure(shown)
    fits = console.is_terminal and needed.minimum < available
    console.width = available if fits else needed.maximum + 1
    console.print(shown, crop=False)
    show(*table.notes)


def _coloured(column: str, cell: str) -> "Text":
    """A cell; gains green or red where colour is on (their sign says it, too)."""
    from rich.text import Text

    from vqe_cli.measure.tables import gained

    better = gained(column, cell)
    return Text(printable(cell), style="" if better is None else "green" if better else "red")


def _raw_layout(size: str | None, pix_fmt: str, fps: float) -> "RawLayout | None":
    """How raw .yuv files are laid out, None where --size was not given."""
    from vqe_cli.video.reader import RawLayout

    if size is None:
        return None
    width, _, height = size.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise typer.BadParameter(f"{size!r} is not WIDTHxHEIGHT", param_hint="--size")
    return RawLayout(int(width), int(height), pix_fmt, fps)
