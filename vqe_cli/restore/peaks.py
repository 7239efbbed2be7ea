"""Peak quality frames marked while frames stream by."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from vqe_cli.bitstream.peak_marker import HORIZON, PeakMarker
from vqe_cli.errors import SettingsError
from vqe_cli.restore.choices import PeakRule
from vqe_cli.video.frame import Frame

# Most frames that wait here for the decision about the oldest of them.
FRAMES_WAITING = HORIZON + 1


@dataclass
class PeakCount:
    """What the marking went by, counted while it runs.

    frames, peaks: seen so far. qps: different QPs among them, at most two are kept.
    """

    frames: int = 0
    peaks: int = 0
    qps: set[float] = field(default_factory=set)

    def source(self, chosen: PeakRule) -> str:
        """Where the peaks came from: "qp", "hm-log", "period" or "none"."""
        if chosen.mode in ("none", "period"):
            return chosen.mode
        if len(self.qps) < 2:
            return "period"
        return "hm-log" if chosen.from_log else "qp"


def mark_peaks(
    frames: Iterable[tuple[Frame, bool]], chosen: PeakRule, count: PeakCount
) -> Iterator[tuple[Frame, bool]]:
    """The same (frame, starts a scene), with `pqf` set.

    Raises VqeError for the mode "hm-log" without a log.
    """
    if chosen.mode == "hm-log" and not chosen.from_log:
        raise SettingsError("--pqf hm-log needs the log.", "Name it with --hm-log FILE.")
    marker = PeakMarker(chosen.rule, chosen.mode, chosen.period)
    waiting: deque[tuple[Frame, bool]] = deque()

    def decide(decisions: list[bool]) -> Iterator[tuple[Frame, bool]]:
        for peak in decisions:
            frame, cut = waiting.popleft()
            count.frames += 1
            count.peaks += peak
            yield replace(frame, pqf=peak), cut

    for frame, cut in frames:
        waiting.append((frame, cut))
        if frame.qp is not None and len(count.qps) < 2:
            count.qps.add(frame.qp)
        yield from decide(marker.push(frame.qp, frame.irap, frame.sequence, cut))
    yield from decide(marker.finish())
    assert not waiting
