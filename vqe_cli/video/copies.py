"""The streams that are not enhanced: sound, subtitles, attachments … copied packet by packet, never
decoded.
"""

import errno
from collections.abc import Iterator, Mapping

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream

from vqe_cli.video.clock import Clock
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.opening import open_input
from vqe_cli.video.pace import Pace, with_content
from vqe_cli.video.sampling import beginning, ending
from vqe_cli.video.selection import (
    TIMECODE,
    WITHOUT_COPIES,
    NotHeld,
    Selection,
    add_stream,
    fresh_tags,
    named,
    srt_text,
    tag,
    timecode_of,
)
from vqe_cli.video.timecode import later

GAP_S = 0.5  # in a sample, between the first seconds and the last


class Copies:
    """Copies all streams of the source but the enhanced one into `output`, in step with it.

    Add the streams before anything is written, then copy `up_to` the time that the video has reached.
    `video_tags` and `video_disposition` are those of the enhanced stream; `warnings` grows while copying.
    """

    def __init__(self, info: VideoInfo, muxer: str, selection: Selection) -> None:
        self._info, self._muxer, self._selection = info, muxer, selection
        self.warnings = list(selection.warnings)
        self._source: InputContainer | None = None
        self._streams: list[Stream] = []
        self.video_tags: dict[str, str] = {}
        self.video_disposition = Disposition.default
        if info.container not in WITHOUT_COPIES:
            self._source = open_input(info.path)
            self._streams = [self._source.streams[index] for index in selection.written]
            video = self._source.streams[info.stream_index]
            self.video_tags = self._tags(video.metadata, timecode_of(self._source))
            self.video_disposition = video.disposition
        self._targets: dict[int, Stream] = {}
        self._packets: Iterator[Packet] = iter(())
        self._waiting: Packet | None = None

    @property
    def streams(self) -> list[Stream]:
        """Those that are copied."""
        return self._streams

    @property
    def has_chapters(self) -> bool:
        """Whether the input is divided into chapters."""
        return self._source is not None and bool(self._source.chapters())

    def close(self) -> None:
        """Closes the source."""
        if self._source is not None:
            self._source.close()

    def add_to(self, output: OutputContainer, whole: bool) -> None:
        """Adds the streams with their metadata and dispositions, the file's metadata and (of a whole file)
        chapters.
        """
        if self._source is None:
            return
        as_text = self._selection.as_text
        self._targets = {
            stream.index: add_stream(output, stream, self._muxer, stream.index in as_text)
            for stream in self._streams
        }
        self._pace = Pace(output)
        output.metadata.update(self._tags(self._source.metadata))
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
                self._put(packet, output)

    def sample(self, output: OutputContainer) -> set[int]:
        """Copies packets of the first seconds and, behind them, of the last; gives the streams of these."""
        found: set[int] = set()
        if self._source is None:
            return found
        wanted = [
            each for each in self._streams if not isinstance(self._targets[each.index], AttachmentStream)
        ]
        end_s = 0.0
        for packet in beginning(self._source, wanted):
            end_s = max(end_s, _time_s(packet))
            found.add(packet.stream_index)
            self._put(packet, output)
        shift_s = None
        for packet in ending(self._source, wanted):
            shift_s = _time_s(packet) - end_s - GAP_S if shift_s is None else shift_s
            found.add(packet.stream_index)
            _move_back(packet, shift_s)
            self._put(packet, output)
        return found

    def _put(self, packet: Packet, output: OutputContainer) -> None:
        """Writes one packet, its times as they are to be written."""
        index, target = packet.stream_index, self._targets[packet.stream_index]
        if index in self._selection.as_text:
            text = srt_text(bytes(packet))
            if not text:
                return
            packet = with_content(packet, text)
        if self._pace.settle(packet, target):
            warning = f"{self._info.path}: times of stream #{index} that did not grow were moved on"
            if warning not in self.warnings:
                self.warnings.append(warning)
        packet.stream = target
        try:
            output.mux(packet)
        except av.error.FFmpegError as error:
            raise self._not_written(index, error) from error

    def _not_written(self, index: int, error: av.error.FFmpegError) -> Exception:
        """The error for a packet that the container does not take; a full disk stays what it is."""
        if error.errno != errno.EINVAL:
            return error
        assert self._source is not None
        what = named(self._source.streams[index])
        return NotHeld(f"{self._muxer} files cannot hold {what} ({error.strerror}).", (index,))

    def _tags(self, tags: Mapping[str, str], timecode: str | None = None) -> dict[str, str]:
        """Tags as they are written; time codes are those of the first written picture."""
        kept = fresh_tags(tags)
        if timecode is not None and tag(kept, TIMECODE) is None:
            kept[TIMECODE] = timecode
        for key in [key for key in kept if key.lower() == TIMECODE]:
            kept[key] = later(kept[key], self._info.first_index, self._info.rate)
        return {key: value for key, value in kept.items() if key.lower() not in self._selection.dropped}

    def _next(self) -> Packet | None:
        """The packet whose turn it is; it stays so until it is copied."""
        while self._waiting is None:
            packet = next(self._packets, None)
            if packet is None:
                return None
            if packet.size:
                self._waiting = packet
        return self._waiting


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
