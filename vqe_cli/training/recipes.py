"""How compressed versions are made: the recipes by name (SPEC section 10), as options of encoders."""

import re
from dataclasses import dataclass, field

from vqe_cli.errors import VqeError

KNOWN = "qpNN, crfNN, ntire-200k, rate-60k (any rate), x264-crfNN, hm-ldp-qpNN, lossless"


@dataclass(frozen=True)
class Recipe:
    """codec: "libx265", "libx264", "hm", or "ffv1", which loses nothing. qp: constant QP, crf: constant
    quality, kbit_s: rate of two passes; one of them is set for the first three."""

    name: str
    codec: str
    qp: int | None = None
    crf: int | None = None
    kbit_s: int | None = None

    def options(self, stats: str = "", which: int = 0) -> dict[str, str]:
        """The encoder's options; stats, which: the statistics file of two passes and the pass, 1 or 2."""
        own = {} if self.codec == "ffv1" else {"preset": "medium"}
        if self.crf is not None:
            own["crf"] = str(self.crf)
        if self.qp is not None:
            own["x265-params"] = f"qp={self.qp}"
        if self.kbit_s is not None:
            own |= {"b": f"{self.kbit_s}k", "x265-params": f"pass={which}:stats={stats}"}
        return own


@dataclass(frozen=True)
class Pattern:
    """A family of recipes: what its names look like, and what the number in them is."""

    name: str
    codec: str
    number: str
    highest: int = field(default=10**6)


PATTERNS = (
    Pattern(r"qp(\d+)", "libx265", "qp", 51),
    Pattern(r"crf(\d+)", "libx265", "crf", 51),
    Pattern(r"(?:ntire|rate)-(\d+)k", "libx265", "kbit_s"),
    Pattern(r"x264-crf(\d+)", "libx264", "crf", 51),
    Pattern(r"hm-ldp-qp(\d+)", "hm", "qp", 51),
)


def recipe_of(name: str) -> Recipe:
    """The recipe of a name. Raises VqeError for a name or number that there is not."""
    if name == "lossless":
        return Recipe(name, "ffv1")
    for pattern in PATTERNS:
        found = re.fullmatch(pattern.name, name)
        if found and int(found[1]) <= pattern.highest and (pattern.number != "kbit_s" or int(found[1]) > 0):
            return Recipe(name, pattern.codec, **{pattern.number: int(found[1])})
    raise VqeError(f"there is no recipe {name!r}.", f"Known are {KNOWN}; QPs and CRFs go to 51.")
