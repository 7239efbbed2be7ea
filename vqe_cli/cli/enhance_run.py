"""What `vqe enhance` does when its options are read: a run or a dry run, of a file or of a folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqe_cli.cli.console import say, show, write_json
from vqe_cli.cli.display import Display, enhance_tree, plan_lines, show_tree, summary_line
from vqe_cli.cli.progress_json import JsonDisplay
from vqe_cli.errors import SettingsError
from vqe_cli.runs.finish import finish
from vqe_cli.runs.journal import is_begun, work_folder
from vqe_cli.runs.plan import plan
from vqe_cli.runs.run import Restorer
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.tree import is_tree
from vqe_cli.text import command_line
from vqe_cli.video.pipes import STDOUT
from vqe_cli.video.targets import target_of


def run(settings: Settings, json_file: Path | None, progress: str, watched: bool = False) -> None:
    """Enhance a file or a folder, show how it goes on and what came of it.

    progress: "auto", "quiet" or "json". watched: of a folder, go on with videos that arrive, until Ctrl-C.
    """
    if watched:
        if not settings.input.is_dir():
            raise SettingsError(
                f"--watch is for folders, and {settings.input} is not one.", "Name a folder, or leave it out."
            )
        if progress == "auto":
            say(f"{settings.input} is watched; Ctrl-C ends it")
        enhance_tree(settings, json_file, progress, watched)
        return
    if is_tree(settings):
        enhance_tree(settings, json_file, progress)
        return
    display = JsonDisplay(str(settings.input)) if progress == "json" else Display(progress == "quiet")
    with going_on(settings), display, Restorer() as restorer:
        report = restorer.enhance(settings, display.listen)
    if isinstance(display, JsonDisplay):
        display.done(report)
    elif progress != "quiet":
        say(summary_line(report))
    if json_file:
        write_json(report.as_dict(), json_file)


@contextmanager
def going_on(settings: Settings) -> Iterator[None]:
    """Says after Ctrl-C how to go on, where something is finished."""
    try:
        yield
    except KeyboardInterrupt:
        if settings.output == STDOUT:
            raise
        folder = work_folder(target_of(settings.output).path)
        if is_begun(folder):
            again = command_line(["vqe", *(word for word in sys.argv[1:] if word != "--restart")])
            say(f"what is finished is kept in {folder}; to go on: {again}")
            say(f"to join it into a file that can be played: {again} --finish")
        raise


def join_finished(settings: Settings, json_file: Path | None) -> None:
    """Join what is finished of an interrupted run, and say what came of it."""
    if is_tree(settings):
        raise SettingsError("--finish is for one video.", "Name a file of the folder, and its output.")
    joined = finish(settings)
    for warning in joined.warnings:
        say(f"warning: {warning}")
    of = f" of {joined.total}" if joined.total else ""
    say(f"{joined.output}: {joined.frames}{of} frames; without --finish the same command goes on")
    if json_file:
        write_json({"output": str(joined.output), "frames": joined.frames, "total": joined.total}, json_file)


def show_plan(settings: Settings, json_file: Path | None) -> None:
    """Print what would be done; nothing is written but the report."""
    if is_tree(settings):
        show_tree(settings, json_file)
        return
    found = plan(settings)
    if str(json_file) != "-":
        show(*plan_lines(found))
    if json_file:
        write_json(found.as_dict(), json_file)
