"""Videos that are not enhanced, each with the command that makes them fit."""

from pathlib import Path

from vqe_cli.errors import InputError, VqeError
from vqe_cli.text import as_argument
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.opening import words_on_decoding

ANIMATED = 1 << 1


def interlaced(path: Path, index: int | None = None) -> VqeError:
    """Two fields of different times in a picture, from picture `index` on (None: as the header says)."""
    where = "" if index is None else f" from picture {index} on"
    return InputError(
        f"{path} is interlaced{where}, which would be enhanced wrongly.",
        remedy=f"Deinterlace it first: ffmpeg -i {as_argument(path)} -vf bwdif -c:v ffv1 -c:a copy "
        "PROGRESSIVE.mkv",
    )


def size_change(info: VideoInfo, index: int, width: int, height: int) -> VqeError:
    """Picture `index` has another size, in pixels, than the pictures before."""
    return InputError(
        f"{info.path} changes its picture size at picture {index}, from {info.width}x{info.height} to "
        f"{width}x{height}.",
        remedy=f"Give it one size first: ffmpeg -i {as_argument(info.path)} "
        f"-vf scale={info.width}:{info.height} -c:v ffv1 -c:a copy ONE_SIZE.mkv",
    )


def format_change(info: VideoInfo, index: int, pix_fmt: str) -> VqeError:
    """Picture `index` has another pixel format than the pictures before."""
    return InputError(
        f"{info.path} changes its pixel format at picture {index}, from {info.pix_fmt} to {pix_fmt}.",
        remedy=f"Give it one format first: ffmpeg -i {as_argument(info.path)} -pix_fmt {info.pix_fmt} "
        "-c:v ffv1 -c:a copy ONE_FORMAT.mkv",
    )


def undecodable(path: Path) -> VqeError:
    """A file of which no picture can be decoded."""
    with path.open("rb") as file:
        head = file.read(21)
    # Container specification of WebP: the flags of the first chunk, VP8X.
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20:] and head[20] & ANIMATED:
        return InputError(
            f"{path} is an animated WebP, which FFmpeg cannot decode here.",
            remedy=f"Make images of it first, with ImageMagick: mkdir PICTURES && magick "
            f"{as_argument(path)} -coalesce PICTURES/%05d.png",
        )
    words = words_on_decoding(path)
    return InputError(
        f"{path} holds no picture that can be decoded{f' ({words})' if words else ''}.",
        remedy="The file is damaged or incomplete; get an intact copy.",
    )
