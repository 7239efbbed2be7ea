"""What is said when segments cannot be written on: what is there, and how much room is missing."""

import errno

from av.error import FFmpegError

from vqe_cli.errors import VqeError
from vqe_cli.runs.journal import Journal
from vqe_cli.video.targets import write_error

MIB = 2**20


def failed_writing(error: OSError | FFmpegError | VqeError, journal: Journal, frames: int | None) -> VqeError:
    """The error as a user should see it; frames: of the whole video, None when unknown."""
    if isinstance(error, VqeError) and getattr(error.__cause__, "errno", None) != errno.ENOSPC:
        return error
    if not isinstance(error, VqeError) and error.errno != errno.ENOSPC:
        return write_error(error, journal.folder)
    finished = journal.finished.values()
    kept = f"{len(finished)} finished segment{'' if len(finished) == 1 else 's'} are kept in {journal.folder}"
    done, size = sum(segment.frames for segment in finished), sum(segment.bytes for segment in finished)
    missing = ""
    if frames and done:
        # All segments, and the output beside them.
        needed = max(MIB, round(2 * size * frames / done) - size)
        missing = f"; about {needed / MIB:.0f} MiB more are needed"
    return VqeError(
        f"the disk is full; {kept}{missing}.", "Free some space and give the same command again to go on."
    )
