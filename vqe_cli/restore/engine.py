"""A loaded pipeline: networks on their device, and chunks of frames turned into enhanced planes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan, prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vqe_cli.errors import DeviceError, VqeError
from vqe_cli.restore.choices import NetworkChoice, SizeChoice
from vqe_cli.restore.chunks import Chunk
from vqe_cli.restore.device import Compute, choose
from vqe_cli.restore.footprint import Footprint, measure_once
from vqe_cli.restore.openvino_engine import has_graph, pays
from vqe_cli.restore.sizes import Sizes, choose_sizes, scale_of
from vqe_cli.restore.stages import Stage, run_stages
from vqe_cli.video.colour import (
    add_residual,
    residual_to_planes,
    to_arrays,
    to_rgb,
    to_tensors,
    upscale_planes,
)
from vqe_cli.video.frame import Colour, Frame
from vqe_cli.weights.load import load_stages, read_header
from vqe_cli.weights.registry import Pipeline, find, from_files

Planes = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Weights:
    """A file of weights that was used: its name, sha256, and the stage (1 or 2) that it was used for; 0 for
    the mask network of an ensemble.
    """

    stage: int
    file: str
    sha256: str


class Enhancer(Protocol):
    """What makes better frames of one input: the `Engine` of a pipeline, or that of an ensemble."""

    @property
    def stages(self) -> "tuple[Stage, ...]": ...

    @property
    def sizes(self) -> Sizes: ...

    @property
    def colour(self) -> Colour: ...

    @property
    def seconds(self) -> Sequence[float]:
        """What each stage took so far."""

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences, complete at the end."""

    def enhanced(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Frame, Planes]]:
        """The kept frames of all chunks, duplicates included, each with its enhanced planes."""


