"""Pipelines of weights.toml, and where their files are.

A pipeline is one `[[pipeline]]` entry; the head of weights.toml says what it may hold. Nothing here imports
torch, so that listing and completing names is quick; `load.py` makes networks of what is found here.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqe_cli.documents import DocumentError, expect, read_toml, table
from vqe_cli.errors import VqeError, WeightsError, did_you_mean, shortened
from vqe_cli.files import cache_folder, sha256_of
from vqe_cli.weights.cache import is_address, is_bare_name


def bundled(name: str) -> Path:
    """A file or folder that comes with vqe: in the installed package, else in the checkout."""
    packaged = Path(__file__).parents[1] / name
    return packaged if packaged.exists() else Path(__file__).parents[2] / name


BUNDLED = bundled("models")
# Settings that a pipeline may choose where the user does not.
DEFAULTS = ("chunk", "overlap", "tile_overlap", "tta")
# What the tables of weights.toml may hold.
ENTRIES: dict[str, Any] = {
    "name": str,
    "scale": int,
    "description": str,
    "trained_on": str,
    "defaults": {str: int},
    "residual_scale": [[float]],
    "tta_noise_ratio": float,
    "stages": [dict],
    "measured": [dict],
}
FILE_ENTRIES = {"file": str, "sha256": str, "url": str}
MEASURED_ENTRIES = {"on": str, "gain_db": float, "worst_db": float}
SCALES = (1, 2, 4)
MOST_FRAMES_OR_PIXELS = 1 << 20  # of a default
TTA_COUNTS = (1, 2, 4, 8)  # that may be averaged; `restore.stages` lists the flips and rotations
MOST_RESIDUAL_SCALE = 1.5


@dataclass(frozen=True)
class StageSpec:
    """One file of weights. Its header names the architecture and its configuration.

    file: name as written. sha256: hex digest that the content must have, None for the user's own files.
    url: where it can be fetched, None when it comes with vqe.
    folder: where the file is looked for first.
    """

    file: str
    sha256: str | None = None
    url: str | None = None
    folder: Path = BUNDLED

    def places(self) -> tuple[Path, ...]:
        """Where the file may lie, in the order in which it is looked for."""
        cache = (cache_folder(),) if is_bare_name(self.file) else ()
        return tuple(place / self.file for place in (self.folder, BUNDLED, *cache))

    def located(self) -> Path | None:
        """The file, or None when it is nowhere."""
        return next((path for path in self.places() if path.is_file()), None)

    def intact(self) -> bool:
        """Whether the file is here with the right content."""
        found = self.located()
        return found is not None and (self.sha256 is None or self.sha256.lower() == sha256_of(found))

    def digest(self, path: Path) -> str:
        """The sha256 of the file, which `path` has compared with that of weights.toml where it names one."""
        return self.sha256.lower() if self.sha256 else sha256_of(path)

    def path(self) -> Path:
        """The file with the right content.

        Raises VqeError when it is nowhere or its sha256 is another one.
        """
        found = self.located()
        if found is None and self.url:
            raise WeightsError(
                f"the weights {self.file} are not on this machine.", "Fetch them: `vqe weights fetch`."
            )
        if found is None:
            raise WeightsError(
                f"there is no file of weights {self.file}.", "Check the path, or install vqe again."
            )
        if not self.intact():
            raise WeightsError(
                f"{found} is damaged: its sha256 is not the one in weights.toml.",
                "Delete it and run `vqe weights fetch`." if self.url else "Install vqe again.",
            )
        return found


@dataclass(frozen=True)
class Measured:
    """What a pipeline gained.

    on: which material. gain_db: mean RGB-PSNR gain over its clips. worst_db: gain of the worst clip.
    """

    on: str
    gain_db: float
    worst_db: float | None = None


@dataclass(frozen=True)
class Pipeline:
    """A parsed entry of weights.toml, or the user's own files."""

    name: str
    """As `--model` takes it."""

    scale: int
    """Size of the output over that of the input."""

    stages: tuple[StageSpec, ...]
    """Stage I, then stage II if there is one."""

    description: str = ""
    """One sentence, for people."""

    trained_on: str = ""
    """Which material, for people."""

    defaults: Mapping[str, int] = field(default_factory=dict)
    """Values for the settings in `DEFAULTS` that the user left open."""

    residual_scale: tuple[tuple[float, float], ...] = ()
    """(QP, share), rising: what the networks' change is multiplied by, linear in between."""

    tta_noise_ratio: float = 0.0
    """Energy of the noise in the answers to flipped and rotated inputs, relative to the change that
    they share."""

    measured: tuple[Measured, ...] = ()
    """What it gained."""

    def residual_scale_at(self, qp: float | None, tta: int = 1) -> float:
        """The factor on the change of a picture of this QP. tta: flips and rotations averaged.

        An average has less energy than the answers that it is made of. Of (1 + tta_noise_ratio) it keeps
        (1 + tta_noise_ratio / tta), and the best multiple grows by as much.
        """
        return self._scale_of_one(qp) * ((1 + self.tta_noise_ratio) / (1 + self.tta_noise_ratio / tta))

    def _scale_of_one(self, qp: float | None) -> float:
        """As `residual_scale_at` without averaging; 1 where the QP is unknown."""
        if qp is None or not self.residual_scale:
            return 1.0
        before = [point for point in self.residual_scale if point[0] <= qp]
        after = [point for point in self.residual_scale if point[0] > qp]
        if not before or not after:
            return (before or after[:1])[-1][1]
        (low, least), (high, most) = before[-1], after[0]
        return least + (most - least) * (qp - low) / (high - low)


