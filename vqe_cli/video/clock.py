"""The time stamps of the written frames: the input's own, made up only where it has none."""

from fractions import Fraction

from vqe_cli.video.frame import Frame, VideoInfo

DEFAULT_RATE = Fraction(25)


class Clock:
    """Gives each written frame its pts, in ticks of the input's time base.

    Frames without one (raw streams) are spaced by the frame rate; times that do not grow are moved on by a
    tick, for no container takes them. With `part` everything moves back, so that the first written frame
    takes the time of the input's first; `shift_s` says by how many seconds, `end_s` when the last written
    frame ends on the input's clock (infinity for the whole input).
    """

    def __init__(self, info: VideoInfo, part: bool) -> None:
        self._info, self._part = info, part
        self._step = round(1 / ((info.rate or DEFAULT_RATE) * info.time_base)) or 1
        self._first: int | None = None
        self._last: int | None = None
        self._end = 0

    def tick(self, frame: Frame) -> int:
        """The pts to write for the next frame."""
        told = frame.pts if frame.pts is not None else frame.index * self._step
        if self._first is None:
            self._first = told
        self._end = max(self._end, told + (frame.duration or self._step))
        pts = told - self._shift
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
        self._last = pts
        return pts

    @property
    def start_s(self) -> float:
        """When the written part starts on the input's clock; minus infinity for the whole input."""
        if not self._part or self._first is None:
            return float("-inf")
        return float(self._first * self._info.time_base)

    @property
    def end_s(self) -> float:
        """When the written part ends on the input's clock; infinity for the whole input."""
        return float(self._end * self._info.time_base) if self._part else float("inf")

    @property
    def shift_s(self) -> float:
        """By how many seconds times are moved back."""
        return float(self._shift * self._info.time_base)

    @property
    def _shift(self) -> int:
        if not self._part or self._first is None:
            return 0
        return self._first - (self._info.start_pts or 0)
