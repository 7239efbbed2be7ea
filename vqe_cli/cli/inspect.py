"""`vqe inspect INPUT`: what a video says of itself, frame by frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqe_cli.cli.console import check_target, messages, results, say, write_json
from vqe_cli.cli.options import Debug, JsonFile
from vqe_cli.text import printable

if TYPE_CHECKING:
    from vqe_cli.video.inspect import Inspection


EXAMPLE = "Example: vqe inspect in.mkv --json frames.json"
MOST_ROWS = 14
# What QPs are counted in where that is not HEVC's scale, by FFmpeg's name of the decoder.
SCALES = {
    **dict.fromkeys(("av1", "libdav1d"), " (AV1's base_q_idx, 0 to 255)"),
    "vp9": " (VP9's index, 0 to 255)",
    **dict.fromkeys(("mpeg1video", "mpeg2video", "mpeg4", "h263"), " (quantiser scale, 1 to 112)"),
}
MARGIN = 6  # columns for the QP on the left


@dataclass(frozen=True)
class Marks:
    """Characters: of a frame, of a peak quality frame, of the span between several QPs, of the axis."""

    frame: str
    peak: str
    span: str
    axis: str


UNICODE = Marks("•", "▲", "│", "┤")
ASCII = Marks(".", "^", "|", "|")


def inspect_command(
    input: Annotated[Path, typer.Argument(help="A video.")],
    json_file: JsonFile = None,
    hm_log: Annotated[
        Path | None, typer.Option(help="Log of the HM encoder or decoder with the QPs.", metavar="FILE")
    ] = None,
    pqf_rule: Annotated[
        str, typer.Option(help="Which minima of the QP are peaks.", metavar="prominent|minima")
    ] = "prominent",
    duplicates: Annotated[
        bool, typer.Option(help="Decode the pictures to find equal ones; headers alone are faster.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Show streams, and kind, QP, peaks and duplicates of every frame in display order."""
    from vqe_cli.video.inspect import inspect

    check_target(json_file)
    with messages().status(printable(f"reading {input}")):
        found = inspect(input, hm_log, pqf_rule, duplicates)
    for warning in found.warnings:
        say(f"warning: {warning}")
    if json_file:
        write_json(as_json(found), json_file)
    if str(json_file) != "-":
        _show(found)


def as_json(found: "Inspection") -> dict[str, Any]:
    """The inspection as one JSON document; ratios are written as "25/1"."""
    info = found.info
    video = {
        "path": str(info.path),
        "container": info.container,
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "pix_fmt": info.pix_fmt,
        "matrix": info.colour.matrix,
        "matrix_guessed": info.colour.guessed,
        "full_range": info.colour.full_range,
        "bit_depth": info.colour.bit_depth,
        "rate": str(info.rate) if info.rate else None,
        "time_base": str(info.time_base),
        "sample_aspect": str(info.sample_aspect) if info.sample_aspect else None,
        "duration_s": info.duration_s,
        "field_order": info.field_order,
        "rotation_deg": info.rotation_deg,
        "streams": list(info.streams),
        "frame_count": len(found.frames),
        "warnings": list(found.warnings),
    }
    return {"video": video, "frames": [vars(frame) for frame in found.frames]}


def _show(found: "Inspection") -> None:
    """Streams, a summary and the QP curve on the terminal."""
    from rich.table import Table

    console = results()
    info, frames = found.info, found.frames
    table = Table(
        title=printable(info.path), title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0)
    )
    colour = f"{info.colour.matrix}{' (guessed)' if info.colour.guessed else ''}"
    qps = sorted(frame.qp for frame in frames if frame.qp is not None)
    peaks = sum(frame.pqf for frame in frames)
    copies = sum(frame.duplicate_of is not None for frame in frames)
    rows = {
        "picture": f"{info.width}x{info.height} {info.pix_fmt}, {colour}, "
        f"{'full' if info.colour.full_range else 'limited'} range, {info.field_order}",
        "rate": f"{float(info.rate):.6g} frames/s" if info.rate else "unknown",
        "frames": f"{len(frames)}: {_kinds([frame.kind for frame in frames])}",
        "QP": f"{qps[0]:g} to {qps[-1]:g}, median {qps[len(qps) // 2]:g}{SCALES.get(info.codec, '')}"
        if qps
        else "unknown",
        "unknown QP": f"{len(frames) - len(qps)} frames" if qps and len(qps) < len(frames) else "",
        "peaks": f"{peaks} peak quality frames",
        "duplicates": f"{copies} frames" if copies else "",
    }
    for stream in info.streams:
        table.add_row("stream", printable(stream))
    for name, text in rows.items():
        if text:
            table.add_row(name, text)
    console.print(table, markup=False)
    marks = UNICODE if "utf" in console.encoding.lower() else ASCII
    width = console.width
    for line in qp_curve([f.qp for f in frames], [f.pqf for f in frames], width, marks):
        console.print(line, markup=False)


def _kinds(kinds: list[str]) -> str:
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in "IPB?" if kind in kinds)


def qp_curve(
    qps: Sequence[float | None], peaks: Sequence[bool], width: int, marks: Marks = UNICODE
) -> list[str]:
    """Lines of at most `width` columns: QP upwards, frames to the right, several in a column where many.

    qps: of each frame, None where unknown (left blank). peaks: whether it is a peak quality frame.
    Gives no lines where no QP is known.
    """
    known = [qp for qp in qps if qp is not None]
    if not known:
        return []
    per_column = max(1, math.ceil(len(qps) / max(10, width - MARGIN)))
    low, high = math.floor(min(known)), math.ceil(max(known))
    step = max(1, math.ceil((high - low + 1) / MOST_ROWS))
    rows = (high - low) // step + 1
    columns = [
        _column(qps[at : at + per_column], peaks[at : at + per_column], low, step, rows, marks)
        for at in range(0, len(qps), per_column)
    ]
    lines = [
        f"{low + row * step:>{MARGIN - 2}} {marks.axis}" + "".join(column[row] for column in columns)
        for row in reversed(range(rows))
    ]
    last = str(len(qps) - 1)
    under = "0".ljust(max(1, len(columns) - len(last))) + (last if len(columns) > len(last) else "")
    note = f", {per_column} in a column" if per_column > 1 else ""
    legend = f"QP by frame{note}; {marks.peak} peak quality frame"
    return [line.rstrip() for line in [*lines, " " * MARGIN + under, " " * MARGIN + legend]]


def _column(
    qps: Sequence[float | None], peaks: Sequence[bool], low: int, step: int, rows: int, marks: Marks
) -> list[str]:
    """One column, bottom up: its frames' QPs and what lies between them."""
    cells = [" "] * rows
    places = [(int((qp - low) // step), peak) for qp, peak in zip(qps, peaks, strict=True) if qp is not None]
    if not places:
        return cells
    levels = [row for row, _ in places]
    for row in range(min(levels), max(levels) + 1):
        cells[row] = marks.span
    for row, peak in sorted(places, key=lambda place: place[1]):
        cells[row] = marks.peak if peak else marks.frame
    return cells
