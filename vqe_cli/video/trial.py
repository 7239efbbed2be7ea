"""What a container can hold, tried out in memory: a picture, packets of all copied streams and the end of the
file are written and read again, so that nothing fails, and nothing is lost, after hours of work.
"""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import AttachmentStream, Disposition, Stream

from vqe_cli.errors import OutputError, VqeError
from vqe_cli.video.container import ContainerPlan, ContainerWriter
from vqe_cli.video.encoder_options import single_pass
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.opening import open_input
from vqe_cli.video.pipes import STDIN
from vqe_cli.video.selection import (
    TIMECODE,
    WITHOUT_COPIES,
    NotHeld,
    Selection,
    codec_of,
    left_out,
    named,
    select,
    tag,
)
from vqe_cli.video.targets import MUXERS, Encoding

# Containers that are tried as advice, in this order; and encoders for those that do not hold HEVC.
ADVISED = (".mkv", ".mov", ".mp4", ".ts", ".nut")
ADVISED_CODECS = ("libx264", "libsvtav1", "libvpx-vp9")
ATTACHED = ("attachment", "")


@dataclass(frozen=True)
class Tried:
    """A plan that can be carried out. codec, pix_fmt: of the written video. warnings: what is not kept."""

    plan: ContainerPlan
    codec: str
    pix_fmt: str
    warnings: tuple[str, ...]


_found: dict[str, Tried] = {}


def try_out(plan: ContainerPlan) -> Tried:
    """The plan with the streams that its container can hold; a plan is tried once in a process.

    Raises VqeError where the container cannot hold the video or a stream that must not be lost, with a remedy
    that has been tried as well, and as `ContainerWriter`.
    """
    key = f"{plan} {_state_of(plan.info)}"
    if key not in _found:
        try:
            _found[key] = _fitting(plan)
        except NotHeld as error:
            message = f"{plan.target.path}: {error.message}"
            raise OutputError(message, remedy=_remedy(plan, error.streams)) from error
    return _found[key]


def _state_of(info: VideoInfo) -> tuple[int, int] | None:
    """What changes when a file is replaced."""
    if info.path == STDIN or not info.path.is_file():
        return None
    state = info.path.stat()
    return state.st_size, state.st_mtime_ns


def _fitting(plan: ContainerPlan) -> Tried:
    """As `try_out`; raises NotHeld in place of an error with a remedy."""
    plan = replace(plan, selection=select(plan.info, plan.target.muxer))
    if plan.selection.refused:
        raise _not_held(plan, plan.selection.refused)
    for _ in range(2 + len(plan.selection.written)):
        try:
            return _performed(plan)
        except NotHeld as error:
            plan = _without(plan, error)
    raise NotHeld(f"{plan.target.muxer} files cannot hold what the input has.")


def _without(plan: ContainerPlan, error: NotHeld) -> ContainerPlan:
    """The plan without what an attempt has failed by; raises NotHeld where that must not be lost."""
    if not error.streams:
        alone = _with_streams(plan, ())
        try:
            _performed(alone)
        except NotHeld as same:
            if not _has_timecode(plan) or TIMECODE in plan.selection.dropped:
                raise NotHeld(same.message) from error
            warning = f"{plan.info.path}: the time code cannot be kept in {plan.target.muxer} files"
            return _changed(plan, dropped=frozenset({TIMECODE}), warnings=(warning,))
    streams = error.streams or _culprits(plan)
    if not streams:
        raise error
    with open_input(plan.info.path) as source:
        losses = [source.streams[index] for index in streams]
        if not all(each.type in ("data", "unknown") or _is_cover(each) for each in losses):
            raise error if error.streams else _not_held(plan, streams)
        warnings = tuple(left_out(plan.info.path, each, plan.target.muxer) for each in losses)
    return _changed(_with_streams(plan, set(plan.selection.written) - set(streams)), warnings=warnings)


def _culprits(plan: ContainerPlan) -> tuple[int, ...]:
    """The streams that cannot be written even alone."""
    failing = []
    for index in plan.selection.written:
        try:
            _performed(_with_streams(plan, (index,)))
        except NotHeld:
            failing.append(index)
    return tuple(failing)


def _performed(plan: ContainerPlan) -> Tried:
    """Carries a plan out in memory and reads the result; raises NotHeld where something fails or is lost."""
    memory = BytesIO()
    try:
        writer = ContainerWriter(_encoded(plan, single_pass(plan.output.encoding)), memory)
        tried = Tried(plan, writer.codec, writer.pix_fmt, tuple(writer.warnings))
        try:
            used = writer.dry_run()
            lost, warnings = _missing(plan, writer, used, memory.getvalue())
        finally:
            writer.close()
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NotHeld(f"{plan.target.muxer} files cannot hold what the input has ({reason}).") from error
    if lost:
        raise _not_held(plan, lost)
    return replace(tried, plan=_changed(plan, warnings=warnings), warnings=(*tried.warnings, *warnings))


