"""Photographs as short clips: a camera moves over a picture, and what it sees is the truth of a clip.

Photographs bring many more scenes than clips do. What is drawn for each: where the camera starts, how it
pans, zooms, turns and shakes; for some, an object with a soft edge from another photograph that moves by
itself; for some, grain that is stronger in the mid-tones than in black and white, so that the truth is not
free of noise. All of it depends on (seed, name of the photograph, names of the others) alone.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqe_cli.errors import VqeError
from vqe_cli.video.colour import code_scales, downsample_chroma, rgb_to_yuv_matrix, to_rgb, to_tensors
from vqe_cli.video.frame import Colour, Frame, VideoInfo
from vqe_cli.video.opening import IMAGE_SUFFIXES
from vqe_cli.video.sources import open_reader

FORMAT = "yuv420p"
BT709, LIMITED = 1, 1  # FFmpeg's numbers of the colour tags
CLIP_COLOUR = Colour("bt709", False, 8, (2, 2), "left")
RATE = Fraction(25)

# Shares of the clips that have an object in front and grain.
OBJECT_SHARE, GRAIN_SHARE = 0.25, 0.5
MARGIN = 3  # pixels of the photograph's border that bicubic sampling would have to invent


@dataclass(frozen=True)
class Clips:
    """What clips are made of photographs.

    frames: pictures of each clip, 3 to 12. width, height: of the clip in pixels, even; exchanged for
    photographs taller than wide. seed: another one gives other cameras.
    """

    frames: int = 4
    width: int = 320
    height: int = 224
    seed: int = 0

    def __post_init__(self) -> None:
        if not 3 <= self.frames <= 12:
            raise VqeError(
                f"a clip of a photograph has 3 to 12 frames, not {self.frames}.",
                "Choose --frames in that range.",
            )
        for side in (self.width, self.height):
            if side % 2 or not 32 <= side <= 8192:
                raise VqeError(
                    f"a clip of {self.width}x{self.height} cannot be made.",
                    "Choose even sides from 32 to 8192 pixels.",
                )


@dataclass(frozen=True)
class Path2d:
    """How a camera or an object moves; lengths in pixels of the clip."""

    start: tuple[float, float]
    """(x, y) at the first frame, from the middle."""
    pan: tuple[float, float]
    """(x, y) a frame."""
    zoom: float
    """Factor a frame."""
    angle: float
    """Radians at the first frame."""
    turn: float
    """Radians a frame."""
    shake: float
    """Standard deviation of what a hand adds to each frame's place."""


