"""A `Drawing` as pixels: lines and circles smoothed by the distance to them, text from pictures of glyphs."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vqe_cli.measure.drawing import Box, Dot, Drawing, Line, Picture, Text
from vqe_cli.measure.lettering import written
from vqe_cli.text import printable

Point = tuple[float, float]


def to_pixels(drawing: Drawing, scale: int = 2) -> np.ndarray:
    """The drawing as (height * scale, width * scale, 3) uint8."""
    canvas = np.empty((drawing.height * scale, drawing.width * scale, 3), np.float32)
    canvas[:] = _rgb(drawing.background)
    for shape in drawing.shapes:
        if isinstance(shape, Line):
            _line(canvas, shape, scale)
        elif isinstance(shape, Box):
            _box(canvas, shape, scale)
        elif isinstance(shape, Dot):
            _dot(canvas, shape, scale)
        elif isinstance(shape, Picture):
            _picture(canvas, shape, scale)
        else:
            _text(canvas, shape, scale)
    return canvas.round().clip(0, 255).astype(np.uint8)


def _line(canvas: np.ndarray, line: Line, scale: int) -> None:
    points = [(x * scale, y * scale) for x, y in line.points]
    width = line.width * scale
    pieces = _dashes(points, line.dash, scale) if line.dash else list(pairwise(points))
    if not pieces:
        return
    corners = np.array(pieces).reshape(-1, 2)
    left, top, right, bottom = _bounds(canvas, corners, width)
    cover = np.zeros((bottom - top, right - left), np.float32)
    for start, stop in pieces:
        _cover_piece(cover, start, stop, width, left, top)
    _blend(canvas[top:bottom, left:right], cover, line.colour)


def _cover_piece(cover: np.ndarray, start: Point, stop: Point, width: float, left: int, top: int) -> None:
    """Raise `cover` to the share of each pixel that a straight piece (round ends) covers."""
    reach = width / 2 + 1
    x0 = max(math.floor(min(start[0], stop[0]) - reach) - left, 0)
    y0 = max(math.floor(min(start[1], stop[1]) - reach) - top, 0)
    x1 = max(math.ceil(max(start[0], stop[0]) + reach) - left, 0)
    y1 = max(math.ceil(max(start[1], stop[1]) + reach) - top, 0)
    part = cover[y0:y1, x0:x1]
    if not part.size:
        return
    y, x = np.ogrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
    x, y = x + left + 0.5 - start[0], y + top + 0.5 - start[1]
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    distance = np.hypot(x - along * dx, y - along * dy)
    np.maximum(part, np.clip(width / 2 + 0.5 - distance, 0, min(1, width)), out=part)


def _dashes(points: Sequence[Point], dash: tuple[float, float], scale: int) -> list[tuple[Point, Point]]:
    """The drawn pieces of a dashed line."""
    drawn, period = dash[0] * scale, (dash[0] + dash[1]) * scale
    pieces = []
    position = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        at = -(position % period)
        while at < length:
            start, stop = max(at, 0.0) / length, min(at + drawn, length) / length
            if stop > start:
                ends = [(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share) for share in (start, stop)]
                pieces.append((ends[0], ends[1]))
            at += period
        position += length
    return pieces


def _box(canvas: np.ndarray, box: Box, scale: int) -> None:
    left, top = round(box.x * scale), round(box.y * scale)
    right, bottom = round((box.x + box.width) * scale), round((box.y + box.height) * scale)
    area = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
    if box.fill:
        canvas[area] = _rgb(box.fill)
    if box.outline:
        edge = max(1, round(box.stroke * scale))
        part = canvas[area]
        for strip in (part[:edge], part[-edge:], part[:, :edge], part[:, -edge:]):
            strip[:] = _rgb(box.outline)


def _dot(canvas: np.ndarray, dot: Dot, scale: int) -> None:
    for radius, colour in (
        (dot.radius + 0.6, dot.ring),
        (dot.radius - 0.6 if dot.ring else dot.radius, dot.colour),
    ):
        if colour:
            _disc(canvas, dot.x * scale, dot.y * scale, radius * scale, colour)


def _disc(canvas: np.ndarray, x: float, y: float, radius: float, colour: str) -> None:
    left, top, right, bottom = _bounds(canvas, np.array([[x, y]]), 2 * radius)
    rows, columns = np.ogrid[top:bottom, left:right]
    distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
    _blend(canvas[top:bottom, left:right], np.clip(radius + 0.5 - distance, 0, 1), colour)


def _picture(canvas: np.ndarray, picture: Picture, scale: int) -> None:
    left, top = round(picture.x * scale), round(picture.y * scale)
    width, height = round(picture.width * scale), round(picture.height * scale)
    pixels = picture.pixels.astype(np.float32)
    for axis, length in ((0, height), (1, width)):
        pixels = _stretched(pixels, axis, length, picture.hard)
    area = canvas[top : top + height, left : left + width]
    area[:] = pixels[: area.shape[0], : area.shape[1]]


def _stretched(pixels: np.ndarray, axis: int, length: int, hard: bool) -> np.ndarray:
    """Pixels brought to `length` along an axis: the nearest where hard, else linear between two."""
    position = (np.arange(length) + 0.5) * pixels.shape[axis] / length - 0.5
    if hard:
        return pixels.take(np.rint(position).astype(int).clip(0, pixels.shape[axis] - 1), axis)
    below = np.floor(position).astype(int)
    weight = (position - below).astype(np.float32).reshape([-1 if axis == a else 1 for a in range(3)])
    last = pixels.shape[axis] - 1
    return (
        pixels.take(below.clip(0, last), axis) * (1 - weight)
        + pixels.take((below + 1).clip(0, last), axis) * weight
    )


def _text(canvas: np.ndarray, text: Text, scale: int) -> None:
    cover, baseline, width = written(printable(text.words), text.size * scale, text.bold)
    start = text.x * scale - {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    left, top = round(start), round(text.y * scale) - baseline
    if text.turned:
        cover = np.rot90(cover)
        shift = {"start": width, "middle": width / 2, "end": 0.0}[text.anchor]
        left, top = round(text.x * scale) - baseline, round(text.y * scale - shift)
    area = canvas[max(top, 0) : max(top + cover.shape[0], 0), max(left, 0) : max(left + cover.shape[1], 0)]
    cover = cover[max(-top, 0) :, max(-left, 0) :][: area.shape[0], : area.shape[1]]
    _blend(area, cover, text.colour)


def _bounds(canvas: np.ndarray, points: np.ndarray, width: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the canvas's part that strokes of `width` through the points can touch."""
    reach = width / 2 + 1
    left, top = np.floor(points.min(axis=0) - reach).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + reach).astype(int)
    height, across = canvas.shape[:2]
    left, top = max(int(left), 0), max(int(top), 0)
    return left, top, max(min(int(right), across), left), max(min(int(bottom), height), top)


def _blend(area: np.ndarray, cover: np.ndarray, colour: str) -> None:
    share = cover[..., None].astype(np.float32)
    area += share * (np.array(_rgb(colour), np.float32) - area)


def _rgb(colour: str) -> tuple[int, int, int]:
    """ "#1f2328" as three numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
