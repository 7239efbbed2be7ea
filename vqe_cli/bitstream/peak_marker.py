"""Peak quality frames of a video whose frames come one by one, in bounded memory."""

from typing import NamedTuple

from vqe_cli.bitstream.peaks import check_choice, mark_sequence, minima, rises

HORIZON = 32  # frames; no decision waits for more


class _Seen(NamedTuple):
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
        self._waiting: list[_Seen] = []
        # Then: the latest frames of the present sequence or scene, the first `_decided` of them decided.
        self._window: list[_Seen] = []
        self._decided = 0

    def push(self, qp: float | None, irap: bool, sequence: int, cut: bool = False) -> list[bool]:
        """Takes the next frame (fields as in `pqf.mark`); decisions that are certain now, oldest first."""
        frame = _Seen(self._count, qp, irap or cut, cut or sequence != self._sequence)
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

    def _periodic(self, frames: list[_Seen]) -> list[bool]:
        return [frame.number % self._period == 0 for frame in frames]

    def _push_equal(self, frame: _Seen) -> list[bool]:
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

    def _push_changing(self, frame: _Seen) -> list[bool]:
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
            [seen.qp for seen in self._window],
            [seen.forced for seen in self._window],
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
        known = [k for k, seen in enumerate(self._window) if seen.qp is not None]
        if not known:
            return self._decided
        values = [seen.qp for seen in self._window if seen.qp is not None]
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