class PhotographSource:
    """A photograph as a clean clip, with the interface that `compress` expects of a source.

    path: the photograph. clips: size, length and seed. others: photographs that objects in front may be cut
    from. Raises VqeError for what cannot be read and for photographs smaller than the clip.
    """

    def __init__(self, path: Path, clips: Clips, others: Sequence[Path] = ()) -> None:
        self.path = path
        self.clips = clips
        self._random = np.random.default_rng(_seed_of(clips.seed, path.name))
        with open_reader(path) as reader:
            given = reader.info
            self._picture = _rgb(next(iter(reader)), given)
        height, width = self._picture.shape[-2:]
        self.width, self.height = clips.width, clips.height
        if height > width:
            self.width, self.height = clips.height, clips.width
        fit = min((width - 2 * MARGIN) / self.width, (height - 2 * MARGIN) / self.height)
        if fit < 0.75:
            raise VqeError(
                f"{path} has {width}x{height} pixels, too few for a clip of {self.width}x{self.height}.",
                "Choose a smaller --size, or leave it out.",
            )
        self._scale = float(self._random.uniform(0.68, max(0.7, min(0.93 * fit, 1.3))))
        self._camera = self._draw_camera()
        self._object = self._draw_object([other for other in others if other != path])
        self._grain = float(self._random.uniform(0.5, 5.0)) if self._random.random() < GRAIN_SHARE else 0.0
        tags = {"matrix": BT709, "primaries": BT709, "transfer": BT709, "range": LIMITED}
        self.info: VideoInfo = replace(
            given,
            width=self.width,
            height=self.height,
            pix_fmt=FORMAT,
            colour=CLIP_COLOUR,
            tags=tags,
            rate=RATE,
            time_base=1 / RATE,
            start_pts=0,
            frame_count=clips.frames,
            sample_aspect=None,
            side_data={},
            rotation_deg=0,
            display_matrix=(),
        )

    @property
    def record(self) -> dict[str, Any]:
        """What was drawn, for the file beside the clip."""
        shown = None
        if self._object:
            shown = {"photograph": self._object.path.name, "radius": round(self._object.radius, 1)}
            shown |= asdict(self._object.motion)
        drawn = {
            "seed": self.clips.seed,
            "scale": round(self._scale, 4),
            "camera": asdict(self._camera),
            "object": shown,
            "grain": round(self._grain, 3),
        }
        return {"photograph": drawn}

    def pictures(self) -> Iterator[tuple[Frame, tuple[np.ndarray, ...]]]:
        """Each frame of the clip with its planes Y, U, V (uint8)."""
        random = np.random.default_rng(_seed_of(self.clips.seed, f"frames of {self.path.name}"))
        for index in range(self.clips.frames):
            seen = _seen(self._picture, self._camera, self._scale, index, (self.height, self.width), random)
            if self._object:
                seen = self._object.before(seen, index, random)
            planes = _planes(_grained(seen, self._grain, random))
            yield Frame(index, planes, pts=index, duration=1, kind="I"), planes

    def _draw_camera(self) -> Path2d:
        """A path on which the window stays within the photograph."""
        random, steps = self._random, self.clips.frames - 1
        zoom = float(random.uniform(0.985, 1.015)) if random.random() < 0.6 else 1.0
        turn = float(random.uniform(-0.015, 0.015)) if random.random() < 0.5 else 0.0
        shake = float(random.uniform(0.2, 1.2)) if random.random() < 0.4 else 0.0
        speed, heading = (
            float(random.uniform(0, 6)) * float(random.random()),
            float(random.uniform(0, 2 * math.pi)),
        )
        pan = np.array([math.cos(heading), math.sin(heading)]) * speed
        height, width = self._picture.shape[-2:]
        while True:
            # Half sides of the largest window on the way, in pixels of the photograph.
            largest = self._scale * max(1.0, zoom**steps)
            angle = abs(turn) * steps
            half_x = (self.width * math.cos(angle) + self.height * math.sin(angle)) / 2 * largest
            half_y = (self.height * math.cos(angle) + self.width * math.sin(angle)) / 2 * largest
            room = np.array([width / 2 - MARGIN - half_x, height / 2 - MARGIN - half_y]) / self._scale
            room -= np.abs(pan) * steps / 2 + 3 * shake
            if (room >= 0).all():
                break
            pan, turn, shake, zoom = pan * 0.7, turn * 0.7, shake * 0.7, 1 + (zoom - 1) * 0.7
            if speed + abs(turn) + shake + abs(zoom - 1) < 1e-3 or np.abs(pan).max() < 0.01:
                pan, turn, shake, zoom = pan * 0, 0.0, 0.0, 1.0
                room = np.maximum(
                    np.array([width / 2 - MARGIN, height / 2 - MARGIN]) / self._scale
                    - np.array([self.width, self.height]) / 2,
                    0,
                )
                break
        middle = random.uniform(-room, room)
        start = middle - pan * steps / 2
        return Path2d(_pair(start), _pair(pan), zoom, 0.0, turn, shake)

    def _draw_object(self, others: Sequence[Path]) -> "MovingObject | None":
        """An object from one of the other photographs, for some clips."""
        random = self._random
        if random.random() >= OBJECT_SHARE or not others:
            return None
        path = sorted(others, key=lambda each: each.name)[int(random.integers(len(others)))]
        with open_reader(path) as reader:
            picture = _rgb(next(iter(reader)), reader.info)
        radius = float(random.uniform(0.15, 0.3)) * min(self.width, self.height)
        place = random.uniform(-0.4, 0.4, 2) * (self.width, self.height)
        motion = Path2d(
            _pair(place), _pair(random.uniform(-4, 4, 2)), 1.0, float(random.uniform(0, 6.28)),
            float(random.uniform(-0.01, 0.01)), 0.0,
        )  # fmt: skip
        return MovingObject(path, picture, radius, motion, random.uniform(0, 2 * math.pi, 4))


@dataclass(frozen=True)
class MovingObject:
    """A part of another photograph with a soft edge, in front of what the camera sees."""

    path: Path
    """Of the photograph."""
    picture: Tensor
    """RGB (1, 3, h, w)."""
    radius: float
    """Mean radius, pixels."""
    motion: Path2d
    """Its path over the clip."""
    waves: np.ndarray
    """Phases (4,) of its outline."""

    def before(self, seen: Tensor, index: int, random: np.random.Generator) -> Tensor:
        """RGB (1, 3, H, W) with the object in front, at frame `index`."""
        height, width = seen.shape[-2:]
        x0, y0 = (at + index * step for at, step in zip(self.motion.start, self.motion.pan, strict=True))
        y, x = torch.meshgrid(
            torch.arange(height) - (height - 1) / 2 - y0,
            torch.arange(width) - (width - 1) / 2 - x0,
            indexing="ij",
        )
        angle = self.motion.angle + index * self.motion.turn
        outline = torch.ones_like(x)
        around = torch.atan2(y, x) - angle
        for number, phase in enumerate(self.waves, 2):
            outline += 0.35 / number * torch.cos(number * around + float(phase))
        mask = torch.sigmoid((self.radius * outline - torch.hypot(x, y)) / 1.5)
        cut = Path2d((-x0, -y0), (0.0, 0.0), 1.0, -angle, 0.0, 0.0)
        front = _seen(self.picture, cut, 1.0, 0, (height, width), random)
        return seen + (front - seen) * mask


