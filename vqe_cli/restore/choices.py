"""What can be chosen of how frames are enhanced, apart from which frames: networks, sizes, peaks.

A run's plan holds one of each; whoever enhances frames without files makes them itself. None and 0 leave a
choice to the pipeline or to what the device model bears.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class NetworkChoice:
    """Which networks run, and where."""

    model: str | None = None
    """A pipeline or an ensemble of weights.toml; None for the default one."""

    weights: tuple[Path, ...] = ()
    """Files in place of the pipeline's own, stage I first."""

    scale: int = 1
    """Size of the output over that of the input: 1, 2 or 4."""

    stages: str | None = None
    """"1", "2" or "both"; None for all that the pipeline has."""

    tta: int | None = None
    """How many flips and rotations are averaged: 1, 2, 4 or 8; None for as many as the pipeline wants."""

    device: str = "auto"
    """"auto", "cpu", "mps", "cuda" or "cuda:N"."""

    precision: str = "auto"
    """"auto", "fp32", "bf16" or "fp16"."""

    strength: float = 100.0
    """How much of the change is kept, per cent of what the pipeline wants."""

    engine: str = "auto"
    """What computes there: "auto", "torch" or "openvino"."""

    def on(self, device: str, precision: str | None = None, engine: str | None = None) -> Self:
        """The same on another device."""
        return replace(
            self, device=device, precision=precision or self.precision, engine=engine or self.engine
        )


@dataclass(frozen=True)
class SizeChoice:
    """How much is enhanced at a time."""

    chunk: int = 0
    """Frames of a chunk that are kept; 0 for automatic."""

    overlap: int | None = None
    """Context frames on each side of a chunk; None for automatic."""

    tile: int = 0
    """Largest side of a tile, pixels; 0 for automatic."""

    tile_overlap: int = 0
    """Pixels that neighbouring tiles share; 0 for automatic."""

    peak_period: int = 4
    """Frames between peaks where QPs are unknown: context reaches twice as far for the nearest one."""


@dataclass(frozen=True)
class PeakRule:
    """How peak quality frames are found (docs/specification.md, section 3)."""

    mode: str = "auto"
    """"auto", "qp", "hm-log", "period" or "none"."""

    rule: str = "prominent"
    """Which minima of the QP count: "prominent" or "minima"."""

    period: int = 4
    """Frames between peaks where QPs are unknown."""

    from_log: bool = False
    """Whether QPs come from a log of HM."""

    step: float = 1.0
    """By how much QPs of the input's codec differ where those of HEVC differ by 1."""
