"""The streams that are not enhanced: sound, subtitles, attachments … copied packet by packet, never
decoded.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream

from vqe_cli.errors import VqeError
from vqe_cli.video.clock import Clock
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.opening import open_input

# Tags of a stream or file that its new writer sets itself, or that tell of the coding that is replaced.
STALE_TAGS = ("encoder", "duration", "major_brand", "minor_version", "compatible_brands", "vendor_id")
# How cover pictures are called in Matroska files (RFC 9559, section 21.1), by FFmpeg's name of the codec.
COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}

# Inputs that hold nothing but pictures.
WITHOUT_COPIES = ("images", "rawvideo", "yuv4mpegpipe")

STALE_PREFIXES = ("_statistics", "bps", "number_of_")


def fresh_tags(tags: dict[str, str]) -> dict[str, str]:
    """Metadata without what the new file says itself."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in STALE_TAGS and not key.lower().startswith(STALE_PREFIXES)
    }


class Copies:
    """Copies all streams of the source but the enhanced one into `output`, in step with it.

    Add the streams before anything is written, then copy `up_to` the time that the video has reached.
    `video_tags` and `video_disposition` are those of the enhanced stream.
    """

    def __init__(self, info: VideoInfo, muxer: str) -> None:
        self._muxer = muxer
        self._source: InputContainer | None = None
        self._streams: list[Stream] = []
        self.video_tags: dict[str, str] = {}
        self.video_disposition = Disposition.default
        if info.container not in WITHOUT_COPIES:
            self._source = open_input(info.path)
            self._streams = [stream for stream in self._source.streams if self._is_copied(stream, info)]
            video = self._source.streams[info.stream_index]
            self.video_tags, self.video_disposition = fresh_tags(video.metadata), video.disposition
        self._targets: dict[int, Stream] = {}
        self._packets: Iterator[Packet] = iter(())
        self._waiting: Packet | None = None

    def close(self) -> None:
        """Closes the source."""
        if self._source is not None:
            self._source.close()

    def check(self, path: Path) -> None:
        """Raises VqeError that names the first stream which the container of `path` cannot hold."""
        for stream in self._streams:
            try:
                with av.open(io.BytesIO(), "w", format=self._muxer) as trial:
                    self._add(trial, stream)
                    trial.start_encoding()
            except (ValueError, av.error.FFmpegError) as error:
                name = stream.codec_context.name if stream.codec_context is not None else stream.type
                raise VqeError(
                    f"{path}: {self._muxer} files cannot hold stream #{stream.index} of the input "
                    f"({stream.type}, {name}).",
                    remedy="Write an .mkv file, or remove that stream from the input first: "
                    f"ffmpeg -i INPUT -map 0 -map -0:{stream.index} -c copy WITHOUT_IT.mkv",
                ) from error

    def add_to(self, output: OutputContainer, whole: bool) -> None:
        """Adds the streams with their metadata and dispositions, the file's metadata and (of a whole file)
        chapters.
        """
        if self._source is None:
            return
        self._targets = {stream.index: self._add(output, stream) for stream in self._streams}
        output.metadata.update(fresh_tags(self._source.metadata))
        if whole:
            output.set_chapters(self._source.chapters())
        attached = {index for index, target in self._targets.items() if isinstance(target, AttachmentStream)}
        with_packets = [stream for stream in self._streams if stream.index not in attached]
        self._packets = self._source.demux(*with_packets) if with_packets else iter(())

    def up_to(self, time_s: float, output: OutputContainer, clock: Clock) -> None:
        """Copies the packets that are due before `time_s`, seconds of the input's clock, moved as `clock`
        says.
        """
        while (packet := self._next()) is not None:
            due_s = _time_s(packet)
            if due_s > time_s:
                return
            self._waiting = None
            if due_s >= clock.start_s or due_s == float("-inf"):
                _move_back(packet, clock.shift_s)
                packet.stream = self._targets[packet.stream_index]
                output.mux(packet)

    def _next(self) -> Packet | None:
        """The packet whose turn it is; it stays so until it is copied."""
        while self._waiting is None:
            packet = next(self._packets, None)
            if packet is None:
                return None
            if packet.size:
                self._waiting = packet
        return self._waiting

    def _add(self, output: OutputContainer, stream: Stream) -> Stream:
        """A new stream of `output` with the coding parameters and tags of `stream`."""
        is_cover = stream.type == "video" and Disposition.attached_pic in stream.disposition
        if isinstance(stream, AttachmentStream):
            added: Stream = output.add_attachment(
                stream.name or "attachment", stream.mimetype or "", stream.data
            )
        elif is_cover and self._muxer == "matroska":
            name, mime_type = COVERS.get(stream.codec_context.name, ("cover", "application/octet-stream"))
            picture = _first_packet(stream)
            name, mime_type = (
                stream.metadata.get("filename", name),
                stream.metadata.get("mimetype", mime_type),
            )
            return output.add_attachment(name, mime_type, picture)
        else:
            added = output.add_stream_from_template(stream, opaque=True)
        added.metadata.update(fresh_tags(stream.metadata))
        added.disposition = stream.disposition
        return added

    def _is_copied(self, stream: Stream, info: VideoInfo) -> bool:
        """Chapters of MP4 and MOV files show up as a text track, too: they are written anew from the
        chapters.
        """
        if stream.index == info.stream_index:
            return False
        is_chapter_track = stream.type == "data" and getattr(stream, "name", "") == "bin_data"
        return not (is_chapter_track and stream.container.chapters())


def _first_packet(stream: Stream) -> bytes:
    """The only packet of a cover picture, read by itself: Matroska keeps covers as attachments."""
    with open_input(Path(stream.container.name)) as container:
        twin = container.streams[stream.index]
        return next((bytes(packet) for packet in container.demux(twin) if packet.size), b"")


def _move_back(packet: Packet, shift_s: float) -> None:
    """Moves a packet's times back by so many seconds."""
    ticks = round(shift_s / packet.time_base)
    if packet.pts is not None:
        packet.pts -= ticks
    if packet.dts is not None:
        packet.dts -= ticks


def _time_s(packet: Packet) -> float:
    """When a packet is due; those without a time (cover pictures) are due at once."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return float("-inf") if ticks is None else float(ticks * packet.time_base)
