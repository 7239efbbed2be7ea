"""Ensembles: how several results become one (`Fusion`), and the `[ensembles.NAME]` entries of weights.toml.

Nothing here imports torch, as in `registry`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vqe_cli.documents import DocumentError, table
from vqe_cli.errors import WeightsError, did_you_mean, shortened
from vqe_cli.weights.registry import (
    Measured,
    StageSpec,
    faults_of,
    load_pipelines,
    measured_of,
    read_registry,
    registry_path,
    stage_of,
)

METHODS = ("mean", "weighted", "gated", "adaptive", "guard")
# These weigh two members by a mask.
MASKED = ("gated", "adaptive")
# What an entry may hold.
ENTRIES: dict[str, Any] = {
    "members": [str],
    "method": str,
    "weights": [float],
    "gate": dict,
    "limit_db": float,
    "segment": int,
    "description": str,
    "measured": [dict],
}


@dataclass(frozen=True)
class Fusion:
    """A method and what it needs."""

    method: str = "mean"
    """One of `METHODS`."""

    weights: tuple[float, ...] = ()
    """A number for each member, of which only the proportions count (`weighted`)."""

    gate: StageSpec | None = None
    """The mask network (`gated`)."""

    limit_db: float = 30.0
    """Least RGB-PSNR of a result against the input, dB; below it the result has strayed (`guard`)."""

    segment: int = 24
    """Frames that the guard judges together; 0 for the whole video."""

    def check(self, members: Sequence[str]) -> None:
        """Raises VqeError where the method does not exist, lacks something, or does not fit the members."""
        if self.method not in METHODS:
            raise WeightsError(
                f"there is no ensemble method {shortened(self.method)}.", did_you_mean(self.method, METHODS)
            )
        if len(members) < 2:
            named = f"only {members[0]} is named" if members else "none is named"
            raise WeightsError(f"an ensemble needs two members or more, and {named}.", "Name another one.")
        if self.method in MASKED and len(members) != 2:
            raise WeightsError(
                f"the method {self.method} is for two members, not {len(members)}.",
                "Leave some out, or use mean or weighted.",
            )
        if self.method == "gated" and self.gate is None:
            raise WeightsError(
                "the method gated needs a mask network.",
                "Train one with `vqe train-stage gate` and name it with --gate FILE.",
            )
        if self.method != "gated" and self.gate is not None:
            raise WeightsError(
                f"the method {self.method} has no use for a mask network.", "Leave out --gate, or use gated."
            )
        if (self.method == "weighted") != bool(self.weights):
            has = "has no use for weights" if self.weights else "needs weights"
            raise WeightsError(
                f"the method {self.method} {has}.",
                "Give --method weighted and --weights together; --fit finds the best ones.",
            )
        if self.weights and len(self.weights) != len(members):
            raise WeightsError(
                f"there are {len(self.weights)} weights for {len(members)} members.",
                "Give one for each, in the same order.",
            )
        if not all(map(math.isfinite, (*self.weights, self.limit_db))):
            raise WeightsError(
                "a weight or the limit of an ensemble is NaN or infinity.", "Give numbers like 0.6,0.4."
            )
        if self.weights and not abs(sum(self.weights)) > 1e-6 * sum(map(abs, self.weights)):
            raise WeightsError(
                f"the weights {', '.join(f'{weight:g}' for weight in self.weights)} sum up to zero.",
                "Only their proportions count; give numbers like 0.6,0.4.",
            )
        if self.segment < 0:
            raise WeightsError(
                f"a segment of {self.segment} frames is none.", "Give 1 or more, or 0 for the whole video."
            )

    def shares(self, count: int) -> tuple[float, ...]:
        """The weights of `count` members, brought to a sum of 1; all alike where none are given."""
        weights = self.weights or (1.0,) * count
        return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True)
class Ensemble:
    """An entry `[ensembles.NAME]`, or what the command line names."""

    name: str
    """As `--model` takes it."""

    members: tuple[str, ...]
    """Names of pipelines, which all must have weights for the scale that is asked for."""

    fusion: Fusion = Fusion()
    """How their results become one."""

    description: str = ""
    """One sentence, for people."""

    measured: tuple[Measured, ...] = ()
    """What it gained."""


def load_ensembles(path: Path | None = None) -> dict[str, Ensemble]:
    """The ensembles of weights.toml by name.

    Raises VqeError for a missing or faulty file, naming the entry and what is wrong with it.
    """
    path = path or registry_path()
    pipelines = load_pipelines(path)  # says what is wrong with the file itself
    tables = read_registry(path).get("ensembles", {})
    found = {}
    for name, entry in tables.items():
        with faults_of(path, f"ensemble {shortened(name)}"):
            found[name] = _ensemble(name, entry, path.parent)
            unknown = [member for member in found[name].members if member not in pipelines.names()]
            if unknown:
                remedy = did_you_mean(unknown[0], pipelines.names())
                raise DocumentError(f"no pipeline {shortened(unknown[0])}; {remedy}")
            if name in pipelines.names():
                raise DocumentError("a pipeline has this name, too")
            found[name].fusion.check(found[name].members)
    return found


def find_ensemble(name: str | None, path: Path | None = None) -> Ensemble | None:
    """The ensemble of this name (None: of the default's name), None where it is a pipeline's.

    Raises VqeError for a name that neither has.
    """
    if name is not None and name not in model_names(path):
        raise WeightsError(f"there is no pipeline {shortened(name)}.", did_you_mean(name, model_names(path)))
    return load_ensembles(path).get(name or load_pipelines(path).default)


def model_names(path: Path | None = None) -> list[str]:
    """All that `--model` takes: pipelines, then ensembles."""
    return [*load_pipelines(path).names(), *load_ensembles(path)]


def _ensemble(name: str, entry: Any, folder: Path) -> Ensemble:
    """One entry; DocumentError where it is faulty."""
    table(entry, ENTRIES, ("members",))
    if not name or not name.isprintable():
        raise DocumentError("that is not a name")
    chosen = {field.name: entry[field.name] for field in fields(Fusion) if field.name in entry}
    if "weights" in chosen:
        chosen = {"method": "weighted", **chosen, "weights": tuple(map(float, chosen["weights"]))}
    if "gate" in chosen:
        chosen = {"method": "gated", **chosen, "gate": stage_of(chosen["gate"], folder)}
    return Ensemble(
        name,
        tuple(entry["members"]),
        Fusion(**chosen),
        entry.get("description", ""),
        measured_of(entry),
    )
