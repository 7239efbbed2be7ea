"""Time codes of pictures (SMPTE ST 12-1) as tags hold them: "01:00:00:00", with ";" for drop frames."""

import re
from fractions import Fraction

FORM = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d{1,5})")


def later(code: str, pictures: int, rate: Fraction | None) -> str:
    """The time code so many pictures later; what is not a time code, or has no rate, stays as it is."""
    found = FORM.fullmatch(code.strip())
    if found is None or not rate or pictures == 0:
        return code
    hours, minutes, seconds, mark, frames = found.groups()
    a_second = max(1, round(rate))
    # Two numbers of each minute but every tenth are left out at 30 pictures a second, four at 60.
    dropped = round(a_second / 15) if mark in ";.," and a_second % 30 == 0 else 0
    total_minutes = int(hours) * 60 + int(minutes)
    number = (total_minutes * 60 + int(seconds)) * a_second + int(frames)
    number -= dropped * (total_minutes - total_minutes // 10)
    number = (number + pictures) % (24 * (6 * _ten_minutes(a_second, dropped)))
    if dropped:
        tens, within = divmod(number, _ten_minutes(a_second, dropped))
        minute = max(0, within - dropped) // (60 * a_second - dropped)
        number += dropped * (9 * tens + minute)
    left, frame = divmod(number, a_second)
    return f"{left // 3600:02d}:{left // 60 % 60:02d}:{left % 60:02d}{mark}{frame:0{len(frames)}d}"


def _ten_minutes(a_second: int, dropped: int) -> int:
    """Pictures in ten minutes."""
    return 600 * a_second - 9 * dropped
