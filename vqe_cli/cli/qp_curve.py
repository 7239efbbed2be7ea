"""The QP of every frame as a curve of characters, peaks marked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_ROWS = 14
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
