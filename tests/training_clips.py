"""Small moving clips for the training room's tests: a data folder in a second, made by FFmpeg's encoders."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def moving_picture(seed: int, frames: int, width: int, height: int) -> list[np.ndarray]:
    """Frames (H, W, 3) uint8 of smooth random texture that moves by a pixel or two a frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 220, (height // 4 + 8, width // 4 + 8, 3))
    texture = np.kron(coarse, np.ones((4, 4, 1)))
    for axis in (0, 1):
        texture = (texture + np.roll(texture, 1, axis) + np.roll(texture, 2, axis)) / 3
    return [texture[t : t + height, 2 * t : 2 * t + width].astype(np.uint8) for t in range(frames)]


def write_clip(
    path: Path, pictures: list[np.ndarray], codec: str = "libx264", options: dict[str, str] | None = None
) -> None:
    """Encode RGB pictures as 4:2:0 video tagged BT.709."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 1, 1, 1, 1
        for t, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = t, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_data(
    root: Path,
    recipes: tuple[str, ...] = ("qp37",),
    clips: int = 2,
    frames: int = 6,
    size: tuple[int, int] = (64, 64),
) -> Path:
    """A data folder with `train` and `val`, each `raw/` and `lq/RECIPE/`; recipes are named qpNN."""
    for split, first in (("train", 0), ("val", 100)):
        for number in range(first, first + clips):
            pictures = moving_picture(number, frames, *size)
            write_clip(root / split / "raw" / f"{number:03d}.mkv", pictures)
            for recipe in recipes:
                options = {"preset": "ultrafast", "x265-params": f"log-level=none:qp={recipe[2:]}"}
                write_clip(root / split / "lq" / recipe / f"{number:03d}.mkv", pictures, "libx265", options)
    return root
