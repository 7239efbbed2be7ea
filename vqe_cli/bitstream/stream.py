"""The pictures of a whole stream from headers alone, for `vqe inspect` and for logs: nothing is decoded."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from vqe_cli.bitstream.headers import HeaderParser
from vqe_cli.bitstream.nal import AnnexBSplitter
from vqe_cli.bitstream.packets import PacketParser
from vqe_cli.bitstream.picture import Picture
from vqe_cli.errors import InputError

CHUNK_BYTES = 1 << 20


class HeaderStream:
    """All coded pictures of a stream in coding order, and the warning that reading them gave.

    Iterate once; `order.shown(stream)` gives the shown ones in display order.
    """

    def __init__(self, pictures: Iterator[Picture], source: PacketParser | HeaderParser) -> None:
        self._pictures = pictures
        self._source = source

    def __iter__(self) -> Iterator[Picture]:
        return self._pictures

    @property
    def warnings(self) -> list[str]:
        """At most one sentence; complete once the stream was iterated to its end."""
        return self._source.warnings


def from_packets(packets: Iterable[bytes], codec_extradata: bytes | None = None) -> HeaderStream:
    """The pictures in a demuxer's packets, which come in coding order."""
    parser = PacketParser(codec_extradata)
    return HeaderStream((picture for packet in packets for picture in parser.parse(packet)), parser)


def from_file(path: str | Path, chunk_bytes: int = CHUNK_BYTES) -> HeaderStream:
    """The pictures of a raw Annex B file, read in pieces; raises VqeError where the file cannot be read."""
    parser = HeaderParser()
    return HeaderStream(_file_pictures(Path(path), parser, chunk_bytes), parser)


def _file_pictures(path: Path, parser: HeaderParser, chunk_bytes: int) -> Iterator[Picture]:
    splitter = AnnexBSplitter()
    for nal in _file_nals(path, splitter, chunk_bytes):
        picture = parser.feed(nal)
        if picture is not None:
            yield picture
    last = parser.flush()
    if last is not None:
        yield last


def _file_nals(path: Path, splitter: AnnexBSplitter, chunk_bytes: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(chunk_bytes):
                yield from splitter.push(chunk)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    yield from splitter.finish()
