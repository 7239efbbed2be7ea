"""What a run tells while it goes on, and the report that is left of it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from vqe_cli.documents import plain, table
from vqe_cli.restore.engine import Weights

# What JSON has of a report, of its plan, and so on.
PLAN: dict[str, Any] = {
    "model": str,
    "device": str,
    "precision": str,
    "chunk": int,
    "overlap": int,
    "tiles": [[int]],
    "tta": int,
    "frames": (int, None),
    "size_in": [int],
    "size_out": [int],
    "strength": float,
    "engine": str,
}
SECONDS = dict.fromkeys(("decode", "stage_1", "stage_2", "encode"), float)
WEIGHTS = {"stage": int, "file": str, "sha256": str}
REPORT: dict[str, Any] = {
    "input": str,
    "output": str,
    "plan": dict,
    "frames": int,
    "seconds": dict,
    "wall_s": float,
    "fps": float,
    "weights": [dict],
    "pqf_source": str,
    "pqf_count": int,
    "duplicates": int,
    "scene_cuts": int,
    "warnings": [str],
    "kept_frames": int,
}


@dataclass(frozen=True)
class Summary:
    """What was chosen for a run, said before its first frame."""

    model: str
    """Name of the pipeline."""
    device: str
    """Model of the device."""
    precision: str
    """"fp32", "bf16" or "fp16"."""
    chunk: int
    """Frames kept at a time."""
    overlap: int
    """Frames of context on each side of a chunk."""
    tiles: tuple[tuple[int, int], ...]
    """For each stage the largest side of a tile (0 for whole pictures) and the overlap, in pixels."""
    tta: int
    """Flips and rotations averaged."""
    frames: int | None
    """Expected; None when unknown."""
    size_in: tuple[int, int]
    """(width, height) in pixels."""
    size_out: tuple[int, int]
    """(width, height) in pixels."""
    strength: float = 100.0
    """How much of the change is kept, per cent of what the pipeline wants."""
    engine: str = "torch"
    """What computes the networks: "torch" or "openvino"."""


@dataclass(frozen=True)
class Progress:
    """Frames enhanced so far, of so many in all (None when unknown); segment: the one that is being made, of
    several the first, from 0; None in one piece.
    """

    frames: int
    total: int | None
    segment: int | None = None


@dataclass(frozen=True)
class Notice:
    """A warning, one sentence, as soon as it is known."""

    text: str


@dataclass(frozen=True)
class Resumed:
    """An unfinished run goes on: so many frames, in so many segments, are there already."""

    frames: int
    segments: int


Event = Summary | Progress | Notice | Resumed
Listener = Callable[[Event], None]


class Notices:
    """Warnings of a run: each is reported once, as soon as it is known, and kept for the report."""

    def __init__(self, listen: Listener) -> None:
        self.texts: list[str] = []
        self.listen = listen

    def add(self, *texts: str) -> None:
        """Tells those that are new."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
                self.listen(Notice(text))


@dataclass(frozen=True)
class Seconds:
    """Working time of each part of a run; the parts overlap, so their sum may exceed the time on the wall."""

    decode: float
    stage_1: float
    stage_2: float
    encode: float


@dataclass(frozen=True)
class Took:
    """Seconds of a run: what reader and writer worked, and what the clock showed."""

    decode: float
    encode: float
    wall: float


@dataclass(frozen=True)
class Report:
    """A finished run."""

    input: str
    """Path."""
    output: str
    """Path."""
    plan: Summary
    """What was chosen."""
    frames: int
    """Frames written."""
    seconds: Seconds
    """Working time by part."""
    wall_s: float
    """Seconds from start to end."""
    fps: float
    """Frames a second of these; `kept_frames` are not counted."""
    weights: tuple[Weights, ...]
    """Files that were used, with their stage and sha256."""
    pqf_source: str
    """What peaks were found by: "qp", "hm-log", "period" or "none"."""
    pqf_count: int
    """Peak quality frames."""
    duplicates: int
    """Frames that were not computed because they equal their predecessor."""
    scene_cuts: int
    """Scene cuts found."""
    warnings: tuple[str, ...]
    """One sentence each."""
    kept_frames: int = 0
    """Of the written frames, those that an earlier run had made."""

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Self:
        """The opposite of `as_dict`; raises ValueError for what is not a report."""
        table(tree, REPORT, REPORT.keys() - {"kept_frames"}, "a report")
        table(tree["plan"], PLAN, PLAN.keys() - {"strength", "engine"}, "its plan")
        table(tree["seconds"], SECONDS, SECONDS, "its seconds")
        for entry in tree["weights"]:
            table(entry, WEIGHTS, WEIGHTS, "its weights")
        sizes = [tree["plan"]["size_in"], tree["plan"]["size_out"], *tree["plan"]["tiles"]]
        if any(len(size) != 2 for size in sizes):
            raise ValueError("sizes are pairs")
        plan = dict(tree["plan"], tiles=tuple(map(tuple, tree["plan"]["tiles"])))
        plan |= {name: tuple(plan[name]) for name in ("size_in", "size_out")}
        parts = {
            "plan": Summary(**plan),
            "seconds": Seconds(**tree["seconds"]),
            "weights": tuple(Weights(**entry) for entry in tree["weights"]),
            "warnings": tuple(tree["warnings"]),
        }
        return cls(**{**tree, **parts})

    def as_dict(self) -> dict[str, Any]:
        """The report as what JSON can hold."""
        tree: dict[str, Any] = plain(dataclasses.asdict(self))
        return tree
