"""Which files of a folder are videos: by their content, as FFmpeg sees it."""

from pathlib import Path

from av.container import InputContainer

from vqe_cli.errors import VqeError
from vqe_cli.video.opening import IMAGE_SUFFIXES, open_input, reading, video_stream
from vqe_cli.video.targets import MUXERS

# Names that promise a video: where the content does not keep it, that is worth telling.
VIDEO_SUFFIXES = {
    *MUXERS,
    ".y4m",
    ".mpg",
    ".mpeg",
    ".m2v",
    ".vob",
    ".wmv",
    ".flv",
    ".3gp",
    ".ogv",
    ".ivf",
    ".obu",
}
# What FFmpeg opens as video and is none: lists of other files, single images.
LISTS = {"hls", "concat", "concatf", "dash", "sdp", "image2", "ico"}
# Lists may name files on other machines: looking into a folder must not call these up.
LOCAL_ONLY = {"protocol_whitelist": "file"}


def is_video(path: Path) -> bool:
    """Whether a file holds a video, or is damaged and named like one (so that the damage is reported)."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return False
    try:
        with open_input(path, options=LOCAL_ONLY) as container, reading(path):
            name = container.format.name
            return not (name in LISTS or name.endswith("_pipe")) and _has_pictures(container, path)
    except VqeError:
        return path.suffix.lower() in VIDEO_SUFFIXES


def _has_pictures(container: InputContainer, path: Path) -> bool:
    try:
        return video_stream(container, path).width > 0
    except VqeError:
        return False
