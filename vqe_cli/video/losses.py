"""What the chosen container and codec cannot keep, in sentences for the user."""

from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.hdr import PARAMETER_OPTIONS, content_light, mastering_display
from vqe_cli.video.hdr_container import CODEC_IDS

DESCRIBING_MUXERS = ("matroska", "webm", "mp4", "mov")

# Metadata of single pictures that the encoders are not given.
PER_PICTURE = {
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "A53_CC": "closed captions inside the video",
    "FILM_GRAIN_PARAMS": "film grain parameters",
}


def of_stream(info: VideoInfo, muxer: str, codec: str) -> list[str]:
    """What is lost of the description of the whole stream."""
    lost = []
    if info.display_matrix and muxer not in DESCRIBING_MUXERS:
        lost.append(f"the rotation ({info.rotation_deg} degrees)")
    if info.sample_aspect not in (None, 1) and muxer == "avi" and codec not in PARAMETER_OPTIONS:
        lost.append("the pixel aspect ratio")
    kept = codec in PARAMETER_OPTIONS or (muxer in DESCRIBING_MUXERS and codec in CODEC_IDS)
    if not kept and (mastering_display(info.side_data) or content_light(info.side_data)):
        lost.append("the HDR10 metadata")
    return [f"{info.path}: {' and '.join(lost)} cannot be kept by {codec} in {muxer}"] if lost else []


def of_frame(info: VideoInfo, frame: Frame) -> list[str]:
    """What is lost of the metadata of one picture; the same sentence for each picture."""
    lost = [name for key, name in PER_PICTURE.items() if key in frame.side_data]
    return [f"{info.path}: {name} are not kept" for name in lost]
