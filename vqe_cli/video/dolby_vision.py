"""Which profile of Dolby Vision a stream is coded in, where only Dolby's own conversion can show it.

Profile 5 (and profile 10 of AV1 without a compatible base layer) holds no YUV but Dolby's IPT, reshaped by
metadata of each picture: read as YUV it is green and purple. All other profiles have a base layer in HDR10,
HLG or BT.709.
"""

import io
import struct
from collections.abc import Mapping

import av
from av.video.stream import VideoStream

CODECS = ("hevc", "av1")
# Dolby Vision streams within the ISO base media file format, section 2.2: how the boxes are called.
BOXES = (b"dvcC", b"dvvC", b"dvwC")


def unshowable_profile(stream: VideoStream, side_data: Mapping[str, bytes]) -> int | None:
    """The number of such a profile, None for all other streams.

    side_data: of the first picture, by FFmpeg's names.
    """
    if stream.codec_context.name not in CODECS and stream.codec_context.codec.canonical_name not in CODECS:
        return None
    found = _configuration(stream)
    if found is not None:
        profile, compatible_with = found
        return profile if profile == 5 or (profile == 10 and compatible_with == 0) else None
    if not is_ipt(side_data.get("DOVI_METADATA", b"")):
        return None
    return 5 if stream.codec_context.codec.canonical_name == "hevc" else 10


def is_ipt(metadata: bytes) -> bool:
    """Whether FFmpeg's AVDOVIMetadata of a picture is that of a base layer in IPT: profile 0 of the picture's
    metadata with all codes in use, by which FFmpeg knows them as well.
    """
    if len(metadata) < struct.calcsize("N"):
        return False
    (header,) = struct.unpack_from("N", metadata)
    if len(metadata) < header + 11:
        return False
    profile, full_range = metadata[header + 4], metadata[header + 10]
    return profile == 0 and full_range == 1


def _configuration(stream: VideoStream) -> tuple[int, int] | None:
    """Profile and number of compatibility of the container's configuration record, None where it has none.

    PyAV does not show it, but FFmpeg's muxer writes it: the head of an MP4 file with this stream is written
    to memory.
    """
    memory = io.BytesIO()
    options = {"strict": "unofficial", "movflags": "empty_moov+frag_keyframe"}
    try:
        with av.open(memory, "w", format="mp4", options=options) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
            head = memory.getvalue()
    except (av.error.FFmpegError, ValueError):
        return None
    for box in BOXES:
        at = head.find(box)
        record = head[at + 4 : at + 9]
        if at >= 0 and len(record) == 5:
            return record[2] >> 1, record[4] >> 4
    return None
