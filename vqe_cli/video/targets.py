"""Where the output goes and what is asked of it: which kind of file a name asks for, and whether it can be
written there at all.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vqe_cli.errors import OutputError
from vqe_cli.files import Aside, is_stream
from vqe_cli.files import write_error as write_error
from vqe_cli.video.opening import IMAGE_SUFFIXES
from vqe_cli.video.pipes import STDOUT, StandardOutput
from vqe_cli.video.times import Times

MUXERS = {
    ".mkv": "matroska",
    ".webm": "webm",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
    ".avi": "avi",
    ".nut": "nut",
    ".mxf": "mxf",
    ".hevc": "hevc",
    ".h265": "hevc",
    ".265": "hevc",
    ".h264": "h264",
    ".264": "h264",
}
# What can be written without going back, the usual one first.
PIPED = ("nut", "mkv", "webm", "ts", "y4m")
# Where the number stands in the names of images; more digits than this are no width.
NUMBERED = re.compile(r"%0?\d{0,2}d")


@dataclass(frozen=True)
class Encoding:
    """What the user asked of the encoder: codec None leaves it to us, crf None is the default quality,
    pix_fmt None keeps the input's; options are FFmpeg's names and values for the encoder.
    """

    codec: str | None = None
    crf: float | None = None
    pix_fmt: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """Where frames go, and how."""

    path: Path
    """A video file by its suffix, `.y4m`, a folder or `%05d.png` for PNG images."""

    encoding: Encoding = field(default_factory=Encoding)
    scale: int = 1
    """Of the written size to the input's."""

    part: bool = False
    """Whether only a part of the input is written: the other streams are cut to it, and it starts where the
    input starts.
    """

    overwrite: bool = False
    """Whether there may be such a file already."""

    times: Times | None = None
    """Of a part that was chosen by its times: chapters are cut to it, too."""

    container: str = "keep"
    """Of standard output, the kind of stream: one of `PIPED`; "keep" for the first."""


@dataclass(frozen=True)
class Target:
    """kind: "container" (muxer is FFmpeg's name), "y4m" or "images" (pattern names them, "%05d.png").

    path: the final name: of a file, or of the folder that the images go to.
    """

    kind: str
    path: Path
    muxer: str = ""
    pattern: str = ""

    def image(self, number: int) -> str:
        """The name of an image."""
        return NUMBERED.sub(lambda found: found.group() % number, self.pattern, count=1)

    def is_taken(self) -> bool:
        """Whether writing would replace something."""
        if is_stream(self.path):
            return False
        if self.kind != "images" or not self.path.is_dir():
            return os.path.lexists(self.path)
        return any(self.path.glob(NUMBERED.sub("*", self.pattern)))

    def aside(self, overwrite: bool) -> Aside | StandardOutput:
        """Where it is written until it is complete; raises OSError where that cannot be made."""
        if self.path == STDOUT:
            return StandardOutput()
        return Aside(self.path, overwrite, self.kind == "images", place_beside(self.path))


def is_pattern(path: Path) -> bool:
    """Whether a name stands for numbered images: "f%05d.png", but not "50%done.mkv"."""
    return path.suffix.lower() in IMAGE_SUFFIXES and NUMBERED.search(path.name) is not None


def place_beside(path: Path) -> Path:
    """The folder for what is not complete yet: that of `path`, so that renaming is one step; a folder that is
    there itself where the one above cannot serve, being locked or on another disk.
    """
    path = path.absolute()
    above = path.parent
    if path.is_dir() and not (
        os.access(above, os.W_OK | os.X_OK) and above.stat().st_dev == path.stat().st_dev and above != path
    ):
        return path
    return above


def refuse_standard_output(output: Path) -> None:
    """Raises VqeError for "-"."""
    if str(output) == "-":
        raise OutputError(
            "the result cannot be written to standard output (-).",
            remedy="Name a file, or a named pipe (mkfifo out.y4m), which is written to when all is complete.",
        )


def target_of(output: Path, container: str = "keep") -> Target:
    """What `output` asks for by its name, of standard output by `container`.

    Raises VqeError for "-", for suffixes that are not known and for containers that cannot be piped.
    """
    refuse_standard_output(output)
    if output == STDOUT:
        kind = PIPED[0] if container == "keep" else container
        if kind not in PIPED:
            raise OutputError(
                f"{kind} files cannot be written to a pipe: their index is written when all is there.",
                f"Use --container {', '.join(PIPED[:-1])} or {PIPED[-1]}.",
            )
        return Target("y4m", output) if kind == "y4m" else Target("container", output, MUXERS[f".{kind}"])
    suffix = output.suffix.lower()
    if not suffix and output.name.lower() in (*MUXERS, ".y4m", *IMAGE_SUFFIXES) and not output.is_dir():
        raise OutputError(
            f"{output} is nothing but a suffix.", remedy=f"Put a name before it: out{output.name}"
        )
    if suffix in IMAGE_SUFFIXES and not output.is_dir():
        if suffix != ".png":
            raise OutputError(f"{output}: images are written as PNG only.", remedy="End the name in .png.")
        return Target("images", _named(output.parent), pattern=output.name)
    if output.is_dir() or not suffix:
        return Target("images", _named(output), pattern="%05d.png")
    if suffix == ".y4m":
        return Target("y4m", output)
    if suffix in MUXERS:
        return Target("container", output, muxer=MUXERS[suffix])
    raise OutputError(
        f"{output}: no video file ends in {suffix}.",
        remedy=f"Use one of {' '.join([*MUXERS, '.y4m'])}, or a folder name for PNG images.",
    )


def _named(folder: Path) -> Path:
    """The same folder by a path that ends in its name, as "." and ".." do not."""
    return folder if folder.name not in ("", "..") else folder.resolve()


def check_target(target: Target, source: Path, overwrite: bool, new_folder: bool = False) -> None:
    """Raises VqeError: output is the input, exists already, or its folder is missing or cannot be written
    to.

    new_folder: the folder will be made, in one that is there and can be written to.
    """
    if target.path == STDOUT:
        return
    path, folder = target.path, place_beside(target.path)
    if new_folder:
        folder = existing_folder(folder)
    if path.exists() and source.exists() and path.samefile(source):
        raise OutputError(f"{path} is the input itself.", remedy="Choose another name for the output.")
    if path.is_dir() and target.kind != "images":
        raise OutputError(f"{path} is a folder.", remedy="Choose another name for the output.")
    if target.kind == "images" and path.exists() and not path.is_dir():
        raise OutputError(
            f"{path} is not a folder, which images would go to.",
            remedy="Name a folder, or end the name in a video's suffix such as .mkv.",
        )
    if target.is_taken() and not overwrite:
        raise OutputError(f"{path} exists already.", remedy="Choose another name, or give --overwrite.")
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist.", remedy="Make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"the folder {folder} cannot be written to.", remedy="Choose another folder for the output."
        )


def existing_folder(path: Path) -> Path:
    """The innermost folder there is of an absolute path; a file in the way is given as it is."""
    while not path.exists():
        path = path.parent
    return path
