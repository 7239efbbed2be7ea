"""Names, tags and times as they may be shown: nothing acts on a terminal, and every encoding bears them."""

import re
import shlex
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

# Control characters, marks that turn the direction of what follows, separators of lines, halves of
# characters, and what XML cannot hold.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# os.fsdecode turns byte N of a name that is not Unicode into this plus N.
BYTE_ESCAPE = 0xDC00


def printable(text: object) -> str:
    """The text on one line, with \\x1b for a control character and \\xff for a byte that is not text."""
    return UNSAFE.sub(_escape, str(text))


def as_argument(path: str | Path) -> str:
    """A path as it is written in a command that is shown: quoted, neither an option nor a protocol."""
    name = str(path)
    is_plain = name.startswith(("/", "./", "../")) or not (name.startswith("-") or ":" in name)
    return quoted(name if is_plain else f"./{name}")


def command_line(words: Iterable[str]) -> str:
    """A command as it may be shown, and given again to a shell."""
    return " ".join(quoted(word) for word in words)


def quoted(word: str) -> str:
    """A word as shells read it; unsafe characters as bash, zsh and ksh write them: $'\\x1b'."""
    if not UNSAFE.search(word):
        return shlex.quote(word)
    inner = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{UNSAFE.sub(_as_bytes, inner)}'"


def _as_bytes(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found.group().encode("utf-8", "surrogateescape"))


def _escape(found: re.Match[str]) -> str:
    letter = found.group()
    code = ord(letter)
    if letter in NAMED:
        return NAMED[letter]
    if 0xDC80 <= code <= 0xDCFF:
        code -= BYTE_ESCAPE
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


# Hours and minutes before seconds.
TIME = re.compile(r"(?:(?:(\d{1,5}):)?(\d{1,2}):)?(\d{1,9}(?:\.\d{0,12})?|\.\d{1,12})", re.ASCII)


def seconds_of(text: str) -> float:
    """Seconds of "90", "1:30" or "1:02:03.5"; raises ValueError with the end of a sentence for what is
    neither.
    """
    found = TIME.fullmatch(text.strip())
    hours, minutes, seconds = found.groups() if found else (None, None, "")
    exact = Fraction(f"0{seconds}".removesuffix("."))
    if not found or (minutes and exact >= 60) or (hours and int(minutes or 0) >= 60):
        raise ValueError("is a time such as 90, 1:30 or 1:02:03.5")
    return float(exact + 60 * int(minutes or 0) + 3600 * int(hours or 0))


def clock_text(seconds: float) -> str:
    """Seconds as people write them: "1:30", "1:02:03.5"."""
    millis = round(seconds * 1000)
    minutes, rest = divmod(millis, 60_000)
    part = f"{rest / 1000:06.3f}".rstrip("0").rstrip(".")
    return f"{minutes // 60}:{minutes % 60:02d}:{part}" if minutes >= 60 else f"{minutes}:{part}"
