"""`vqe enhance IN_DIR OUT_DIR`: what is shown while a folder is enhanced, and of it in the end."""

import sys
from pathlib import Path

import typer
from rich.table import Table

from vqe_cli.cli.console import messages, say, show, write_lines
from vqe_cli.cli.display import Display, summary_line
from vqe_cli.cli.plan_lines import written_line
from vqe_cli.runs.folder import FileJob, Started, enhance_folder, scan
from vqe_cli.runs.manifest import Outcome
from vqe_cli.runs.settings import Settings
from vqe_cli.text import command_line, printable


class FolderDisplay(Display):
    """A bar of files above that of frames; without a terminal, a line for each file."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.outcomes: list[Outcome] = []
        self._files = self._bar.add_task("files", total=None, of="?", unit="files")

    def watch(self, event: Started | Outcome) -> None:
        """Show which file begins, and what came of it."""
        if isinstance(event, Started):
            self._bar.update(self._files, total=event.of, of=event.of)
            if not self._quiet:
                self._line(f"[{event.number}/{event.of}] {event.job.settings.input}")
            return
        self.outcomes.append(event)
        self._bar.update(self._files, completed=len(self.outcomes))
        if event.status == "failed":
            self._line(f"error: {event.input}: {event.error} {event.remedy}".rstrip())
        elif event.report is not None and not self._quiet:
            self._line(summary_line(event.report))


def enhance_tree(settings: Settings, json_file: Path | None, quiet: bool) -> None:
    """Enhance all videos of the folder; ends the command with exit code 1 where one failed.

    Raises VqeError for what concerns all of them.
    """
    with FolderDisplay(quiet) as display:
        try:
            outcomes = enhance_folder(settings, display.listen, display.watch)
        except BaseException as error:
            if json_file and display.outcomes:
                write_lines((outcome.as_dict() for outcome in display.outcomes), json_file)
            if isinstance(error, KeyboardInterrupt):
                again = command_line(["vqe", *sys.argv[1:]])
                say(f"{count_line(display.outcomes)}; the same command goes on: {again}")
            raise
    if not quiet:
        messages().print(outcome_table(outcomes))
        say(count_line(outcomes))
    if json_file:
        write_lines((outcome.as_dict() for outcome in outcomes), json_file)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def show_tree(settings: Settings, json_file: Path | None) -> None:
    """Print what would be done with each video of the folder; exit code 1 where one cannot be enhanced."""
    jobs = scan(settings)
    if str(json_file) != "-":
        for job in jobs:
            show(job_line(job))
    if json_file:
        write_lines((job_document(job) for job in jobs), json_file)
    if any(job.outcome is not None and job.outcome.status == "failed" for job in jobs):
        raise typer.Exit(1)


def job_line(job: FileJob) -> str:
    """One file of a dry run."""
    if job.outcome is None:
        assert job.plan is not None
        return f"{job.input} -> {job.output}: {written_line(job.plan)}"
    if job.outcome.status == "skipped":
        return f"{job.input} -> {job.output}: is done"
    return f"{job.input}: error: {job.outcome.error} {job.outcome.remedy}".rstrip()


def job_document(job: FileJob) -> dict[str, object]:
    """One file of a dry run, for JSON."""
    if job.outcome is not None:
        return job.outcome.as_dict()
    assert job.plan is not None
    return {"input": job.input, "output": job.output, "status": "planned", "forecast": job.plan.as_dict()}


def outcome_table(outcomes: list[Outcome]) -> Table:
    """A row for each file: state, frames, speed, name or what went wrong with it."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for name in ("state", "frames", "fps"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for outcome in outcomes:
        report = outcome.report
        numbers = (str(report.frames), f"{report.fps:.1f}") if report is not None else ("", "")
        shown = outcome.output if outcome.status != "failed" else f"{outcome.input}: {outcome.error}"
        table.add_row(outcome.status, *numbers, printable(shown))
    return table


def count_line(outcomes: list[Outcome]) -> str:
    """How many files came to which end."""
    counts = {
        state: sum(each.status == state for each in outcomes) for state in ("done", "skipped", "failed")
    }
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "done")
