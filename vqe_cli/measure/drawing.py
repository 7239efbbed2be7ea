"""Vector graphics as a list of shapes, written as SVG."""

import base64
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from xml.sax.saxutils import escape

import numpy as np

from vqe_cli.text import printable
from vqe_cli.video.images import png

FONTS = "'DejaVu Sans', 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
# Width of a character in em. The viewer chooses the font, so widths are estimated, on the wide side: an
# average of DejaVu Sans, the widest of FONTS, and of characters that East Asian fonts draw as squares.
ADVANCE_EM, BOLD_ADVANCE_EM, WIDE_ADVANCE_EM = 0.6, 0.67, 1.0


@dataclass(frozen=True)
class Line:
    """Straight pieces through points (x, y); width in pixels; dash: drawn and left-out lengths."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.0
    dash: tuple[float, float] | tuple[()] = ()


@dataclass(frozen=True)
class Box:
    """A rectangle, filled or outlined."""

    x: float
    """Left edge, pixels."""
    y: float
    """Upper edge, pixels."""
    width: float
    """Pixels."""
    height: float
    """Pixels."""
    fill: str = ""
    """Colour; "": not filled."""
    outline: str = ""
    """Colour; "": none."""
    stroke: float = 1.0
    """Width of the outline, pixels."""


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    x: float
    """Of the centre, pixels."""
    y: float
    """Of the centre, pixels."""
    radius: float
    """Pixels."""
    colour: str
    """As in CSS."""
    ring: str = ""
    """Colour of a ring of 1.2 pixels; "": none."""


@dataclass(frozen=True)
class Text:
    """A line of text."""

    x: float
    """Of the anchor, pixels."""
    y: float
    """Of the baseline, pixels."""
    words: str
    """The text."""
    size: float = 12.0
    """Pixels per em."""
    colour: str = "#1f2328"
    """As in CSS."""
    anchor: str = "start"
    """What of the text lies at x: "start", "middle" or "end"."""
    bold: bool = False
    """Set in bold."""
    turned: bool = False
    """Read upwards."""


@dataclass(frozen=True)
class Picture:
    """Pixels stretched over a rectangle."""

    x: float
    """Left edge, pixels."""
    y: float
    """Upper edge, pixels."""
    width: float
    """Pixels."""
    height: float
    """Pixels."""
    pixels: np.ndarray
    """(h, w, 3) uint8."""
    hard: bool = True
    """Enlarged pixels stay visible squares."""


Shape = Line | Box | Dot | Text | Picture


@dataclass
class Drawing:
    """Shapes in the order in which they are painted, on a ground of `background`; sizes in pixels."""

    width: int
    height: int
    background: str = "#ffffff"
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        """Paint these on top."""
        self.shapes.extend(shapes)

    def place(self, other: "Drawing", x: float, y: float) -> None:
        """Paint another drawing's shapes with its corner at (x, y)."""
        self.shapes.extend(moved(shape, x, y) for shape in other.shapes)


def moved(shape: Shape, x: float, y: float) -> Shape:
    """The shape, moved by (x, y)."""
    if isinstance(shape, Line):
        return replace(shape, points=[(px + x, py + y) for px, py in shape.points])
    return replace(shape, x=shape.x + x, y=shape.y + y)


def text_width(words: str, size: float, bold: bool = False) -> float:
    """Estimated width in pixels of words drawn at `size` pixels per em; most fonts draw them narrower."""
    advance = BOLD_ADVANCE_EM if bold else ADVANCE_EM
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in words)
    return size * (wide * WIDE_ADVANCE_EM + (len(words) - wide) * advance)


def fitted(words: str, size: float, width: float, bold: bool = False) -> str:
    """The words, or both of their ends where they are estimated to be wider than `width` pixels."""
    if text_width(words, size, bold) <= width:
        return words
    kept = len(words)
    while kept > 2:
        kept -= max(1, kept // 16)
        short = f"{words[: kept - kept // 2]}...{words[len(words) - kept // 2 :]}"
        if text_width(short, size, bold) <= width:
            return short
    return words[:kept]


def to_svg(drawing: Drawing, title: str) -> str:
    """The drawing as an SVG document that stands alone; title is what screen readers and tooltips say."""
    width, height = drawing.width, drawing.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONTS}" role="img">',
        f"<title>{escape(printable(title))}</title>",
        f'<rect width="{width}" height="{height}" fill="{drawing.background}"/>',
        *(_svg(shape) for shape in drawing.shapes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def data_uri(pixels: np.ndarray) -> str:
    """Pixels (h, w, 3) uint8 as a PNG inside a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(png(pixels, smallest=True)).decode()


def _svg(shape: Shape) -> str:
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        dash = f' stroke-dasharray="{shape.dash[0]:g} {shape.dash[1]:g}"' if shape.dash else ""
        return (
            f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}" '
            f'stroke-linejoin="round" stroke-linecap="butt"{dash}/>'
        )
    if isinstance(shape, Box):
        edge = f' stroke="{shape.outline}" stroke-width="{shape.stroke:g}"' if shape.outline else ""
        return f'<rect {_area(shape)} fill="{shape.fill or "none"}"{edge}/>'
    if isinstance(shape, Dot):
        ring = f' stroke="{shape.ring}" stroke-width="1.2"' if shape.ring else ""
        place = f'cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius:g}"'
        return f'<circle {place} fill="{shape.colour}"{ring}/>'
    if isinstance(shape, Picture):
        style = ' style="image-rendering:pixelated"' if shape.hard else ""
        return f'<image {_area(shape)} preserveAspectRatio="none"{style} href="{data_uri(shape.pixels)}"/>'
    turn = f' transform="rotate(-90 {shape.x:.1f} {shape.y:.1f})"' if shape.turned else ""
    weight = ' font-weight="bold"' if shape.bold else ""
    return (
        f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" fill="{shape.colour}" '
        f'text-anchor="{shape.anchor}"{weight}{turn}>{escape(printable(shape.words))}</text>'
    )


def _area(shape: Box | Picture) -> str:
    return f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}"'
