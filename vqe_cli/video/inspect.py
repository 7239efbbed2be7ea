"""A video frame by frame: from its headers alone where they suffice, and which pictures repeat others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vqe_cli.bitstream import hm_log as hm_logs
from vqe_cli.bitstream.headers import Picture
from vqe_cli.bitstream.order import in_display_order
from vqe_cli.bitstream.packets import KnownPackets, PacketParser
from vqe_cli.bitstream.peaks import mark, qp_step
from vqe_cli.errors import InputError, VqeError
from vqe_cli.video.damage import left_out_sentence
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.opening import open_input, reading, video_stream
from vqe_cli.video.probe import parsed, probe
from vqe_cli.video.reader import Reader
from vqe_cli.video.timeline import timeline_of


@dataclass(frozen=True)
class ListedFrame:
    """One shown picture without its samples."""

    index: int
    """Position among the shown pictures, from 0."""

    pts: int | None
    """Time of showing, ticks of `VideoInfo.time_base`; None when the file has none."""

    kind: str
    """Slice type: "I", "P", "B" or "?" (of the header, or the decoder)."""

    qp: float | None
    """Luma slice QP of the first slice (HEVC), or on the codec's own scale; None when unknown."""

    pqf: bool
    """Whether it is a peak quality frame."""

    duplicate_of: int | None
    """Index of the earlier frame with equal planes; None when there is none."""

    @property
    def peak(self) -> bool:
        """Whether it is a peak quality frame."""
        return self.pqf


@dataclass(frozen=True)
class Inspection:
    """A video's frames in display order. warnings: sentences about what could not be known."""

    info: VideoInfo
    frames: tuple[ListedFrame, ...]
    warnings: tuple[str, ...]


class _Shown(NamedTuple):
    """A shown picture before peaks are marked."""

    pts: int | None
    kind: str
    qp: float | None
    irap: bool
    sequence: int
    duplicate_of: int | None = None


class _Packets(NamedTuple):
    """Of each packet its pts, and whether an edit list hides it."""

    pts: list[int | None]
    hidden: list[bool]


def inspect(
    path: Path, hm_log: Path | None = None, rule: str = "prominent", duplicates: bool = True
) -> Inspection:
    """List the shown pictures of a video.

    HEVC is listed from its headers; its pictures are decoded, too, where `duplicates` are wanted, and a
    stream that cannot be decoded is listed without them and with a warning. Other codecs are always decoded.
    hm_log: log of the HM encoder or decoder, for pictures whose header does not tell the QP.
    rule: which minima of the QP are peaks.
    Raises VqeError for what cannot be read and for a log that does not match.
    """
    info = probe(path)
    if info.codec == "hevc":
        pictures, packets, warnings = _coded(path, hm_log)
        shown = _from_headers(pictures, packets)
        if duplicates:
            shown, more = _with_duplicates(path, shown, pictures)
            warnings += more
    else:
        shown, warnings = _decoded(path, hm_log)
    if not shown:
        raise InputError(f"{path} has no pictures that could be shown.", "Check that the file is whole.")
    step = qp_step(info.codec) if hm_log is None else 1.0
    marks = mark(
        [None if picture.qp is None else picture.qp / step for picture in shown],
        [picture.irap for picture in shown],
        [picture.sequence for picture in shown],
        rule,
    )
    frames = tuple(
        ListedFrame(index, picture.pts, picture.kind, picture.qp, peak, picture.duplicate_of)
        for index, (picture, peak) in enumerate(zip(shown, marks, strict=True))
    )
    return Inspection(info, frames, tuple(warnings))


def _coded(path: Path, log: Path | None) -> tuple[list[Picture], _Packets, list[str]]:
    """The coded pictures of a HEVC stream, from headers alone, what its packets say, and warnings."""
    packets = _Packets([], [])
    pictures: list[Picture] = []
    with open_input(path) as container, reading(path):
        stream = video_stream(container, path)
        parser = PacketParser(stream.codec_context.extradata)
        timeline = timeline_of(container, stream)
        for packet in container.demux(stream):
            if packet.size:
                timeline.move(packet)
                packets.pts.append(packet.pts)
                packets.hidden.append(packet.is_discard)
                pictures += parsed(parser, packet)
    if log is not None:
        pictures = hm_logs.match(hm_logs.read(log), pictures, str(path))
    warnings = [*parser.warnings, *left_out_sentence(path, _left_out(pictures, packets))]
    return pictures, packets, warnings + timeline.sentences(path)


def _left_out(pictures: Sequence[Picture], packets: _Packets) -> int:
    """How many pictures at the start lack their key picture."""
    return sum(
        picture.skipped and picture.sequence == 0 and not packets.hidden[picture.packet]
        for picture in pictures
    )


def _from_headers(pictures: Sequence[Picture], packets: _Packets) -> list[_Shown]:
    """The pictures that are shown, in display order."""
    return [
        _Shown(packets.pts[picture.packet], picture.kind, picture.qp, picture.irap, picture.sequence)
        for picture in in_display_order(pictures)
        if not packets.hidden[picture.packet]
    ]


def _with_duplicates(
    path: Path, shown: Sequence[_Shown], pictures: Sequence[Picture]
) -> tuple[list[_Shown], list[str]]:
    """`shown` with what decoding adds: repeated pictures, and the pts that decoders give raw streams."""
    try:
        decoded, _ = _decoded(path, known=pictures)
    except VqeError as error:
        return list(shown), [f"duplicates are not listed: {error.message}"]
    if len(decoded) != len(shown):
        note = f"the headers list {len(shown)} pictures, the decoder shows {len(decoded)}"
        return list(shown), [f"duplicates are not listed: {note}"]
    joined = zip(shown, decoded, strict=True)
    return [listed._replace(pts=shown.pts, duplicate_of=shown.duplicate_of) for listed, shown in joined], []


def _decoded(
    path: Path, log: Path | None = None, known: Sequence[Picture] | None = None
) -> tuple[list[_Shown], list[str]]:
    """The shown pictures as the reader gives them, without their samples, and warnings.

    known: the coded pictures, where their headers have been read.
    """
    reader = Reader(path, hm_log=log)
    reader.known_packets = None if known is None else KnownPackets(known)
    with reader:
        shown = [
            _Shown(frame.pts, frame.kind, frame.qp, frame.irap, frame.sequence, frame.duplicate_of)
            for frame in reader
        ]
        return shown, list(reader.warnings)