def find_photographs(paths: Sequence[Path]) -> list[Path]:
    """The photographs that a user names: images, and all images below a folder, in order of their names.

    Raises VqeError for a folder without images.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = sorted(each for each in path.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES)
        if not below:
            raise VqeError(f"there are no images in {path}.", "Name a folder with PNG or JPEG images.")
        found += below
    return found


def _seed_of(seed: int, name: str) -> int:
    return int.from_bytes(
        hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()[:8], "big"
    )


def _pair(values: np.ndarray) -> tuple[float, float]:
    return round(float(values[0]), 4), round(float(values[1]), 4)


def _rgb(frame: Frame, info: VideoInfo) -> Tensor:
    """RGB (1, 3, h, w) in 0 to 1 of a decoded photograph."""
    return to_rgb(to_tensors(frame.planes), info.colour).clamp(0, 1)


def _seen(
    picture: Tensor,
    path: Path2d,
    scale: float,
    index: int,
    size: tuple[int, int],
    random: np.random.Generator,
) -> Tensor:
    """RGB (1, 3, H, W) that a camera on `path` sees of `picture` (1, 3, h, w) at frame `index`.

    scale: pixels of the picture to a pixel of the clip. Where it is above one, the picture is sampled twice
    as densely and averaged, against aliasing. Bicubic; borders repeat.
    """
    height, width = size
    dense = 2 if scale > 1.1 else 1
    scale_now = scale * path.zoom**index
    angle = path.angle + index * path.turn
    shake = random.normal(0, path.shake, 2) if path.shake else np.zeros(2)
    shake = np.clip(shake, -3 * path.shake, 3 * path.shake)
    middle = [at + index * step + off for at, step, off in zip(path.start, path.pan, shake, strict=True)]
    y, x = torch.meshgrid(_positions(height, dense), _positions(width, dense), indexing="ij")
    across = (x * math.cos(angle) - y * math.sin(angle)) * scale_now + middle[0] * scale
    down = (x * math.sin(angle) + y * math.cos(angle)) * scale_now + middle[1] * scale
    grid = torch.stack([across * 2 / picture.shape[-1], down * 2 / picture.shape[-2]], dim=-1)[None]
    seen = F.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return (F.avg_pool2d(seen, dense) if dense > 1 else seen).clamp(0, 1)


def _positions(length: int, dense: int) -> Tensor:
    """Centres of `length * dense` samples over `length` pixels, from the middle."""
    return (torch.arange(length * dense) + 0.5) / dense - length / 2


def _grained(seen: Tensor, strength: float, random: np.random.Generator) -> Tensor:
    """RGB with soft grey grain: `strength` codes of 255 in mid-tones, a third of it in black and white."""
    if not strength:
        return seen
    noise = torch.from_numpy(random.standard_normal((1, 1, *seen.shape[-2:]), dtype=np.float32))
    soft = F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    noise = 0.8 * noise + 0.9 * soft
    luma = seen.mean(dim=1, keepdim=True)
    return seen + noise * (strength / 255) * (1 / 3 + 8 / 3 * luma * (1 - luma))


def _planes(rgb: Tensor) -> tuple[np.ndarray, ...]:
    """Y, U, V (uint8, 4:2:0, BT.709, limited range) of RGB (1, 3, H, W) in 0 to 1."""
    luma_scale, chroma_scale, black = code_scales(CLIP_COLOUR)
    matrix = torch.from_numpy(rgb_to_yuv_matrix("bt709")).float()
    yuv = torch.einsum("ij,njhw->nihw", matrix, rgb)
    luma = yuv[:, :1] * luma_scale + black
    chroma = downsample_chroma(yuv[:, 1:], CLIP_COLOUR) * chroma_scale + 128
    planes = [luma[0, 0], chroma[0, 0], chroma[0, 1]]
    return tuple(plane.round().clamp(0, 255).to(torch.uint8).numpy() for plane in planes)
