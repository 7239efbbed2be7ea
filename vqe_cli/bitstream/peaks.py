"""Peak quality frames: those of clearly lower QP than their neighbours, whose detail the networks spread.

Two rules of the field, over the QPs of one coded video sequence (or scene) in display order. `minima`: every
local minimum, the first frame of a run of equal QPs, and every random access picture or first frame after a
cut. `prominent`: of those, the ones at least PROMINENCE below the highest QP on each side, a side reaching to
the neighbouring minimum. Where the QP tells nothing (flat or unknown), every `period`-th frame.
"""

from collections.abc import Sequence

from vqe_cli.errors import InputError

PROMINENCE = 2  # HM's low-delay cascade (36 45 44 45 38 …): 44 is a minimum, 38 is a peak
RULES = ("prominent", "minima")
MODES = ("auto", "qp", "hm-log", "period", "none")


def mark(
    qps: Sequence[float | None],
    irap: Sequence[bool],
    sequence: Sequence[int],
    rule: str = "prominent",
    mode: str = "auto",
    period: int = 4,
    cut: Sequence[bool] | None = None,
) -> list[bool]:
    """Which frames of a whole video are peaks.

    qps, irap, sequence: of each frame in display order (QP None: unknown; sequence: see `Picture`). rule:
    "prominent" or "minima". mode: "none" marks nothing, "period" every `period`-th frame from 0, the others
    go by QP and fall back to that where no QP is known or all are equal. cut: True for the first frame after
    a scene cut. Frames of unknown QP are passed over, in a sequence that has only such frames the period
    holds. Raises VqeError for unknown names and a period below 1.
    """
    check_choice(rule, mode, period)
    count = len(qps)
    cuts = [False] * count if cut is None else cut
    assert len(irap) == len(sequence) == len(cuts) == count
    if mode == "none":
        return [False] * count
    known = {qp for qp in qps if qp is not None}
    if mode == "period" or len(known) < 2:
        return [t % period == 0 for t in range(count)]
    starts = [t for t in range(count) if t == 0 or sequence[t] != sequence[t - 1] or cuts[t]]
    marks: list[bool] = []
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        forced = [irap[t] or cuts[t] for t in range(start, stop)]
        marks += mark_sequence(qps[start:stop], forced, rule, period, start)
    return marks


def check_choice(rule: str, mode: str, period: int) -> None:
    """Raises VqeError for a rule or mode that does not exist and for a period below 1."""
    if rule not in RULES:
        raise InputError(f"there is no PQF rule {rule!r}.", f"Choose one of {', '.join(RULES)}.")
    if mode not in MODES:
        raise InputError(f"there is no PQF mode {mode!r}.", f"Choose one of {', '.join(MODES)}.")
    if period < 1:
        raise InputError(f"a PQF period of {period} is not possible.", "Give 1 or more.")


def mark_sequence(
    qps: Sequence[float | None], forced: Sequence[bool], rule: str, period: int, first: int
) -> list[bool]:
    """The peaks of one coded video sequence or scene.

    forced: frames that always count. first: where in the video it begins, for the period of unknown QPs.
    """
    frames = [t for t, qp in enumerate(qps) if qp is not None]
    if not frames:
        return [forced[t] or (first + t) % period == 0 for t in range(len(qps))]
    values = [qp for qp in qps if qp is not None]
    anchors = [forced[t] for t in frames]
    peaks = minima(values, anchors)
    if rule == "prominent":
        peaks = prominent(values, anchors, peaks)
    marks = list(forced)
    for position in peaks:
        marks[frames[position]] = True
    return marks


def minima(qps: Sequence[float], forced: Sequence[bool]) -> list[int]:
    """Positions of the local minima (the first of each run of equal QPs) and of forced frames."""
    peaks: list[int] = []
    rises_after = True
    for t in range(len(qps) - 1, -1, -1):
        if t + 1 < len(qps) and qps[t + 1] != qps[t]:
            rises_after = qps[t + 1] > qps[t]
        if forced[t] or (rises_after and (t == 0 or qps[t] < qps[t - 1])):
            peaks.append(t)
    return peaks[::-1]


def prominent(qps: Sequence[float], forced: Sequence[bool], peaks: Sequence[int]) -> list[int]:
    """Those of the minima that lie PROMINENCE below the highest QP on both sides, and forced frames."""
    kept: list[int] = []
    for k, t in enumerate(peaks):
        left = qps[peaks[k - 1] + 1 if k else 0 : t]
        right = qps[t + 1 : peaks[k + 1] if k + 1 < len(peaks) else len(qps)]
        if forced[t] or all(not side or rises(side, qps[t]) for side in (left, right)):
            kept.append(t)
    return kept


def rises(side: Sequence[float], qp: float) -> bool:
    """Whether the QPs on one side of a minimum reach PROMINENCE above it."""
    return any(other - qp >= PROMINENCE for other in side)
