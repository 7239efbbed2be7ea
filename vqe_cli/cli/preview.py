"""`vqe preview INPUT`: a few moments before and after, and what the whole file would take."""

from pathlib import Path
from typing import Annotated

import typer

from vqe_cli.cli.console import messages, say, show
from vqe_cli.cli.options import Debug, Quiet, complete_pipelines
from vqe_cli.text import printable, seconds_of

EXAMPLE = "Example: vqe preview in.mkv --at 1:30 --at 12:05 --model fast,balanced"


def times_of(values: list[str]) -> list[float]:
    """Times as seconds; raises BadParameter for what is none."""
    try:
        return [seconds_of(value) for value in values]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def preview_command(
    input: Annotated[Path, typer.Argument(help="A video.")],
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="A moment, 90 or 1:30; repeatable (default: three, most compressed).", metavar="TIME"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Pipelines to compare, with commas between.",
            metavar="NAME,NAME",
            autocompletion=complete_pipelines,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A page (.html), or a picture (.png).", metavar="FILE")
    ] = Path("preview.html"),
    scale: Annotated[int, typer.Option(help="Size over that of the input.", metavar="1|2|4")] = 1,
    device: Annotated[str, typer.Option(help="As for `vqe enhance`.")] = "auto",
    deinterlace: Annotated[
        str | None, typer.Option(help="As for `vqe enhance`.", metavar="single|double")
    ] = None,
    detelecine: Annotated[bool, typer.Option("--detelecine", help="As for `vqe enhance`.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
    quiet: Quiet = None,
    debug: Debug = False,
) -> None:
    """Show moments of a video before and after, and what the whole would take on this machine."""
    times = times_of(at or [])
    names = [name.strip() or None for name in (model or "").split(",")]
    from vqe_cli.runs.preview import preview
    from vqe_cli.runs.preview_page import check_output, cost_words, write
    from vqe_cli.runs.settings import Settings

    check_output(output, overwrite)
    with messages().status(printable(f"looking at {input}")) as status:
        settings = Settings(
            *(input, output), scale=scale, device=device, deinterlace=deinterlace, detelecine=detelecine
        )
        found = preview(settings, names, times, lambda step: status.update(printable(step)))
        write(found, output)
    for warning in found.warnings:
        say(f"warning: {warning}")
    if not quiet:
        for cost in found.costs:
            show(f"{cost.model}: the whole file takes {cost_words(cost)} on {cost.device}")
        show(f"moments before and after: {output}")
