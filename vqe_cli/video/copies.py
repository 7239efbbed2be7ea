"""The streams that are not enhanced: sound, subtitles, attachments … copied packet by packet, never
decoded.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from vqe_cli.files import DISK_FAULTS
from vqe_cli.video.clock import Clock, Pace, with_content
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.opening import open_input, unreadable
from vqe_cli.video.pipes import STDIN
from vqe_cli.video.selection import (
    TIMECODE,
    WITHOUT_COPIES,
    NotHeld,
    Selection,
    add_stream,
    fresh_tags,
    later_timecode,
    named,
    srt_text,
    tag,
    timecode_of,
)
from vqe_cli.video.targets import Output
from vqe_cli.video.timeline import Followers, move, time_of, timeline_of
from vqe_cli.video.times import MICROSECONDS, Times

if TYPE_CHECKING:
    from av.container.core import Chapter  # which is there for type checkers alone

GAP = Fraction(1, 2)  # seconds in a sample, between the first seconds and the last
MOV_MUXERS = ("mp4", "mov")
LONGEST_TICKS = 2**31 - 1  # between two samples of a track


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
        self._followers: Followers | None = None
        self.video_tags: dict[str, str] = {}
        self.video_disposition = Disposition.default
        if info.container not in WITHOUT_COPIES:
            self._source = open_input(info.path)
            self._streams = [self._source.streams[index] for index in selection.written]
            video = self._source.streams[info.stream_index]
            assert isinstance(video, VideoStream)
            self._video = video
            self._followers = Followers(timeline_of(self._source, video), video.index)
            self.video_tags = self._tags(video.metadata, timecode_of(self._source))
            self.video_disposition = video.disposition
        self._targets: dict[int, Stream] = {}
        self._packets: Iterator[Packet] = iter(())
        self._waiting: Packet | None = None

    @property
    def streams(self) -> list[Stream]:
        """Those that are copied."""
        return self._streams

    def chapters(self, wanted: Output) -> "list[Chapter]":
        """The chapters that are written: of a part that is chosen by times, what lies inside; of one that is
        chosen by frames, none.
        """
        if self._source is None or (wanted.part and wanted.times is None):
            return []
        chapters = self._source.chapters()
        return chapters if wanted.times is None else cut(chapters, wanted.times, self._info)

    def close(self) -> None:
        """Closes the source."""
        if self._source is not None:
            self._source.close()

    def add_to(self, output: OutputContainer, wanted: Output) -> None:
        """Adds the streams with their metadata and dispositions, the file's metadata and chapters."""
        if self._source is None:
            return
        as_text = self._selection.as_text
        self._targets = {
            stream.index: add_stream(output, stream, self._muxer, stream.index in as_text)
            for stream in self._streams
        }
        self._pace = Pace(output)
        output.metadata.update(self._tags(self._source.metadata))
        chapters = self.chapters(wanted)
        if chapters:
            output.set_chapters(chapters)
        attached = {index for index, target in self._targets.items() if isinstance(target, AttachmentStream)}
        with_packets = [stream for stream in self._streams if stream.index not in attached]
        if with_packets and self._followers is not None:
            # Boxes of MP4 files tell one clock for all; there the video need not be read a second time.
            leading = [] if "mp4" in self._source.format.name else [self._video]
            self._packets = self._followers.moved(self._readable(self._source.demux(*with_packets, *leading)))

    def _readable(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """The packets as far as they can be read, as the reader goes on with the pictures that there are.

        Raises VqeError where the disk is at fault.
        """
        try:
            yield from packets
        except av.error.FFmpegError as error:
            if error.errno in DISK_FAULTS:
                raise unreadable(self._info.path, error) from error
            cause = error.strerror or error
            self.warnings.append(f"{self._info.path}: its other streams end where reading stops ({cause})")

    def up_to(self, time_s: float, output: OutputContainer, clock: Clock) -> None:
        """Copies the packets that are due before `time_s`, seconds of the input's clock, moved as `clock`
        says.
        """
        while (packet := self._next()) is not None:
            due_s = _due_s(packet)
            if due_s > time_s:
                return
            self._waiting = None
            if due_s < clock.start_s and packet.stream.type == "subtitle":
                due_s = max(due_s, _shortened(packet, clock.start_s))
            if due_s >= clock.start_s or due_s == float("-inf"):
                move(packet, -clock.shift)
                self._put(packet, output)

    def sample(self, output: OutputContainer) -> set[int]:
        """Copies packets of the first seconds and, behind them, of the last; gives the streams of these."""
        found: set[int] = set()
        if self._source is None:
            return found
        wanted = [
            each for each in self._streams if not isinstance(self._targets[each.index], AttachmentStream)
        ]
        end = Fraction(0)
        for packet in beginning(self._source, wanted):
            end = max(end, time_of(packet) or end)
            found.add(packet.stream_index)
            self._put(packet, output)
        shift = None
        for packet in ending(self._source, wanted) if self._info.path != STDIN else ():
            shift = (time_of(packet) or end) - end - GAP if shift is None else shift
            found.add(packet.stream_index)
            move(packet, -shift)
            self._put(packet, output)
        return found

    def check_gaps(self) -> None:
        """Raises NotHeld where a stream pauses for longer than MP4 and MOV files can say.

        FFmpeg would write such a pause as none. Only of files that are long enough all packets are read.
        """
        bases = [target.time_base for target in self._targets.values() if target.time_base is not None]
        if self._source is None or self._info.path == STDIN or self._muxer not in MOV_MUXERS or not bases:
            return
        if (self._source.duration or 0) < min(bases) * LONGEST_TICKS * av.time_base:
            return
        self._source.seek(self._source.start_time or 0)
        before: dict[int, Fraction] = {}
        for packet in self._packets:
            now, base = time_of(packet), self._targets[packet.stream_index].time_base
            if now is None or base is None:
                continue
            pause = now - before.get(packet.stream_index, now)
            if pause >= LONGEST_TICKS * base:
                what = named(self._source.streams[packet.stream_index])
                hours = f"{float(pause / 3600):.1f} hours"
                raise NotHeld(
                    f"{self._muxer} files cannot hold {what} with its pause of {hours}.",
                    (packet.stream_index,),
                )
            before[packet.stream_index] = now

    def _put(self, packet: Packet, output: OutputContainer) -> None:
        """Writes one packet, its times as they are to be written."""
        index, target = packet.stream_index, self._targets[packet.stream_index]
        if index in self._selection.as_text:
            text = srt_text(bytes(packet))
            if not text:
                return
            packet = with_content(packet, text)
        bridged = self._followers is not None and self._followers.bridged
        if self._pace.settle(packet, target) and not bridged:
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
        return NotHeld(
            f"{self._muxer} files cannot hold {what} ({error.strerror}).",
            (index,),
            "Remove that stream from the input first, or write another kind of file.",
        )

    def _tags(self, tags: Mapping[str, str], timecode: str | None = None) -> dict[str, str]:
        """Tags as they are written; time codes are those of the first written picture."""
        kept = fresh_tags(tags)
        if timecode is not None and tag(kept, TIMECODE) is None:
            kept[TIMECODE] = timecode
        for key in [key for key in kept if key.lower() == TIMECODE]:
            kept[key] = later_timecode(kept[key], self._info.first_index, self._info.rate)
        return {key: value for key, value in kept.items() if key.lower() not in self._selection.dropped}

    def _next(self) -> Packet | None:
        """The packet whose turn it is; it stays so until it is copied."""
        if self._waiting is None:
            self._waiting = next(self._packets, None)
            if self._waiting is None and self._followers is not None:
                found = self._followers.sentences(self._info.path)
                self.warnings += [each for each in found if each not in self.warnings]
        return self._waiting


def cut(chapters: "Sequence[Chapter]", times: Times, info: VideoInfo) -> "list[Chapter]":
    """The chapters of a part, moved as its frames are: its beginning takes the place of the input's."""
    first_s = (info.start_pts or 0) * info.time_base
    shift = Fraction(times.start_us, MICROSECONDS)
    found: list[Chapter] = []
    for chapter in chapters:
        base = chapter["time_base"]
        assert base is not None, "FFmpeg gives every chapter one"
        start, end = chapter["start"] * base - shift, chapter["end"] * base - shift
        if times.stop_us is not None:
            end = min(end, Fraction(times.stop_us, MICROSECONDS) - shift + first_s)
        start = max(start, first_s)
        if start < end:
            found.append({**chapter, "start": round(start / base), "end": round(end / base)})
    return found


def _shortened(packet: Packet, start_s: float) -> float:
    """When a line of text is due that is still on the screen at `start_s`, where the part begins: then, for
    what is left of its time. Of all others when they were due.
    """
    if packet.pts is None or not packet.duration:
        return _due_s(packet)
    start = round(start_s / float(packet.time_base))
    end = packet.pts + packet.duration
    if packet.pts < start < end:
        packet.pts = packet.dts = start
        packet.duration = end - start
        return start_s
    return _due_s(packet)


def _due_s(packet: Packet) -> float:
    """When a packet is due; those without a time (cover pictures) are due at once."""
    time = time_of(packet)
    return float("-inf") if time is None else float(time)


# --- packets of the first and of the last seconds, for a trial of what is to be written ---

FIRST_S, LAST_S = 3.0, 2.0
# So far a stream is looked for that has no packets at the beginning, as subtitles.
SEARCHED_S = 60.0
LIMIT_BYTES = 1 << 25


def beginning(source: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
    """The packets of the first seconds, and the first ones of each stream that begins a little later."""
    if not streams:
        return
    missing = {stream.index for stream in streams}
    started_s, read = None, 0
    for packet in _readable(source, streams):
        if not packet.size:
            continue
        now_s, read = time_of(packet), read + packet.size
        if now_s is not None and started_s is None:
            started_s = now_s
        past_s = 0 if now_s is None or started_s is None else now_s - started_s
        if past_s <= FIRST_S or packet.stream_index in missing:
            missing.discard(packet.stream_index)
            yield packet
        elif not missing or past_s > SEARCHED_S or read > LIMIT_BYTES:
            return


def ending(source: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
    """The packets of the last seconds; none of a file that is short, or that cannot be sought in."""
    if not streams or not source.duration or source.duration < (FIRST_S + LAST_S) * av.time_base:
        return
    start_s = ((source.start_time or 0) + source.duration) / av.time_base - LAST_S
    read = 0
    try:
        source.seek(round(start_s * av.time_base))
    except av.error.FFmpegError:
        return
    for packet in _readable(source, streams):
        read += packet.size
        now_s = time_of(packet)
        if packet.size and now_s is not None and now_s >= start_s:
            yield packet
        if read > LIMIT_BYTES:
            return


def _readable(source: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
    """The packets from here on as far as they can be read; where that ends is found out in the run."""
    try:
        yield from source.demux(*streams)
    except av.error.FFmpegError:
        return
