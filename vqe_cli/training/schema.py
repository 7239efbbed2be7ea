"""The configuration of a training run, as frozen dataclasses: keys of configs/*.yaml, meaning, defaults."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NetworkConfig:
    """Which network is trained."""

    arch: str = "qecnn"
    """Architecture, a name of `networks.build`."""
    config: dict[str, Any] = field(default_factory=dict)
    """Its configuration."""
    init: str | None = None
    """Weights to start from: a file of ours or a public checkpoint. Where names and shapes fit only partly,
    the others are listed and start fresh."""
    grow_from: str | None = None
    """Weights of a trained single-frame network, which MotionFusion starts with."""
    flow: str | None = None
    """Weights of a pre-trained flow network."""
    frozen: tuple[str, ...] = ()
    """Beginnings of the names of parameters that stay as they are ("stage_one." begins those of `joint`)."""
    joint: str | None = None
    """Weights of a trained stage I behind which this stage II trains, and which trains with it."""
    fit_clips: int = 0
    """MotionFusion solves its blend of neighbours from so many clips before the first step, by least
    squares, unless a phase before has; 0: the blend starts at zero."""


@dataclass(frozen=True)
class DataConfig:
    """What is fed."""

    recipes: dict[str, float] = field(default_factory=lambda: {"qp37": 1.0})
    """Name of a folder below lq/ -> how often it is drawn (relative)."""
    frames: int = 1
    """Length of clips."""
    context: int = 0
    """So many frames at either end are given, but not learned from."""
    crop: int = 96
    """Side of the square crops, pixels of the compressed picture."""
    batch: int = 16
    """Clips a step and process."""
    recoloured: float = 0.0
    """Share of clips whose luma and chroma are inverted or exchanged at random (`data.recoloured`)."""
    unknown_qp: float = 0.1
    """Share of clips whose QPs are hidden, so that unknown is a trained case."""
    scale: int = 1
    """How much larger the truth is than the input."""
    pqf: str = "auto"
    """How peaks are found: mode of `bitstream.peaks.mark`."""
    pqf_rule: str = "prominent"
    """Rule of `bitstream.peaks.mark`."""
    duplicates: str = "remove"
    """"remove" takes frames that equal their predecessor bit for bit out of the compressed clip and its
    truth (RMD), "keep" does not."""
    cache_gib: float = 8.0
    """Most memory that decoded clips may take, in each process."""
    cache: str = "ram"
    """"ram", or "device" (on the GPU)."""
    inputs: str = "lq"
    """The folder that pictures are read from; for stage II one beside lq/ and laid out alike, with what
    stage I made of those clips. QPs and peaks are always those of lq/."""
    members: tuple[str, ...] = ()
    """The two pipelines that a mask network weighs (gate only)."""

    @property
    def kept(self) -> slice:
        """The frames of a clip that are learned from."""
        return slice(self.context, -self.context or None)


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast; shares are of the run."""

    loss: str = "charbonnier"
    """"charbonnier", or "psnr": the mean of the pictures' PSNR, that is squared error relative to that of
    the whole compressed picture, so that a lightly compressed one weighs as much as a heavily compressed
    one."""
    optimizer: str = "adamw"
    """"adamw", or "muon": fewer steps on convolutions of 32 channels and more."""
    steps: int = 20_000
    """Of optimisation; 0 where only network.fit_clips is to do something."""
    rate: float = 5e-4
    """Peak learning rate."""
    final_rate: float = 1e-6
    """Learning rate at the end."""
    warmup: float = 0.03
    """Share in which the rate rises."""
    restarts: int = 1
    """Cosine periods."""
    mse_share: float = 0.25
    """Last share, whose loss is the squared error instead."""
    clip_norm: float = 1.0
    """Greatest norm of the gradients."""
    ema: float = 0.999
    """Decay of the running average of the weights, a step."""
    flow_rate: float = 0.25
    """The flow network's rate relative to `rate`."""
    flow_frozen: float = 0.1
    """First share, in which the flow network does not move."""
    encoder_frozen: float = 0.0
    """The same of the encoder of `crds`."""
    intermediate: float = 0.0
    """Weight of the loss of the levels between, of `crds`."""
    intermediate_share: float = 0.5
    """First share, for which `intermediate` counts."""


@dataclass(frozen=True)
class FlowConfig:
    """Training of the flow network alone. synthetic_share: first share of the run, on synthetic motions of
    single frames; the rest is on real pairs. motion_px: least and greatest amplitude of a synthetic motion,
    pixels of the quarter-size picture. smoothness: weight of the flow's gradient in the photometric loss."""

    synthetic_share: float = 0.5
    motion_px: tuple[float, ...] = (0.2, 5.0)
    smoothness: float = 0.02


@dataclass(frozen=True)
class ValidationConfig:
    """Measured while training. recipes: folders below lq/; every_minutes: between two measurements;
    frame_step: every n-th frame of a clip is measured (image networks) and clips: how many of the clips."""

    recipes: tuple[str, ...] = ("qp37",)
    every_minutes: float = 4.0
    frame_step: int = 8
    clips: int = 12


@dataclass(frozen=True)
class TrainConfig:
    """A whole run."""

    name: str
    """Of the files that it leaves."""
    network: NetworkConfig = NetworkConfig()
    """Which network is trained."""
    data: DataConfig = DataConfig()
    """What is fed."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How long and how fast."""
    flow: FlowConfig = FlowConfig()
    """Of the flow network alone."""
    validation: ValidationConfig = ValidationConfig()
    """What is measured while training."""
    seed: int = 0
    """Of all that is drawn."""
    precision: str = "auto"
    """"auto" (bf16 where the machine is faster with it), "fp32" or "bf16"."""
    compile: bool = False
    """Whether torch.compile fuses the network, which pays on a GPU."""
    footage: str = ""
    """A sentence on the material, for the card."""
    phase: str = ""
    """The name of a phase."""
    phases: tuple["TrainConfig", ...] = ()
    """Of a progressive run: each a whole config that starts from the weights that the one before ended with;
    in the file a phase names only what it changes."""

    def all_phases(self) -> tuple["TrainConfig", ...]:
        """The phases in order; a run without phases is its only phase."""
        return self.phases or (self,)