class Model(Protocol):
    """What was loaded for a run: a pipeline or an ensemble."""

    @property
    def name(self) -> str: ...

    @property
    def weights(self) -> tuple[Weights, ...]: ...

    @property
    def compute(self) -> Compute: ...

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Of all stages that run."""

    @property
    def entry(self) -> list[Any]:
        """What of weights.toml its results depend on, the files aside, as JSON holds it."""

    def on(self, compute: Compute) -> "Model":
        """The same on another device; loaded on the CPU in float32 before."""

    def start(self, sizes: SizeChoice, colour: Colour, size: tuple[int, int]) -> Enhancer:
        """What enhances pictures of `size` (height, width) pixels.

        Raises VqeError for sizes that contradict each other.
        """


@dataclass(frozen=True)
class Loaded:
    """Networks on their device, ready for any number of inputs."""

    pipeline: Pipeline
    """Where they come from."""

    choice: NetworkChoice
    """What was asked for."""

    networks: tuple[nn.Module, ...]
    """Of the stages that run, in order."""

    footprints: tuple[Footprint, ...]
    """Memory that each of them takes, measured when it was loaded."""

    weights: tuple[Weights, ...]
    """The file of each of them."""

    compute: Compute
    """Device and precision."""

    @property
    def name(self) -> str:
        return self.pipeline.name

    @property
    def entry(self) -> list[Any]:
        pipeline = self.pipeline
        return [
            *map(list, pipeline.residual_scale),
            pipeline.tta_noise_ratio,
            pipeline.defaults.get("tta", 1),
        ]

    def on(self, compute: Compute) -> "Loaded":
        return replace(self, networks=tuple(map(compute.prepare, self.networks)), compute=compute)

    def start(self, sizes: SizeChoice, colour: Colour, size: tuple[int, int]) -> "Engine":
        """As `Model.start`."""
        networks = tuple(zip(self.networks, self.footprints, strict=True))
        defaults = self.pipeline.defaults
        tta = self.choice.tta or defaults.get("tta", 1)
        chosen = choose_sizes(networks, sizes, tta, defaults, self.compute, size)
        stages = tuple(
            Stage(weights.stage, network, self.compute, tiling, tta, footprint)
            for (network, footprint), weights, tiling in zip(
                networks, self.weights, chosen.tilings, strict=True
            )
        )
        seconds = [0.0] * len(stages)
        return Engine(self.pipeline, stages, chosen, colour, self.choice, self.compute, seconds)


def load(choice: NetworkChoice, empty: bool = False) -> Loaded:
    """The networks of one pipeline on its device.

    empty: without weights and on no device (torch's "meta"), which is enough to choose sizes.
    Raises VqeError for an unknown pipeline, weights that do not fit, a stage or a device that is not there.
    """
    if choice.weights:
        pipeline = from_files(choice.weights, choice.scale)
    else:
        pipeline = find(choice.model, choice.scale)
    wanted = {"1": (1,), "2": (2,), "both": (1, 2), None: tuple(range(1, len(pipeline.stages) + 1))}
    numbers = wanted[choice.stages]
    if max(numbers) > len(pipeline.stages):
        raise VqeError(
            f"the pipeline {pipeline.name!r} has no stage II.", "Use --stages 1, or another --model."
        )
    networks = load_stages(pipeline, empty)
    files = [stage.path() for stage in pipeline.stages]
    chosen = tuple(networks[number - 1] for number in numbers)
    scale = prod([scale_of(network) for network in chosen])
    if scale != choice.scale:
        raise VqeError(
            f"--stages {choice.stages} of {pipeline.name!r} enlarges by {scale}, "
            f"--scale asks for {choice.scale}.",
            "Use --stages both.",
        )
    engine = "torch" if choice.engine == "auto" and not any(map(pays, chosen)) else choice.engine
    compute = choose(choice.device, choice.precision, engine)
    if engine == "openvino" and not any(map(has_graph, chosen)):
        raise DeviceError(
            f"OpenVINO has no graph of the networks of {pipeline.name!r}.", "Use --engine torch."
        )
    weights = tuple(
        Weights(n, str(files[n - 1]), pipeline.stages[n - 1].digest(files[n - 1])) for n in numbers
    )
    footprints = tuple(
        measure_once(network, str(read_header(files[number - 1])))
        for network, number in zip(chosen, numbers, strict=True)
    )
    ready = tuple(network.to("meta") if empty else compute.prepare(network) for network in chosen)
    return Loaded(pipeline, choice, ready, footprints, weights, compute)


@dataclass
class Engine:
    """Enhances chunks of one input."""

    pipeline: Pipeline
    """Where the networks come from; it says how strong their change is."""

    stages: tuple[Stage, ...]
    """Ready to run."""

    sizes: Sizes
    """Of chunks and tiles, for this size of picture."""

    colour: Colour
    """Of the input's planes."""

    choice: NetworkChoice
    """What was asked for: how much larger the output is, how strong the change."""

    compute: Compute
    """Device and precision."""

    seconds: list[float]
    """What each stage took so far."""

    uploaded: dict[int, list[Tensor]] = field(default_factory=dict)
    """Planes on the device by index of the frame: those of the last chunk."""

    warnings: tuple[str, ...] = ()
    """None; ensembles have some."""

    @property
    def scale(self) -> int:
        """Size of the output over that of the input."""
        return self.choice.scale

    def enhanced(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Frame, Planes]]:
        """The kept frames of all chunks, as `enhance` gives them for one."""
        for chunk in chunks:
            yield from self.enhance(chunk)

    def enhance(self, chunk: Chunk) -> Iterator[tuple[Frame, Planes]]:
        """The kept frames of a chunk, duplicates included, each with its enhanced planes.

        A network that changes nothing leaves every sample as decoded; duplicates share the planes of the
        first.
        """
        planes = self.upload(chunk.frames)
        clip = self.rgb(planes)
        pictures = self.pictures(chunk, clip)
        kept = slice(chunk.start, chunk.stop)
        with torch.inference_mode():
            for picture, given, decoded, shown in zip(
                pictures, clip[kept], planes[kept], chunk.shown, strict=True
            ):
                base = self.base(decoded)
                before = given[None] if self.scale == 1 else to_rgb(base, self.colour)
                change = self.change(picture[None], before, shown[0].network_qp)
                changed = add_residual(base, change, self.colour.bit_depth)
                enhanced = to_arrays(changed, self.colour.bit_depth)
                yield from ((frame, enhanced) for frame in shown)

    def rgb(self, planes: Sequence[Sequence[Tensor]]) -> Tensor:
        """RGB (T, 3, H, W) of decoded frames on the device."""
        return torch.cat([to_rgb(of_frame, self.colour) for of_frame in planes])

    def pictures(self, chunk: Chunk, clip: Tensor) -> Tensor:
        """What the networks make of the kept frames, RGB (K, 3, s*H, s*W); clip: RGB of all."""
        marks = torch.tensor([frame.pqf for frame in chunk.frames])
        qps = [nan if frame.network_qp is None else float(frame.network_qp) for frame in chunk.frames]
        qp = torch.tensor(qps, dtype=torch.float32, device=clip.device)
        return self.run(clip, marks, qp, slice(chunk.start, chunk.stop))

    def run(self, clip: Tensor, pqf: Tensor, qp: Tensor, keep: slice) -> Tensor:
        """What all stages make of the kept frames of a clip on the device; arguments as for `run_stages`."""
        return run_stages(self.stages, clip, pqf, qp, keep, self.seconds)

    def upload(self, frames: Sequence[Frame]) -> list[list[Tensor]]:
        """Planes of the frames on the device; context that the chunk before had is there already."""
        device = self.compute.device
        self.uploaded = {
            frame.index: self.uploaded.get(frame.index) or to_tensors(frame.planes, device)
            for frame in frames
        }
        return list(self.uploaded.values())

    def base(self, decoded: list[Tensor]) -> list[Tensor]:
        """What changes are added to: the decoded planes, enlarged for scale > 1."""
        return decoded if self.scale == 1 else upscale_planes(decoded, self.colour, self.scale)

    def residual(self, picture: Tensor, before: Tensor, qp: float | None) -> Tensor:
        """What an enhanced picture changes, RGB (1, 3, H, W), as strong as the pipeline wants it at this QP,
        times the strength that was asked for; the one place where either is applied.

        picture, before: RGB (1, 3, H, W), the latter of what the change is added to.
        """
        scale = self.pipeline.residual_scale_at(qp, self.stages[0].tta)
        return self.choice.strength / 100 * scale * (picture - before)

    def change(self, picture: Tensor, before: Tensor, qp: float | None) -> list[Tensor]:
        """What an enhanced picture changes of each plane, in code units, not rounded.

        picture, before, qp: as for `residual`.
        """
        residual = self.residual(picture, before, qp)
        if self.colour.matrix == "gray":
            # The three channels went in alike and come out a little different: their mean is the change of
            # gray.
            residual = residual.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        return residual_to_planes(residual, self.colour)
