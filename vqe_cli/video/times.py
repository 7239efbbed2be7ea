"""A part of a video by its times: which frames lie inside."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from vqe_cli.errors import InputError
from vqe_cli.text import clock_text
from vqe_cli.video.frame import DEFAULT_RATE, VideoInfo

MICROSECONDS = 1_000_000
# Headers round, and sound may end a little after the pictures: so much later may a part end than the file.
SLACK_S = 1.0


@dataclass(frozen=True)
class Times:
    """A part of a video: the frames shown at `start` or later and before `stop` (None: to the end).

    Both in seconds from the first picture, compared in whole microseconds, to which tools round what they
    print.
    """

    start: float = 0.0
    stop: float | None = None

    def holds(self, seconds: Fraction) -> bool:
        """Whether a frame shown so many seconds after the first one lies inside."""
        return self.start_us <= round(seconds * MICROSECONDS) and not self.is_past(seconds)

    def is_past(self, seconds: Fraction) -> bool:
        """Whether a frame lies behind the part."""
        return self.stop_us is not None and round(seconds * MICROSECONDS) >= self.stop_us

    @property
    def start_us(self) -> int:
        return round(Fraction(str(self.start)) * MICROSECONDS)

    @property
    def stop_us(self) -> int | None:
        return None if self.stop is None else round(Fraction(str(self.stop)) * MICROSECONDS)

    def frames(self, info: VideoInfo) -> tuple[int, int | None]:
        """The first frame and the one behind the last, of a video whose rate is constant; an estimate for
        others.
        """
        rate = (info.rate or DEFAULT_RATE) / MICROSECONDS
        half = rate / 2  # times are rounded to microseconds
        stop = None if self.stop_us is None else ceil(self.stop_us * rate - half)
        return max(0, ceil(self.start_us * rate - half)), stop

    def check(self, info: VideoInfo) -> None:
        """Raises InputError where the part lies beyond the end, as far as headers tell where that is."""
        end = info.duration_s
        if end is None:
            return
        for flag, time, slack in (("--from", self.start, 0.0), ("--to", self.stop, SLACK_S)):
            if time is not None and time >= end + slack:
                raise InputError(
                    f"{info.path} ends at {clock_text(end)}, before {flag} {clock_text(time)}.",
                    "Choose an earlier time." if flag == "--from" else "Leave --to out for all the rest.",
                )