@dataclass(frozen=True)
class Registry:
    """All of weights.toml. default: name of the pipeline that runs when none is named."""

    path: Path
    default: str
    pipelines: tuple[Pipeline, ...]

    def names(self) -> list[str]:
        """Names of the pipelines, each once, in the order of the file."""
        return list(dict.fromkeys(pipeline.name for pipeline in self.pipelines))


def registry_path() -> Path:
    """weights.toml: what VQE_WEIGHTS_TOML names, else the packaged one, else that of the checkout."""
    own = os.environ.get("VQE_WEIGHTS_TOML")
    if own:
        return Path(own)
    return bundled("weights.toml")


def load_pipelines(path: Path | None = None) -> Registry:
    """Read weights.toml.

    Raises VqeError for a missing or faulty file, naming the entry and what is wrong with it.
    """
    path = path or registry_path()
    tree = read_registry(path)
    with faults_of(path, "entry"):
        expect(tree.get("default", ""), str, "default")
        expect(tree.get("pipeline", []), [dict], "pipeline")
        pipelines = tuple(_pipeline(entry, path.parent) for entry in tree.get("pipeline", []))
        table(tree, {"default": str, "pipeline": list, "ensembles": dict})  # the last are read by `ensembles`
    default = tree.get("default") or (pipelines[0].name if pipelines else "")
    return Registry(path, default, pipelines)


def read_registry(path: Path) -> dict[str, Any]:
    """The tables of a weights.toml as they are written; VqeError where it cannot be read."""
    try:
        return read_toml(path)
    except DocumentError as error:
        raise WeightsError(
            f"cannot read {path} ({error}).", "Correct it, or unset VQE_WEIGHTS_TOML."
        ) from error


@contextmanager
def faults_of(path: Path, what: str) -> Iterator[None]:
    """Says of a fault in an entry of weights.toml which file has it; what: kind and name of the entry."""
    try:
        yield
    except (DocumentError, VqeError) as error:
        raise WeightsError(
            f"{path} has a faulty {what}: {str(error).rstrip('.')}.", "Its head says what an entry holds."
        ) from error


def find(name: str | None, scale: int, registry: Registry | None = None) -> Pipeline:
    """The pipeline of this name (None: the default one) for this scale.

    Raises VqeError for an unknown name, and for a scale without weights, saying which pipelines have them.
    """
    registry = registry or load_pipelines()
    name = name or registry.default
    if name not in registry.names():
        raise WeightsError(f"there is no pipeline {shortened(name)}.", did_you_mean(name, registry.names()))
    for pipeline in registry.pipelines:
        if (pipeline.name, pipeline.scale) == (name, scale):
            return pipeline
    able = [pipeline.name for pipeline in registry.pipelines if pipeline.scale == scale]
    remedy = (
        f"Use --model {' or '.join(able)}." if able else "No pipeline has them; use --weights with your own."
    )
    raise WeightsError(f"the pipeline {shortened(name)} has no weights for --scale {scale}.", remedy)


