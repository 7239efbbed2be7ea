"""Which file is measured against which: files, or folders whose entries are paired by stem."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqe_cli.errors import InputError
from vqe_cli.video.opening import IMAGE_SUFFIXES

# By suffix, so that logs and lists beside the videos do not count as unpaired.
VIDEO_SUFFIXES = (
    ".264 .265 .avi .bin .bit .flv .h264 .h265 .hevc .ivf .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf "
    ".nut .obu .ogv .ts .vob .webm .wmv .y4m .yuv"
)


@dataclass(frozen=True)
class Pair:
    """One video on each side: output, and truth or input or both."""

    name: str
    gt: Path | None
    pred: Path
    lq: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """What can be measured, and every name that lacks a partner, with the sides that lack it."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[tuple[str, str], ...]


def pair_up(gt: Path | None, pred: Path, lq: Path | None = None) -> Pairing:
    """Pairs of output and truth, or input, or both: of videos, or of folders of videos or of image folders.

    Folders are paired by stem: `001.mkv`, `001.mp4`, `001.yuv` and `001/f001.png` are all named 001. A
    folder that holds images itself is one video. Names that only the input folder has are left out
    silently: a corpus may hold more than was enhanced. Raises VqeError for a missing path, a folder without
    videos, a mixture of file and folder, two videos of one stem, and when nothing pairs at all.
    """
    given = {"--gt": gt, "--pred": pred, "--lq": lq}
    sides = {side: path for side, path in given.items() if path is not None}
    found = {side: videos_in(path) for side, path in sides.items()}
    single = {side for side, videos in found.items() if isinstance(videos, Path)}
    if single == set(sides):
        return Pairing((Pair(pred.stem if pred.is_file() else pred.name, gt, pred, lq),), ())
    if single:
        lone, folder = next(iter(single)), next(side for side in sides if side not in single)
        raise InputError(
            f"{lone} {sides[lone]} is one video and {folder} {sides[folder]} is a folder of videos.",
            "Give two videos or two folders.",
        )
    folders = {side: videos for side, videos in found.items() if not isinstance(videos, Path)}
    return _match(folders, sides)


def _match(folders: dict[str, dict[str, Path]], sides: dict[str, Path]) -> Pairing:
    measured = sorted(set(folders.get("--gt", {})) | set(folders["--pred"]))
    pairs, unpaired = [], []
    for name in measured:
        missing = [side for side in sides if name not in folders[side]]
        if missing:
            unpaired.append((name, " and ".join(f"{side} {sides[side]}" for side in missing)))
        else:
            found = [folders[side][name] if side in sides else None for side in ("--gt", "--lq")]
            pairs.append(Pair(name, found[0], folders["--pred"][name], found[1]))
    if not pairs:
        listed = "; ".join(f"{name} is missing in {where}" for name, where in unpaired)
        raise InputError(
            f"No video of {sides['--pred']} has a partner: {listed}.", "Names must agree up to the suffix."
        )
    return Pairing(tuple(pairs), tuple(unpaired))


def videos_in(path: Path) -> Path | dict[str, Path]:
    """The path itself if it is one video (a file, a pattern, an image folder), else its videos by stem.

    Raises VqeError for a path that does not exist, an empty folder, and two videos of one stem.
    """
    if "%" in path.name and not path.exists():
        return path
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path} does not exist.", "Check the path.")
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries):
        return path
    videos: dict[str, Path] = {}
    for entry in entries:
        if not _is_video(entry):
            continue
        name = entry.name if entry.is_dir() else entry.stem
        if name in videos:
            raise InputError(
                f"{path} holds both {videos[name].name} and {entry.name}.", "Keep one of each stem."
            )
        videos[name] = entry
    if not videos:
        raise InputError(
            f"The folder {path} holds no video and no folder of images.", "Give a folder of videos."
        )
    return videos


def folder_labels(paths: Sequence[Path]) -> list[str]:
    """Short names that tell several rate points apart: the last part of each path, or as many as it takes."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{path} ({index + 1})" for index, path in enumerate(paths)]


def _is_video(entry: Path) -> bool:
    if entry.is_dir():
        return any(child.suffix.lower() in IMAGE_SUFFIXES for child in entry.iterdir())
    return entry.suffix.lower() in VIDEO_SUFFIXES.split()
