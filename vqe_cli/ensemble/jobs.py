"""Which files are fused with which: single videos, or folders of videos paired by stem."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqe_cli.errors import VqeError
from vqe_cli.measure.pairing import videos_in
from vqe_cli.video.targets import MUXERS

WRITABLE = {*MUXERS, ".y4m"}


@dataclass(frozen=True)
class Job:
    """One fusion."""

    name: str
    """Of the clip."""
    members: tuple[Path, ...]
    """Results, or the one input of several pipelines."""
    given: Path | None = None
    """The input of results."""
    truth: Path | None = None
    """The clean clip, for fitting."""
    output: Path | None = None
    """Where the result goes; None when nothing is written."""


def jobs_of(
    members: Sequence[Path],
    given: Path | None = None,
    truth: Path | None = None,
    output: Path | None = None,
) -> list[Job]:
    """One job for videos, or one for each video of folders; an image folder is a video.

    Folders are paired by stem, led by the first member's. Raises VqeError for what does not exist, for files
    and folders mixed, and for a video that another folder lacks.
    """
    sides = [*members, *[path for path in (given, truth) if path is not None]]
    found = {path: videos_in(path) for path in sides}
    single = [path for path in sides if isinstance(found[path], Path)]
    if len(single) == len(sides):
        return [Job(members[0].stem, tuple(members), given, truth, output)]
    if single:
        folder = next(path for path in sides if path not in single)
        raise VqeError(
            f"{single[0]} is one video and {folder} is a folder of videos.",
            "Give videos only, or folders only.",
        )
    folders = {path: videos for path, videos in found.items() if isinstance(videos, dict)}
    if output is not None and (output.suffix or output.is_file()):
        raise VqeError(f"{output} is one file for a folder of videos.", "Name a folder for --out.")
    jobs = []
    for name in folders[members[0]]:
        lacking = next((path for path in sides if name not in folders[path]), None)
        if lacking is not None:
            raise VqeError(f"{lacking} has no video named {name}.", "Names must agree up to the suffix.")
        first = folders[members[0]][name]
        jobs.append(
            Job(
                name,
                tuple(folders[path][name] for path in members),
                folders[given][name] if given else None,
                folders[truth][name] if truth else None,
                output / written_name(first) if output else None,
            )
        )
    return jobs


def written_name(first: Path) -> str:
    """The name of the file, or of the folder of images, that is written for a first member."""
    if first.is_dir():
        return first.name
    return first.name if first.suffix.lower() in WRITABLE else f"{first.stem}.mkv"