def from_files(paths: Sequence[Path], scale: int) -> Pipeline:
    """The user's own files as a pipeline, stage I first.

    Raises VqeError for more than two files.
    """
    if len(paths) > 2:
        raise WeightsError(
            f"--weights names {len(paths)} files.", "Name one for stage I and at most one for stage II."
        )
    stages = tuple(StageSpec(str(path.absolute())) for path in paths)
    return Pipeline(" + ".join(path.name for path in paths), scale, stages, "weights named by --weights")


def stage_of(entry: Any, folder: Path) -> StageSpec:
    """A table { file, sha256, url }; DocumentError where it is faulty, or names what must not be fetched."""
    table(entry, FILE_ENTRIES, ("file",), "a file of weights")
    name, url, sha256 = entry["file"], entry.get("url"), entry.get("sha256")
    if not name or not name.isprintable():
        raise DocumentError(f"{shortened(name)} is not the name of a file")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise DocumentError(f"sha256 of {shortened(name)} is 64 hexadecimal digits, not {shortened(sha256)}")
    if url is not None and not is_bare_name(name):
        raise DocumentError(f"the file {shortened(name)} has a url, so its name is one without folders")
    if url is not None and not is_address(url):
        raise DocumentError(f"the url of {shortened(name)} is one of http or https, not {shortened(url)}")
    return StageSpec(name, sha256, url, folder)


def measured_of(entry: Mapping[str, Any]) -> tuple[Measured, ...]:
    """The rows of `measured` of an entry; DocumentError where one is faulty."""
    rows = [table(row, MEASURED_ENTRIES, ("on", "gain_db"), "measured") for row in entry.get("measured", [])]
    return tuple(Measured(**row) for row in rows)


def _pipeline(entry: Any, folder: Path) -> Pipeline:
    """One `[[pipeline]]` entry; DocumentError where it is faulty."""
    table(entry, ENTRIES, ("name", "stages"))
    name, scale = entry["name"], entry.get("scale", 1)
    shown = shortened(name)
    if not name or not name.isprintable():
        raise DocumentError(f"{shown} is not a name")
    if scale not in SCALES:
        raise DocumentError(f"scale of {shown} is 1, 2 or 4, not {scale}")
    stages = tuple(stage_of(stage, folder) for stage in entry["stages"])
    if not 1 <= len(stages) <= 2:
        raise DocumentError(f"{shown} has {len(stages)} stages, not 1 or 2")
    tta_noise_ratio = float(entry.get("tta_noise_ratio", 0))
    if not 0 <= tta_noise_ratio <= 1:
        raise DocumentError(f"tta_noise_ratio of {shown} lies between 0 and 1")
    texts = {key: entry[key] for key in ("description", "trained_on") if key in entry}
    return Pipeline(
        name,
        scale,
        stages,
        defaults=_defaults(entry, shown),
        residual_scale=_residual_scale(entry, shown),
        tta_noise_ratio=tta_noise_ratio,
        measured=measured_of(entry),
        **texts,
    )


def _defaults(entry: Mapping[str, Any], shown: str) -> dict[str, int]:
    """The settings that a pipeline chooses; shown: its name, in messages."""
    defaults = table(entry.get("defaults", {}), dict.fromkeys(DEFAULTS, int))
    if defaults.get("tta", 1) not in TTA_COUNTS:
        raise DocumentError(f"tta of {shown} is one of {', '.join(map(str, TTA_COUNTS))}")
    for key, value in defaults.items():
        if not 0 <= value <= MOST_FRAMES_OR_PIXELS:
            raise DocumentError(f"{key} of {shown} lies between 0 and {MOST_FRAMES_OR_PIXELS}")
    return defaults


def _residual_scale(entry: Mapping[str, Any], shown: str) -> tuple[tuple[float, float], ...]:
    """The points of `residual_scale`."""
    points = entry.get("residual_scale", [])
    in_pairs = all(len(point) == 2 for point in points)
    if not in_pairs or points != sorted(points) or not all(0 <= s <= MOST_RESIDUAL_SCALE for _, s in points):
        raise DocumentError(
            f"residual_scale of {shown} is a list of [QP, share 0 to {MOST_RESIDUAL_SCALE}] with rising QPs"
        )
    return tuple((float(qp), float(share)) for qp, share in points)
