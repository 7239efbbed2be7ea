"""A preview as one self-contained page of HTML, or as one picture."""

from html import escape
from pathlib import Path

import numpy as np

from vqe_cli import __version__
from vqe_cli.errors import OutputError
from vqe_cli.files import write_bytes, write_text
from vqe_cli.measure.slider import SCRIPT, STYLE, choices, slider
from vqe_cli.runs.preview import Cost, Preview, Shown, resized
from vqe_cli.text import clock_text, printable
from vqe_cli.video.estimates import amount
from vqe_cli.video.images import png

PAGES, PICTURES = (".html", ".htm"), (".png",)
# Between the pictures of a sheet, in pixels.
GAP = 8

PAGE_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; max-width: 1400px;
  margin: 1.5rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere } h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem }
.note { opacity: .7; font-size: .87rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; margin: .8rem 0 }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid #8884 }
"""


def check_output(path: Path, overwrite: bool) -> None:
    """Raises OutputError for a name that says nothing of the format, and for what cannot be written."""
    if path.suffix.lower() not in (*PAGES, *PICTURES):
        raise OutputError(f"{path} does not end in .html or .png.", "The suffix chooses the format.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already.", "Choose another name with -o, or give --overwrite.")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"the folder {path.absolute().parent} does not exist.", "Make it first.")


def write(found: Preview, path: Path) -> None:
    """Write the page or the picture; raises VqeError where that is not possible."""
    if path.suffix.lower() in PICTURES:
        write_bytes(path, png(sheet(found)))
    else:
        write_text(path, page(found))


def sheet(found: Preview) -> np.ndarray:
    """A row for each moment: the input, then every model; RGB (h, w, 3) uint8."""
    rows = []
    for moment in found.moments:
        height, width = next(iter(moment.after.values())).shape[:2]
        cells = [resized(moment.before, width, height), *moment.after.values()]
        rows.append(_with_gaps(cells, 1))
    return _with_gaps(rows, 0)


def _with_gaps(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([part for each in pictures for part in (each, gap)][:-1], axis=axis)


def page(found: Preview) -> str:
    """The page."""
    name = _text(found.info.path.name)
    lines = {cost.model: cost_words(cost) for cost in found.costs}
    buttons = choices({model: f"{number}  {model}" for number, model in enumerate(lines, 1)})
    keys = " Keys: arrows move the divider, digits choose the model." if buttons else ""
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        f"<title>{name}: before and after</title>\n<style>{PAGE_STYLE}{STYLE}</style>\n</head>\n<body>",
        f"<h1>{name}</h1>",
        f'<p class="note">{_text(facts(found))}. Left of the divider the input, right of it the result.'
        f"{keys}</p>",
        *(_moment(moment, buttons) for moment in found.moments),
        "<h2>The whole file on this machine</h2>",
        _costs(found),
        *(f'<p class="note">{_text(warning)}</p>' for warning in found.warnings),
        f'<p class="note">vqe {__version__}</p>',
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def facts(found: Preview) -> str:
    """What the file is, in a line."""
    info = found.info
    words = [f"{info.codec}, {info.width}x{info.height}"]
    if info.rate:
        words.append(f"{float(info.rate):.6g} frames a second")
    if found.frames is not None:
        words.append(f"{found.frames} frames")
    if found.scale > 1:
        words.append(f"enlarged {found.scale} times")
    if info.tags.get("transfer") in (16, 18):
        words.append("HDR, shown without tone mapping")
    return ", ".join(words)


def cost_words(cost: Cost) -> str:
    """What a model takes for the whole file, in a few words."""
    if cost.seconds is None or cost.bytes is None:
        return "unknown: the file does not tell its length"
    return f"about {_duration(cost.seconds)}, {amount(cost.bytes)}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _moment(moment: Shown, buttons: str) -> str:
    known = "unknown" if moment.qp is None else f"{moment.qp:g}"
    words = f"{clock_text(moment.seconds)}, QP {known}{', a peak quality frame' if moment.peak else ''}"
    strip = slider("input", moment.before, moment.after, f"picture at {clock_text(moment.seconds)}")
    return f"<h2>{_text(words)}</h2>\n{strip}\n{buttons}"


def _costs(found: Preview) -> str:
    rows = "".join(
        f"<tr><td>{_text(cost.model)}</td><td>{_text(cost_words(cost))}</td><td>{_text(cost.device)}</td></tr>"
        for cost in found.costs
    )
    return (
        "<table><thead><tr><th>model</th><th>time, size of the video "
        f"({_text(found.codec)})</th><th>device</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _text(words: object) -> str:
    return escape(printable(words))
