"""Several pipelines on one input, decoded and cut into chunks once, their results fused before rounding."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vqe_cli.ensemble.methods import Guard, Mask, MemberFrames, fused, rounded
from vqe_cli.errors import VqeError
from vqe_cli.networks.gate import GateNet
from vqe_cli.restore.choices import NetworkChoice, SizeChoice
from vqe_cli.restore.chunks import Chunk, ChunkSizes
from vqe_cli.restore.device import Compute
from vqe_cli.restore.engine import Engine, Loaded, Model, Planes, Weights, load
from vqe_cli.restore.sizes import Sizes
from vqe_cli.restore.stages import Stage
from vqe_cli.video.colour import to_arrays, to_rgb
from vqe_cli.video.frame import Colour, Frame
from vqe_cli.weights.ensembles import Ensemble, find_ensemble
from vqe_cli.weights.load import load_network
from vqe_cli.weights.registry import StageSpec


def load_model(choice: NetworkChoice, empty: bool = False) -> Model:
    """The pipeline or the ensemble that is chosen, with its networks; empty: without weights.

    Raises VqeError as `engine.load` and `load_ensemble` do.
    """
    ensemble = None if choice.weights else find_ensemble(choice.model)
    return load(choice, empty) if ensemble is None else load_ensemble(ensemble, choice, empty)


def chunks_stand_alone(choice: NetworkChoice) -> bool:
    """Whether the result of a chunk depends on no other; some ways of fusing look at frames beyond it."""
    ensemble = None if choice.weights else find_ensemble(choice.model)
    return ensemble is None or ensemble.fusion.method not in ("adaptive", "guard")


@dataclass(frozen=True)
class LoadedEnsemble:
    """The networks of all members, and the mask network where there is one."""

    ensemble: Ensemble
    members: tuple[Loaded, ...]
    mask: Mask | None
    weights: tuple[Weights, ...]

    @property
    def name(self) -> str:
        return self.ensemble.name

    @property
    def compute(self) -> Compute:
        """The first member's; its engine is OpenVINO where that of any member is."""
        engines = {member.compute.engine for member in self.members}
        return replace(self.members[0].compute, engine="openvino" if "openvino" in engines else "torch")

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return tuple(network for member in self.members for network in member.networks)

    @property
    def entry(self) -> list[Any]:
        fusion = self.ensemble.fusion
        how = [fusion.method, list(fusion.weights), fusion.limit_db, fusion.segment]
        return [*how, *([member.name, member.entry] for member in self.members)]

    def on(self, compute: Compute) -> "LoadedEnsemble":
        return replace(self, members=tuple(member.on(compute) for member in self.members))

    def start(self, sizes: SizeChoice, colour: Colour, size: tuple[int, int]) -> "EnsembleEngine":
        """An engine for pictures of `size` (height, width), whose members share chunks and memory.

        Raises VqeError for sizes that contradict each other.
        """
        part = self.compute.budget // len(self.members)
        members = [replace(member, compute=replace(member.compute, budget=part)) for member in self.members]
        wanted = [member.start(sizes, colour, size).sizes.chunks for member in members]
        shared = ChunkSizes(
            chunk=min(chunks.chunk for chunks in wanted),
            overlap=max(chunks.overlap for chunks in wanted),
            period=max(chunks.period for chunks in wanted),
        )
        alike = replace(sizes, chunk=shared.chunk, overlap=shared.overlap)
        engines = tuple(member.start(alike, colour, size) for member in members)
        fusion = self.ensemble.fusion
        guard = Guard(self.ensemble.members, fusion.limit_db, fusion.segment)
        return EnsembleEngine(self.ensemble, engines, shared, self.mask, guard)


