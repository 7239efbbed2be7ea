"""The files that an evaluation writes: plots, crops, and everything on one page of HTML.

The page is small enough to mail. All are checked before the work and written whole after it.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from types import ModuleType

import numpy as np

from vqe_cli import __version__
from vqe_cli.errors import OutputError
from vqe_cli.files import write_bytes, write_text
from vqe_cli.measure import tables
from vqe_cli.measure.bdrate import CurveResult, curves
from vqe_cli.measure.drawing import data_uri, to_svg
from vqe_cli.measure.pictures import Crop
from vqe_cli.measure.plots import Shown, most_changed, panel, plot, sheet, sheet_pixels
from vqe_cli.measure.result import EVERYTHING, Failure, Options, Outcome, PairResult
from vqe_cli.measure.sets import Distance, distances
from vqe_cli.measure.tables import (
    Table,
    blind,
    curve_table,
    distance_table,
    gained,
    over_time,
    shown_over_time,
    summary,
    title,
)
from vqe_cli.text import printable
from vqe_cli.video.images import jpeg, png

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
    options: Options = EVERYTHING

    @cached_property
    def measured(self) -> list[PairResult]:
        """The videos that could be measured."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, PairResult)]

    @cached_property
    def curves(self) -> list[CurveResult]:
        """Bjøntegaard deltas, where several rate points with inputs were given."""
        return curves(self.measured, self.metrics) if self.several_rates else []

    @cached_property
    def distances(self) -> list[Distance]:
        """Distances between the sets of all frames of each rate point."""
        networks = {"image": str(self.options.fid_network), "video": str(self.options.vid_network)}
        return [
            each
            for label in dict.fromkeys(result.label for result in self.measured)
            for each in distances(
                [result.features for result in self.measured if result.label == label],
                self.options.sets,
                label,
                networks,
            )
        ]

    @property
    def tables(self) -> list[tables.Table]:
        """What people read: the summary, the first metric over time, and rate curves."""
        shown = [tables.summary(self.outcomes, self.metrics)]
        if self.measured:
            shown += [
                tables.over_time(self.outcomes, name) for name in shown_over_time(self.outcomes, self.metrics)
            ]
        if self.curves:
            shown.append(tables.curve_table(self.curves))
        if self.distances:
            shown.append(tables.distance_table(self.distances))
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
            page = html(self)
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
            write_text(path, to_svg(sheet(self.crops), "crops where most changed"))
        else:
            write_bytes(path, png(sheet_pixels(self.crops), smallest=True))


STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 'DejaVu Sans', 'Segoe UI', 'Helvetica Neue', Arial, sans-serif; color: #1f2328;
  background: #fff; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.note { color: #656d76; font-size: .87rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem }
caption { text-align: left; font-weight: 600; padding: .6rem 0 .2rem }
th, td { padding: .3rem .75rem; text-align: right; border-bottom: 1px solid #e6e8eb; white-space: nowrap }
th { color: #656d76; font-weight: 600 } th:first-child, td:first-child { text-align: left }
tr.mean td { font-weight: 700; border-top: 2px solid #8b949e }
td.up { color: #1a7f37 } td.down { color: #cf222e }
svg { max-width: 100%; height: auto; border: 1px solid #e6e8eb; border-radius: 6px; margin: .4rem 0 }
.crops { display: grid; grid-template-columns: 180px repeat(3, 1fr); gap: .8rem; margin: 1.4rem 0;
  align-items: start }
.crops figure { margin: 0 } .crops img { width: 100%; display: block }
.crops .piece img { image-rendering: pixelated }
.crops .whole { position: relative } .crops .whole span { position: absolute; outline: 2px solid #ff3b30 }
.slider { margin: 1.4rem 0; max-width: 960px } .slider input { width: 100%; margin: .5rem 0 }
.slider .sides { position: relative; line-height: 0; overflow: hidden; touch-action: pan-y }
.slider img { width: 100%; user-select: none } .slider .before { position: absolute; inset: 0;
  clip-path: inset(0 calc(100% - var(--at, 50%)) 0 0) }
.slider .edge { position: absolute; top: 0; bottom: 0; left: var(--at, 50%); width: 1px; background: #fff;
  outline: 1px solid #1f2328 }
figcaption { font-size: .87rem; padding-top: .25rem }
ul.warnings li { margin: .2rem 0 }
"""

# Moves the edge between two pictures with the slider (keys included), and with a pointer held on them.
SCRIPT = """
for (const slider of document.querySelectorAll(".slider")) {
  const bar = slider.querySelector("input"), sides = slider.querySelector(".sides");
  const show = () => sides.style.setProperty("--at", bar.value + "%");
  const follow = event => {
    if (!event.buttons) return;
    const box = sides.getBoundingClientRect();
    bar.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  bar.addEventListener("input", show);
  sides.addEventListener("pointerdown", follow);
  sides.addEventListener("pointermove", follow);
  sides.addEventListener("dragstart", event => event.preventDefault());
  show();
}
"""
SLIDERS = 3  # on a page: their pictures are most of its bytes


def html(made: Results) -> str:
    """The page."""
    outcomes, metrics, results, shown = made.outcomes, made.metrics, made.measured, made.crops
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    timed = shown_over_time(outcomes, metrics)
    drawn = [name for name in timed if name == metrics[0] or blind(outcomes)]
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        f"<title>vqe eval: {len(results)} videos</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        "<h1>Quality report</h1>",
        f'<p class="note">vqe {__version__} · <code>{_text(made.asked)}</code></p>',
        _table(summary(outcomes, metrics)),
        _warnings(results, failures),
    ]
    if made.curves:
        parts += ["<h2>Rate and quality</h2>", _table(curve_table(made.curves))]
    if made.distances:
        parts += ["<h2>Sets of frames</h2>", _table(distance_table(made.distances))]
    if results:
        parts += [
            "<h2>Over time</h2>",
            *(_table(over_time(outcomes, name)) for name in timed),
            '<p class="note">n % low: only n % of the frames are worse. Deviation: standard deviation over '
            "frames. Peak-valley: how far the curve's peaks rise above the valleys between them. "
            "Input → output.</p>",
            *(
                to_svg(panel(result, name), f"{name} of {title(result)} over frames")
                for name in drawn
                for result in results
            ),
        ]
    if shown:
        parts += [
            "<h2>Where the picture changed most</h2>",
            *(_slider(result, crop) for result, crop in shown[:SLIDERS] if len(crop.sides) == 2),
            *(_crops(result, crop) for result, crop in shown),
            f"<script>{SCRIPT}</script>",
        ]
    return "\n".join([*parts, "</body>\n</html>\n"])


def _slider(result: PairResult, crop: Crop) -> str:
    """Two pictures, before to the left of an edge and after to its right, and the slider that moves it."""
    before, after = crop.sides
    images = [
        f'<img class="{kind}" src="{_jpeg_uri(crop.sides[name])}" alt="{name}"/>'
        for kind, name in (("after", after), ("before", before))
    ]
    return (
        f'<figure class="slider"><div class="sides">{"".join(images)}<span class="edge"></span></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="edge between {before} and {after}"/>'
        f"<figcaption><b>{_text(title(result))}</b>, frame {crop.frame}: {before} to the left of the edge, "
        f"{after} to its right</figcaption></figure>"
    )


def _jpeg_uri(pixels: np.ndarray) -> str:
    """A picture (h, w, 3) uint8 as a `data:` address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels)).decode()


def _text(words: object) -> str:
    """Words as HTML may hold them."""
    return escape(printable(words))


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in table.columns)
    lines = []
    for row in table.rows:
        kind = ' class="mean"' if table.last_is_mean and row[0].startswith("mean of ") else ""
        cells = "".join(
            f"<td{_direction(column, cell)}>{_text(cell)}</td>"
            for column, cell in zip(table.columns, row, strict=True)
        )
        lines.append(f"<tr{kind}>{cells}</tr>")
    body = "\n".join(lines)
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in table.notes)
    return (
        f'<div class="scroll"><table><caption>{_text(table.title)}</caption><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>{notes}"
    )


def _direction(column: str, cell: str) -> str:
    better = gained(column, cell)
    return "" if better is None else ' class="up"' if better else ' class="down"'


def _warnings(results: Sequence[PairResult], failures: Sequence[Failure]) -> str:
    said = [f"<li><b>{_text(title(failure))}</b> failed: {_text(failure.error)}</li>" for failure in failures]
    said += [
        f"<li><b>{_text(title(result))}</b>: {_text(warning)}</li>"
        for result in results
        for warning in result.warnings
    ]
    return f'<h2>Failures and warnings</h2>\n<ul class="warnings">{"".join(said)}</ul>' if said else ""


def _crops(result: PairResult, crop: Crop) -> str:
    x, y, width, height = crop.box
    across, down = crop.full_size
    place = (
        f"left:{100 * x / across:.2f}%;top:{100 * y / down:.2f}%;"
        f"width:{100 * width / across:.2f}%;height:{100 * height / down:.2f}%"
    )
    whole = _jpeg_uri(crop.overview)
    figures = [
        f'<figure><div class="whole"><img src="{whole}" alt="whole frame"/>'
        f'<span style="{place}"></span></div>'
        f"<figcaption><b>{_text(title(result))}</b><br/>frame {crop.frame}</figcaption></figure>"
    ]
    for name in ("input", "output", "truth"):
        if name in crop.pictures:
            value = crop.quality.get(name)
            words = "" if value is None else " identical" if value == float("inf") else f" {value:.2f} dB"
            figures.append(
                f'<figure class="piece"><img src="{data_uri(crop.pictures[name])}" alt="{name}"/>'
                f"<figcaption><b>{name}</b>{words}</figcaption></figure>"
            )
    return f'<div class="crops">{"".join(figures)}</div>'