def _missing(
    plan: ContainerPlan, writer: ContainerWriter, used: set[int], written: bytes
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The streams with packets that are not found again in what was written, and what else is lost."""
    with av.open(BytesIO(written), "r", metadata_errors="replace") as result:
        found = Counter(_kind(stream) for stream in result.streams)
        chapters = bool(result.chapters())
        has_timecode = _timecode_in(result)
    video = ("video", av.Codec(writer.codec, "w").canonical_name)
    if plan.info.stream_index in used and not found[video]:
        raise NotHeld(f"{plan.target.muxer} files cannot hold video of {writer.codec}.")
    found[video] -= 1
    lost = []
    for stream in writer.copies.streams:
        kind = _kind(stream)
        if stream.index in plan.selection.as_text:
            kind = ("subtitle", "subrip")
        if found[kind] or (found[ATTACHED] and _is_cover(stream)):
            found[kind if found[kind] else ATTACHED] -= 1
        elif stream.index in used or isinstance(stream, AttachmentStream):
            lost.append(stream.index)
    gone = ["chapters"] if writer.copies.chapters(plan.output) and not chapters else []
    if tag(writer.copies.video_tags, TIMECODE) and not has_timecode:
        gone.append("the time code")
    warning = f"{plan.info.path}: {' and '.join(gone)} cannot be kept in {plan.target.muxer} files"
    return tuple(lost), (warning,) if gone else ()


def _kind(stream: Stream) -> tuple[str, str]:
    """What a stream must be found again as."""
    if isinstance(stream, AttachmentStream):
        return ATTACHED
    context = stream.codec_context
    return stream.type, context.codec.canonical_name if context is not None else codec_of(stream)


def _is_cover(stream: Stream) -> bool:
    return stream.type == "video" and Disposition.attached_pic in stream.disposition


def _has_timecode(plan: ContainerPlan) -> bool:
    if plan.info.container in WITHOUT_COPIES:
        return False
    with open_input(plan.info.path) as source:
        return _timecode_in(source)


def _timecode_in(container: InputContainer) -> bool:
    tags = [container.metadata, *(stream.metadata for stream in container.streams)]
    return any(tag(each, TIMECODE) is not None for each in tags)


def _with_streams(plan: ContainerPlan, kept: Sequence[int] | set[int]) -> ContainerPlan:
    chosen = plan.selection
    copied = tuple(index for index in chosen.copied if index in kept)
    return replace(plan, selection=replace(chosen, copied=copied, as_text=chosen.as_text & frozenset(kept)))


def _changed(
    plan: ContainerPlan, warnings: tuple[str, ...], dropped: frozenset[str] = frozenset()
) -> ContainerPlan:
    chosen: Selection = plan.selection
    all_warnings = tuple(dict.fromkeys([*chosen.warnings, *warnings]))
    return replace(plan, selection=replace(chosen, warnings=all_warnings, dropped=chosen.dropped | dropped))


def _not_held(plan: ContainerPlan, streams: Sequence[int]) -> NotHeld:
    with open_input(plan.info.path) as source:
        names = " and ".join(named(source.streams[index]) for index in streams)
    return NotHeld(f"{plan.target.muxer} files cannot hold {names}.", tuple(streams))


# --- advice ---


def _remedy(plan: ContainerPlan, streams: Sequence[int]) -> str:
    """What to do about it, of what has been tried and works."""
    suffix = next((each for each in ADVISED if _works(_elsewhere(plan, each))), None)
    other = f"{'an' if suffix in ('.mkv', '.mp4') else 'a'} {suffix} file"
    if not streams:
        codec = next((each for each in ADVISED_CODECS if _works(_coded_by(plan, each))), None)
        ways = [f"write {other}"] if suffix else []
        ways += [f"choose --codec {codec}"] if codec else []
        return f"{_sentence(' or '.join(ways) or 'choose another --codec')}."
    if suffix:
        return f"Write {other}."
    return f"Remove {'it' if len(streams) == 1 else 'them'} first: {_without_streams(plan, streams)}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _elsewhere(plan: ContainerPlan, suffix: str) -> ContainerPlan | None:
    """The same plan for another kind of file, None for the one that is being written."""
    muxer = MUXERS[suffix]
    if muxer == plan.target.muxer:
        return None
    target = replace(plan.target, path=plan.target.path.with_suffix(suffix), muxer=muxer)
    return replace(plan, target=target)


def _coded_by(plan: ContainerPlan, codec: str) -> ContainerPlan | None:
    """The same plan with another codec, None where the user has asked for options of the other one."""
    wanted = plan.output.encoding
    if wanted.options or wanted.codec == codec:
        return None
    return _encoded(plan, replace(wanted, codec=codec))


def _encoded(plan: ContainerPlan, encoding: Encoding) -> ContainerPlan:
    """The same plan with another encoding."""
    return replace(plan, output=replace(plan.output, encoding=encoding))


def _works(plan: ContainerPlan | None) -> bool:
    """Whether a plan can be carried out."""
    if plan is None:
        return False
    try:
        _fitting(plan)
    except VqeError:
        return False
    return True


def _without_streams(plan: ContainerPlan, streams: Sequence[int]) -> str:
    """A command that leaves the streams out of a copy of the input."""
    path = plan.info.path
    with open_input(path) as source:
        indices = [stream.index for stream in source.streams if stream.type not in ("data", "unknown")]
    kept = " ".join(f"-map 0:{index}" for index in indices if index not in streams)
    suffix = path.suffix if path.suffix.lower() in MUXERS else ".mkv"
    name = f"./{path}" if str(path).startswith("-") else str(path)
    copy = Path(f"WITHOUT_IT{suffix}")
    return f"ffmpeg -i {shlex.quote(name)} {kept} -c copy {copy}"
