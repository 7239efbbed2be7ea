"""Peak quality frames: those of clearly lower QP than their neighbours, whose detail the networks spread.

Two rules of the field, over the QPs of one coded video sequence (or scene) in display order. `minima`: every
local minimum, the first frame of a run of equal QPs, and every random access picture or first frame after a
cut. `prominent`: of those, the ones at least PROMINENCE below the highest QP on each side, a side reaching to
the neighbouring minimum. Where the QP tells nothing (flat or unknown), every `period`-th frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

from vqe_cli.errors import InputError

PROMINENCE = 2  # HM's low-delay cascade (36 45 44 45 38 …): 44 is a minimum, 38 is a peak
RULES = ("prominent", "minima")
# Indices of a codec's own scale for one QP of HEVC: steps double every 6 QPs, and every 40 or
# so of these (table Ac_Qlookup of AV1, which is VP9's). By FFmpeg's name of the decoder.
STEPS = {"av1": 7.0, "libdav1d": 7.0, "vp9": 7.0}
MODES = ("auto", "qp", "hm-log", "period", "none")


def qp_step(codec: str) -> float:
    """By how much QPs of a codec differ where those of HEVC differ by 1; for all whose scale is near, 1."""
    return STEPS.get(codec, 1.0)


def mark(
    qps: Sequence[float | None],
    irap: Sequence[bool],
    sequence: Sequence[int],
    rule: str = "prominent",
    mode: str = "auto",
    period: int = 4,
) -> list[bool]:
    """Which frames of a whole video are peaks.

    qps, irap, sequence: of each frame in display order (QP None: unknown, else in steps of HEVC, see
    `qp_step`; sequence: see `Picture`). rule:
    "prominent" or "minima". mode: "none" marks nothing, "period" every `period`-th frame from 0, the others
    go by QP and fall back to that where no QP is known or all are equal. Frames of unknown QP are passed
    over; in a sequence that has only such frames the period holds. Raises
    VqeError for unknown names and a period below 1.
    """
    check_choice(rule, mode, period)
    count = len(qps)
    assert len(irap) == len(sequence) == count
    if mode == "none":
        return [False] * count
    known = {qp for qp in qps if qp is not None}
    if mode == "period" or len(known) < 2:
        return [t % period == 0 for t in range(count)]
    starts = [t for t in range(count) if t == 0 or sequence[t] != sequence[t - 1]]
    marks: list[bool] = []
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        marks += mark_sequence(qps[start:stop], irap[start:stop], rule, period, start)
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


HORIZON = 32  # frames; no decision waits for more


class _Candidate(NamedTuple):
    number: int  # position in the video
    qp: float | None
    forced: bool
    starts: bool  # the first frame of a coded video sequence or scene


class PeakMarker:
    """Decides like `pqf.mark`, frame by frame: frames go in and decisions come out in display order.

    A decision comes as soon as nothing that follows can change it, which under a QP cascade takes a frame or
    two. Two things would need the whole video, and are bounded by `horizon` frames instead. Whether all QPs
    are equal: when the first `horizon` are, every `period`-th frame is marked until the QP changes, and the
    rule holds from there on. A minimum that does not end: after `horizon` frames it is decided as if the
    sequence ended.
    """

    def __init__(
        self, rule: str = "prominent", mode: str = "auto", period: int = 4, horizon: int = HORIZON
    ) -> None:
        check_choice(rule, mode, period)
        self._rule, self._mode, self._period, self._horizon = rule, mode, period, horizon
        self._count = 0
        self._sequence: int | None = None
        # Until the QP changes for the first time, undecided frames wait here.
        self._changed = False
        self._first_qp: float | None = None
        self._waiting: list[_Candidate] = []
        # Then: the latest frames of the present sequence or scene, the first `_decided` of them decided.
        self._window: list[_Candidate] = []
        self._decided = 0

    def push(self, qp: float | None, irap: bool, sequence: int, cut: bool = False) -> list[bool]:
        """Takes the next frame (fields as in `pqf.mark`); decisions that are certain now, oldest first."""
        frame = _Candidate(self._count, qp, irap or cut, cut or sequence != self._sequence)
        self._sequence = sequence
        self._count += 1
        if self._mode == "none":
            return [False]
        if self._mode == "period":
            return self._periodic([frame])
        if not self._changed:
            if qp is None or self._first_qp is None or qp == self._first_qp:
                return self._push_equal(frame)
            self._changed = True
        frames, self._waiting = [*self._waiting, frame], []
        return [decision for each in frames for decision in self._push_changing(each)]

    def finish(self) -> list[bool]:
        """The decisions that are left when the video ends."""
        waiting, self._waiting = self._waiting, []
        return self._end_sequence() if self._changed else self._periodic(waiting)

    def _periodic(self, frames: list[_Candidate]) -> list[bool]:
        return [frame.number % self._period == 0 for frame in frames]

    def _push_equal(self, frame: _Candidate) -> list[bool]:
        if frame.qp is not None:
            self._first_qp = frame.qp
        self._waiting.append(frame)
        if self._count <= self._horizon:
            return []
        frames, self._waiting = self._waiting, []
        for each in frames:
            # Of what is decided, only the QP before the next frame will matter.
            if each.starts or each.qp is not None or not self._window:
                self._window, self._decided = [each], 1
        return self._periodic(frames)

    def _push_changing(self, frame: _Candidate) -> list[bool]:
        decisions = self._end_sequence() if frame.starts else []
        self._window.append(frame)
        certain = self._certain()
        if len(self._window) - certain > self._horizon:
            certain = self._decided + 1
        return decisions + self._decide(certain)

    def _end_sequence(self) -> list[bool]:
        decisions = self._decide(len(self._window))
        self._window, self._decided = [], 0
        return decisions

    def _decide(self, until: int) -> list[bool]:
        """Decides the window's frames before position `until` from what is known now."""
        if until <= self._decided:
            return []
        marks = mark_sequence(
            [frame.qp for frame in self._window],
            [frame.forced for frame in self._window],
            self._rule,
            self._period,
            self._window[0].number,
        )
        decisions = marks[self._decided : until]
        surplus = min(until, max(0, len(self._window) - 2 * self._horizon))
        del self._window[:surplus]
        self._decided = until - surplus
        return decisions

    def _certain(self) -> int:
        """How many frames of the window are decided whatever follows."""
        known = [k for k, frame in enumerate(self._window) if frame.qp is not None]
        if not known:
            return self._decided
        values = [frame.qp for frame in self._window if frame.qp is not None]
        forced = [self._window[k].forced for k in known]
        last_run = len(values) - 1
        while last_run and values[last_run - 1] == values[last_run]:
            last_run -= 1
        peaks = minima(values, forced)
        settled = [t for t in peaks if t < last_run or forced[t]]
        # The last run may yet fall further, and a minimum's right side reaches to the next settled one.
        undecided = [t for t in peaks if t >= last_run and not forced[t]]
        if self._rule == "prominent" and settled and not forced[settled[-1]]:
            peak = settled[-1]
            left = values[settled[-2] + 1 if len(settled) > 1 else 0 : peak]
            right = values[peak + 1 : undecided[0] if undecided else len(values)]
            if (not left or rises(left, values[peak])) and not rises(right, values[peak]):
                undecided.append(peak)
        positions = [known[t] for t in undecided if known[t] >= self._decided]
        return min(positions, default=len(self._window))
