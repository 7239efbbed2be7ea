"""Pictures as PNG and JPEG, by FFmpeg's encoders inside PyAV."""

import io
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream


def png_bytes(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels (h, w, 3) uint8."""
    return _encoded(pixels, "png", "rgb24", {"compression_level": "9", "pred": "mixed"})


def jpeg_bytes(pixels: np.ndarray) -> bytes:
    """A JPEG file of pixels (h, w, 3) uint8, at a quality (qscale 3) that hides its own artefacts."""
    return _encoded(pixels, "mjpeg", "yuvj444p", {"qmin": "3", "qmax": "3"})


def _encoded(pixels: np.ndarray, codec: str, pix_fmt: str, options: dict[str, str]) -> bytes:
    height, width = pixels.shape[:2]
    target = io.BytesIO()
    with av.open(target, "w", format="image2pipe") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=1, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return target.getvalue()
