"""The files that an evaluation writes: checked before the work, written whole after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from vqe_cli.errors import OutputError
from vqe_cli.files import write_bytes, write_text
from vqe_cli.measure import tables
from vqe_cli.measure.curves import CurveResult, curves
from vqe_cli.measure.drawing import to_svg
from vqe_cli.measure.plot import plot
from vqe_cli.measure.report import html
from vqe_cli.measure.result import Outcome, PairResult
from vqe_cli.measure.sheet import Shown, most_changed, sheet, sheet_pixels
from vqe_cli.video.image_writer import png

DRAWINGS = (".png", ".svg")
PAGES = (".html", ".htm")
# Rows of crops on a sheet and in a report: what a person looks through, and what can be mailed (about 1 MiB).
ROWS = 8
PNG_SCALE = 2  # Pixels of a plot as PNG for a pixel of the SVG.


def check(plot: Path | None, compare: Path | None, report: Path | None, overwrite: bool) -> list[Path]:
    """The paths that are wanted.

    Raises OutputError for a wrong suffix, a path that exists, a folder that does not, and a plot as PNG
    where no library for it is installed.
    """
    wanted: list[Path] = []
    for path, suffixes in ((plot, DRAWINGS), (compare, DRAWINGS), (report, PAGES)):
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise OutputError(
                f"{path} does not end in {' or '.join(suffixes)}.", "The suffix chooses the format."
            )
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists.", "Choose another name or give --overwrite.")
        if not path.parent.is_dir():
            raise OutputError(f"The folder {path.parent} does not exist.", "Make it first.")
        if path in wanted:
            raise OutputError(f"{path} is named twice.", "Give each file a name of its own.")
        wanted.append(path)
    if plot is not None and plot.suffix.lower() == ".png":
        svg_renderer(plot)
    return wanted


def svg_renderer(path: Path) -> ModuleType:
    """CairoSVG, which turns a plot into PNG. Raises OutputError that names `path` where it cannot be used."""
    try:
        import cairosvg
    except (ImportError, OSError) as error:  # OSError: the package is there and the Cairo library is not
        raise OutputError(
            f"{path}: a plot as PNG needs CairoSVG, the extra vqe[png], which is not usable here ({error}).",
            "End the name in .svg, or install the extra with `pip install '.[png]'`.",
        ) from error
    return cairosvg


def crops_each(videos: int) -> int:
    """How many crops to keep of each of so many videos."""
    return max(1, min(4, -(-ROWS // max(videos, 1))))


@dataclass(frozen=True)
class Results:
    """All outcomes of an evaluation with what is derived from them. asked: the command, for the report."""

    outcomes: Sequence[Outcome]
    metrics: Sequence[str]
    asked: str = ""
    several_rates: bool = False

    @cached_property
    def measured(self) -> list[PairResult]:
        """The videos that could be measured."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, PairResult)]

    @cached_property
    def curves(self) -> list[CurveResult]:
        """Bjøntegaard deltas, where several rate points with inputs were given."""
        return curves(self.measured, self.metrics) if self.several_rates else []

    @property
    def tables(self) -> list[tables.Table]:
        """What people read: the summary, the first metric over time, and rate curves."""
        shown = [tables.summary(self.outcomes, self.metrics)]
        if self.measured:
            shown.append(tables.over_time(self.outcomes, self.metrics[0]))
        if self.curves:
            shown.append(tables.curve_table(self.curves))
        return shown

    @property
    def crops(self) -> list[Shown]:
        """The crops of the frames that changed most."""
        return most_changed(self.measured, ROWS)

    def write(
        self, plot_path: Path | None, compare_path: Path | None, report_path: Path | None
    ) -> list[Path]:
        """Write the files that are asked for and say which were written; none when nothing could be measured.

        Raises VqeError when a file cannot be written.
        """
        written = []
        if plot_path is not None and self.measured:
            self._write_plot(plot_path)
            written.append(plot_path)
        if compare_path is not None and self.measured:
            self._write_sheet(compare_path)
            written.append(compare_path)
        if report_path is not None:
            page = html(self.outcomes, self.metrics, self.curves, self.crops, self.asked)
            write_text(report_path, page)
            written.append(report_path)
        return written

    def _write_plot(self, path: Path) -> None:
        svg = to_svg(plot(self.measured, self.metrics[0]), f"{self.metrics[0]} per frame")
        if path.suffix.lower() == ".svg":
            write_text(path, svg)
        else:
            write_bytes(path, svg_renderer(path).svg2png(bytestring=svg.encode(), scale=PNG_SCALE))

    def _write_sheet(self, path: Path) -> None:
        if path.suffix.lower() == ".svg":
            write_text(path, to_svg(sheet(self.crops), "crops of input, output and truth"))
        else:
            write_bytes(path, png(sheet_pixels(self.crops), smallest=True))
