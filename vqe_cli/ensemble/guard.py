"""The winners' guard: a result that strays from the input beyond a limit is replaced by a safer one."""

import math
from collections.abc import Sequence

from torch import Tensor


class Guard:
    """Judges members segment by segment; the members stand in the order of preference, the safest last.

    limit_db: least RGB-PSNR of a member against the input over a segment. segment: frames judged together,
    0 for all that is seen. names: of the members, for `sentences`.
    """

    def __init__(self, names: Sequence[str], limit_db: float, segment: int) -> None:
        self.segment = segment
        self.replaced: list[tuple[int, int]] = []  # (first frame, member taken) of the first few
        self.segments = self.strayed = 0
        self._names, self._limit_db = list(names), limit_db
        self._errors = [0.0] * len(names)
        self._frames = 0

    def see(self, given: Tensor, members: Sequence[Tensor]) -> None:
        """A frame of the present segment: input and members as RGB (1, 3, H, W), black 0 and white 1."""
        for position, member in enumerate(members):
            self._errors[position] += float((member - given).square().mean())
        self._frames += 1

    def decide(self, first_frame: int) -> int:
        """The member that the segment, which starts at `first_frame`, takes; the next segment begins."""
        levels = [
            math.inf if error == 0 else -10 * math.log10(error / self._frames) for error in self._errors
        ]
        fits = [position for position, level in enumerate(levels) if level >= self._limit_db]
        chosen = fits[0] if fits else len(levels) - 1
        self.segments += 1
        if chosen:
            self.strayed += 1
            self.replaced = [*self.replaced, (first_frame, chosen)][:3]
        self._errors, self._frames = [0.0] * len(self._errors), 0
        return chosen

    def sentences(self) -> list[str]:
        """What was replaced, in one sentence; none where nothing was."""
        if not self.strayed:
            return []
        where = ", ".join(f"frame {frame} ({self._names[member]})" for frame, member in self.replaced)
        more = " and further on" if self.strayed > len(self.replaced) else ""
        return [
            f"{self._names[0]} strays from the input (below {self._limit_db:g} dB) in {self.strayed} of "
            f"{self.segments} segments, which are taken from a safer member: from {where}{more}"
        ]