def load_ensemble(ensemble: Ensemble, choice: NetworkChoice, empty: bool = False) -> LoadedEnsemble:
    """The networks of an ensemble's members; `model` and `weights` of the choice are not looked at.

    Raises VqeError as `engine.load` does for each member; for a method that does not fit; for a mask network
    that is missing or is none.
    """
    fusion = ensemble.fusion
    fusion.check(ensemble.members)
    if fusion.method == "guard" and fusion.segment == 0:
        raise VqeError(
            "the guard can judge a whole video only when the results are there.",
            "Give --segment 1 or more, or enhance with each pipeline and name the results.",
        )
    members = tuple(load(replace(choice, model=name, weights=()), empty) for name in ensemble.members)
    weights = [entry for member in members for entry in member.weights]
    mask = None
    if fusion.gate is not None:
        mask = None if empty else load_mask(fusion.gate, members[0].compute)
        path = fusion.gate.path()
        weights.append(Weights(0, str(path), fusion.gate.digest(path)))
    return LoadedEnsemble(ensemble, members, mask, tuple(weights))


def load_mask(gate: StageSpec, compute: Compute) -> Mask:
    """The mask network of a file, ready to run; raises VqeError when it is missing or is another network."""
    network = load_network(gate)
    if not isinstance(network, GateNet):
        raise VqeError(f"{gate.path()} is not a mask network.", "Train one with `vqe train-stage gate`.")
    prepared = compute.prepare(network)

    def mask(first: Tensor, second: Tensor) -> Tensor:
        with compute.running():
            found: Tensor = prepared(first.to(compute.device), second.to(compute.device))
        return found.float().to(first.device)

    return mask


@dataclass
class EnsembleEngine:
    """Enhances chunks of one input with every member and fuses the results."""

    ensemble: Ensemble
    """Members and method."""

    members: tuple[Engine, ...]
    """Their engines, all for chunks of the same sizes."""

    shared: ChunkSizes
    """These sizes."""

    mask: Mask | None
    """The mask network, for the method `gated`."""

    guard: Guard
    """What judges the members, for the method `guard`."""

    stages: tuple[Stage, ...] = field(init=False)
    """Those of all members, in order."""

    sizes: Sizes = field(init=False)
    """The shared chunks, and the tiles of all stages."""

    def __post_init__(self) -> None:
        self.stages = tuple(stage for member in self.members for stage in member.stages)
        tilings = tuple(tiling for member in self.members for tiling in member.sizes.tilings)
        self.sizes = Sizes(self.shared, tilings)

    @property
    def colour(self) -> Colour:
        return self.members[0].colour

    @property
    def seconds(self) -> list[float]:
        return [seconds for member in self.members for seconds in member.seconds]

    @property
    def warnings(self) -> list[str]:
        return self.guard.sentences()

    def enhanced(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Frame, Planes]]:
        """The kept frames of all chunks, duplicates included, each with its fused planes."""
        depth = self.colour.bit_depth
        for frame, planes in fused(
            self.member_frames(chunks), self.ensemble.fusion, self.colour, self.mask, self.guard
        ):
            yield frame, to_arrays(rounded(planes, depth), depth)

    def member_frames(self, chunks: Iterable[Chunk]) -> Iterator[MemberFrames]:
        """The kept frames of all chunks as the members have them, not rounded, and as they were decoded."""
        for chunk in chunks:
            planes = self.members[0].upload(chunk.frames)
            clip = self.members[0].rgb(planes)
            pictures = [member.pictures(chunk, clip) for member in self.members]
            for position, shown in enumerate(chunk.shown):
                of_members = [picture[position][None] for picture in pictures]
                group = self._member_frames(of_members, planes[chunk.start + position], shown[0])
                yield from (replace(group, frame=frame) for frame in shown)

    @torch.inference_mode()
    def _member_frames(self, pictures: list[Tensor], decoded: list[Tensor], frame: Frame) -> MemberFrames:
        base = self.members[0].base(decoded)
        before = to_rgb(base, self.colour)
        members = [
            [plane + change for plane, change in zip(base, changes, strict=True)]
            for changes in (
                member.change(picture, before, frame.network_qp)
                for member, picture in zip(self.members, pictures, strict=True)
            )
        ]
        return MemberFrames(frame, tuple(members), [plane.float() for plane in base])
