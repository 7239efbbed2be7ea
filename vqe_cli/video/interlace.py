"""Whether pictures that are marked as interlaced are: containers and encoders say so of others, too."""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.filter import Graph
from av.video.stream import VideoStream

from vqe_cli.video.opening import open_input, reading, video_stream
from vqe_cli.video.pipes import STDIN

# Pictures looked at: at the beginning, and at each of some places further on (shares of the duration).
FIRST, FURTHER = 40, 16
PLACES = (0.15, 0.35, 0.55, 0.75, 0.95)
VERDICT = "lavfi.idet.multiple.current_frame"
COMBED = ("tff", "bff")
CHANCE = 0.02  # share of pictures that look combed in one order without being so


def is_interlaced(path: Path, at_s: float | None = None) -> bool:
    """Whether pictures from several places of a video are interlaced by their samples.

    at_s: a further place to look at, in seconds of the container's clock. HEVC whose pictures are marked
    counts as interlaced without looking: these are single fields, as decoders give them.
    """
    return _top_first(path, at_s) is not None


def top_field_first(path: Path) -> bool | None:
    """The order of the fields of a video by the samples of its pictures; None where it is not interlaced."""
    return _top_first(path, None) if path == STDIN or path.is_file() else None


def _top_first(path: Path, at_s: float | None) -> bool | None:
    if path == STDIN:
        # Only its beginning can be looked at before it is enhanced; what is marked later on counts as such.
        return True if at_s is not None else _field_order.__wrapped__(path, None, 0, 0)
    state = path.stat()
    return _field_order(path, at_s, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _field_order(path: Path, at_s: float | None, size: int, mtime_ns: int) -> bool | None:
    seen: Counter[str] = Counter()
    with open_input(path) as container, reading(path):
        stream = video_stream(container, path)
        seen.update(_verdicts(container, stream, FIRST))
        for place_s in _places(container, at_s) if path != STDIN else ():
            try:
                container.seek(round(place_s * av.time_base))
            except av.error.FFmpegError:
                break
            seen.update(_verdicts(container, stream, FURTHER))
    # A video has one order of fields. Fine lines look combed as well, but as often in either order.
    top, bottom = (seen[each] for each in COMBED)
    return top > bottom if abs(top - bottom) > CHANCE * seen.total() else None


def _places(container: InputContainer, at_s: float | None) -> Iterator[float]:
    begin_s = (container.start_time or 0) / av.time_base
    if at_s is not None:
        yield at_s
    if container.duration:
        yield from (begin_s + share * container.duration / av.time_base for share in PLACES)


def _verdicts(container: InputContainer, stream: VideoStream, count: int) -> Iterator[str]:
    """What FFmpeg's idet filter says of each of the next pictures."""
    graph = Graph()
    pictures = islice(_decoded(container, stream), count)
    begun = False
    for picture in pictures:
        if stream.codec_context.name == "hevc" and picture.interlaced_frame:
            yield COMBED[0]
            continue
        if not begun:
            begun = True
            source = graph.add_buffer(
                width=picture.width,
                height=picture.height,
                format=picture.format,
                time_base=stream.time_base,
            )
            graph.link_nodes(source, graph.add("idet"), graph.add("buffersink")).configure()
        graph.vpush(picture)
        yield from _judged(graph)
    if begun:
        graph.vpush(None)
        yield from _judged(graph)


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Pictures from here on; what cannot be decoded is the reader's matter."""
    try:
        for packet in container.demux(stream):
            try:
                yield from stream.codec_context.decode(packet if packet.size else None)
            except av.error.FFmpegError:
                continue
    except av.error.FFmpegError:
        return


def _judged(graph: Graph) -> Iterator[str]:
    while True:
        try:
            yield graph.vpull().metadata.get(VERDICT, "")
        except (av.error.BlockingIOError, av.error.EOFError):
            return
