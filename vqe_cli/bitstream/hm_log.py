"""Logs of HM, the reference encoder and decoder: a second source of each picture's QP."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vqe_cli.bitstream.headers import Picture
from vqe_cli.errors import InputError

# Encoder: "POC    4 TId: 0 ( P-SLICE, nQP 38 QP 38 ) …"; decoder: "POC    4 TId: 0 ( P-SLICE, QP 38 ) …".
# Some of HM's descendants print the layer ("LId:") before the temporal id.
PICTURE_LINE = re.compile(
    r"POC\s+(?P<poc>-?\d{1,9})\s+(?:LId:\s*\d+\s+)?TId:\s*(?P<temporal_id>\d)\s+"
    r"\(\s*(?P<kind>[IPBipb])-SLICE,\s*(?P<encoder>nQP\s+-?\d{1,3}\s+)?QP\s+(?P<qp>-?\d{1,3})\s*\)"
)
LIKE_A_PICTURE_LINE = re.compile(r"POC\s|.*-SLICE")

REMEDY = "Give the log of the very run that wrote or decoded this stream, or leave the log out."


@dataclass(frozen=True, slots=True)
class LogPicture:
    """One line of a log. qp: of the picture's first slice in an encoder's log, of its last in a decoder's."""

    poc: int
    kind: str
    temporal_id: int
    qp: int


@dataclass(frozen=True)
class HmLog:
    """The pictures of a log in coding order; an encoder's POC counts on where a decoder's restarts at 0."""

    path: Path
    encoder: bool
    pictures: tuple[LogPicture, ...]


def read(path: str | Path) -> HmLog:
    """Reads an encoder's or decoder's log; raises VqeError where it cannot be read or lists no pictures."""
    path = Path(path)
    pictures: list[LogPicture] = []
    encoder = False
    garbled = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                found = PICTURE_LINE.match(line)
                if found:
                    encoder = encoder or found["encoder"] is not None
                    pictures.append(
                        LogPicture(
                            int(found["poc"]),
                            found["kind"].upper(),
                            int(found["temporal_id"]),
                            int(found["qp"]),
                        )
                    )
                elif LIKE_A_PICTURE_LINE.match(line):
                    garbled += 1
    except OSError as error:
        raise InputError(
            f"the log {path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    if garbled:
        total = len(pictures) + garbled
        raise InputError(
            f"the log {path} is damaged: {garbled} of its {total} picture lines make no sense.", REMEDY
        )
    if not pictures:
        raise InputError(f"{path} is not an HM log: no line of it gives a picture's QP.", REMEDY)
    return HmLog(path, encoder, tuple(pictures))


def match(log: HmLog, pictures: Iterable[Picture], stream: str = "the stream") -> list[Picture]:
    """The pictures with the log's QPs where their headers could not be read; both in coding order.

    pictures: all of the stream; a decoder's log lacks those that it skipped, and tells nothing of the first
    slice where there are several. Raises VqeError where the log belongs to another stream: counts, picture
    order counts, kinds or QPs differ.
    """
    result = list(pictures)
    listed = [k for k, picture in enumerate(result) if log.encoder or not picture.skipped]
    if len(listed) != len(log.pictures):
        raise InputError(
            f"the log {log.path} does not match {stream}: it lists {len(log.pictures)} pictures, "
            f"the stream has {len(listed)}.",
            REMEDY,
        )
    offsets: dict[int, int] = {}
    for position, (k, line) in enumerate(zip(listed, log.pictures, strict=True)):
        picture = result[k]
        if not _same(line, picture, log.encoder, offsets):
            raise InputError(
                f"the log {log.path} does not match {stream}: both have {len(listed)} pictures, but number "
                f"{position} in coding order is POC {line.poc}, {line.kind}, QP {line.qp} in the log and "
                f"POC {picture.poc}, {picture.kind}, QP {picture.qp} in the stream.",
                REMEDY,
            )
        if picture.qp is None and (log.encoder or len(picture.slice_qps) == 1):
            result[k] = replace(picture, qp=line.qp, kind=line.kind)
    return result


def _same(line: LogPicture, picture: Picture, encoder: bool, offsets: dict[int, int]) -> bool:
    """Whether a line can be about a picture; what its header does not tell agrees with anything.

    offsets: what an encoder's POC is ahead in each sequence, filled in here.
    """
    if picture.poc is not None:
        ahead = offsets.setdefault(picture.sequence, line.poc - picture.poc) if encoder else 0
        if line.poc - picture.poc != ahead:
            return False
    if line.temporal_id != picture.temporal_id:
        return False
    if len(picture.slice_qps) == 1 and picture.kind not in ("?", line.kind):
        return False
    qp = picture.slice_qps[0 if encoder else -1]
    return qp is None or qp == line.qp


def in_display_order(log: HmLog, shown_count: int, source: str) -> list[LogPicture]:
    """The log's pictures in display order, for frames without headers (a decoder's raw output, say).

    shown_count: frames that `source` has. Raises VqeError where the log lists another number of pictures.
    """
    if shown_count != len(log.pictures):
        raise InputError(
            f"the log {log.path} does not match {source}: it lists {len(log.pictures)} pictures, "
            f"there are {shown_count} frames.",
            REMEDY,
        )
    sequence = 0
    keyed: list[tuple[int, int, LogPicture]] = []
    for line in log.pictures:
        # A decoder's count restarts at 0 with each IDR picture; an encoder's never comes back to 0.
        sequence += line.poc == 0 and line.kind == "I"
        keyed.append((sequence, line.poc, line))
    return [line for _, _, line in sorted(keyed, key=lambda entry: entry[:2])]
