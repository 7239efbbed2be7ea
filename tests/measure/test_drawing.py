"""Drawings as SVG that parses and pixels that lie where they should; plots, sheets and reports of them."""

import io
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from vqe_cli.errors import VqeError
from vqe_cli.measure.crops import Crop, CropKeeper
from vqe_cli.measure.drawing import Box, Dot, Drawing, Line, Picture, Text, to_svg
from vqe_cli.measure.lettering import text_width, written
from vqe_cli.measure.outputs import Results
from vqe_cli.measure.plot import panel, plot, thinned, ticks
from vqe_cli.measure.png import jpeg_bytes, png_bytes
from vqe_cli.measure.raster import to_pixels
from vqe_cli.measure.result import Failure, PairResult
from vqe_cli.measure.series import Series
from vqe_cli.measure.sheet import before_after, most_changed, sheet

SVG = "{http://www.w3.org/2000/svg}"
BLACK, RED = (0, 0, 0), (255, 0, 0)


def result(name: str = "a <b> & c", changes: tuple[float, ...] = (5.0,), count: int = 20) -> PairResult:
    frames = tuple(range(count))
    pieces = {
        side: np.full((108, 144, 3), shade, np.uint8)
        for side, shade in zip(SIDES, (60, 120, 180), strict=True)
    }
    quality = {"input": 30.0, "output": 31.5}
    overview = np.zeros((145, 256, 3), np.uint8)
    crops = tuple(
        Crop(index, (8, 16, 144, 108), pieces, quality, overview, (480, 272), change)
        for index, change in enumerate(changes)
    )
    values = tuple(30 + math.sin(frame) for frame in frames)
    return PairResult(
        name=name,
        gt=Path("gt.mkv"),
        pred=Path("out.mkv"),
        lq=Path("lq.mkv"),
        output={"psnr": Series(values, frames)},
        given={"psnr": Series(tuple(value - 1 for value in values), frames)},
        frames=frames,
        qp=(37.0,) * count,
        pqf=tuple(frame % 4 == 0 for frame in frames),
        size=(480, 272),
        rate=25.0,
        matrix="bt709",
        crops=crops,
    )


SIDES = ("input", "output", "truth")


def decoded(image: bytes) -> np.ndarray:
    with av.open(io.BytesIO(image)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_png_is_exact_and_jpeg_is_near() -> None:
    ramp = np.mgrid[0:40, 0:61].sum(axis=0)
    pixels = np.stack([ramp, ramp * 2, 255 - ramp], axis=2).astype(np.uint8)
    assert png_bytes(pixels).startswith(b"\x89PNG")
    assert np.array_equal(decoded(png_bytes(pixels)), pixels)
    assert np.abs(decoded(jpeg_bytes(pixels)).astype(int) - pixels).mean() < 3


def test_shapes_lie_where_they_should() -> None:
    drawing = Drawing(40, 30)
    drawing.add(
        Box(2, 3, 10, 5, fill="#ff0000"),
        Line([(20, 0), (20, 30)], "#000000", 2),
        Dot(30, 10, 3, "#000000"),
        Picture(24, 20, 4, 4, np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8)),
    )
    pixels = to_pixels(drawing, scale=1)
    assert pixels.shape == (30, 40, 3)
    assert tuple(pixels[3, 2]) == tuple(pixels[7, 11]) == RED
    assert tuple(pixels[8, 12]) == (255, 255, 255)
    assert tuple(pixels[15, 19]) == tuple(pixels[15, 20]) == BLACK
    assert (pixels[15, 17] == 255).all()
    assert tuple(pixels[10, 30]) == BLACK
    assert (pixels[14, 34] == 255).all()
    assert tuple(pixels[20, 24]) == RED
    assert tuple(pixels[23, 27]) == BLACK
    assert to_pixels(drawing, scale=2).shape == (60, 80, 3)


def test_shapes_beyond_the_edge_are_cut() -> None:
    drawing = Drawing(20, 20)
    drawing.add(
        Line([(-50, 10), (50, 10)], "#000000", 2), Dot(20, 20, 5, "#ff0000"), Text(-8, 4, "wide words")
    )
    drawing.add(
        Text(18, 19, "corner", turned=True), Box(-5, -5, 8, 8, fill="#ff0000"), Dot(90, 90, 3, "#ff0000")
    )
    pixels = to_pixels(drawing, scale=1)
    assert tuple(pixels[10, 0]) == BLACK
    assert tuple(pixels[19, 19]) == tuple(pixels[0, 0]) == RED


@pytest.mark.parametrize("size", [9, 12, 22, 40])
def test_text_is_as_wide_as_it_says(size: float) -> None:
    cover, baseline, width = written("Hxg 0.5 dB", size, bold=False)
    assert width == pytest.approx(text_width("Hxg 0.5 dB", size))
    inked = np.flatnonzero(cover.max(axis=0) > 0.3)
    assert inked[0] < 0.2 * size
    assert abs(inked[-1] - width) < 0.25 * size
    # H stands on the baseline, g hangs below it.
    capital = np.flatnonzero(written("H", size, bold=True)[0].max(axis=1) > 0.5)
    assert abs(capital[-1] + 1 - baseline) <= 1
    assert np.flatnonzero(cover.max(axis=1) > 0.3)[-1] > baseline


def test_letters_that_are_not_there_are_question_marks() -> None:
    assert np.array_equal(written("漢", 12, False)[0], written("?", 12, False)[0])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (30.2, 31.9, [30, 30.5, 31, 31.5, 32]),
        (0.9, 0.93, [0.9, 0.91, 0.92, 0.93]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == pytest.approx(expected)


def test_ticks_of_a_single_value() -> None:
    found = ticks(33.3, 33.3, 5)
    assert len(found) >= 2
    assert found[0] <= 33.3 <= found[-1]


def test_long_curves_keep_their_extremes() -> None:
    points = [(index, 30.0) for index in range(5000)]
    points[1234], points[4321] = (1234, 10.0), (4321, 50.0)
    kept = thinned(points, 800)
    assert len(kept) <= 800
    assert {(1234, 10.0), (4321, 50.0)} <= set(kept)
    assert kept == sorted(kept)


def test_plots_parse_and_mark_the_peaks() -> None:
    root = ElementTree.fromstring(to_svg(plot([result()], "psnr"), "a & b"))
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert "a <b> & c" in words
    assert any(word.startswith("output") and "(+1.00)" in word for word in words)
    assert len(list(root.iter(f"{SVG}circle"))) == 5 + 1  # five peaks and the one in the legend
    curves = [line for line in root.iter(f"{SVG}polyline") if len(line.get("points", "").split()) == 20]
    assert len(curves) == 2


@pytest.mark.parametrize("values", [(30.0,), (math.inf, math.inf), (None, None), (30.0, math.inf, None)])
def test_odd_curves_can_be_drawn(values: tuple[float | None, ...]) -> None:
    frames = tuple(range(len(values)))
    odd = replace(result(), output={"psnr": Series(values, frames)}, given=None, frames=frames, qp=frames)
    odd = replace(odd, pqf=(False,) * len(values))
    assert to_pixels(panel(odd, "psnr"), scale=1).std() > 0
    ElementTree.fromstring(to_svg(panel(odd, "psnr"), "odd"))


def test_many_videos_stand_in_two_columns() -> None:
    one, four = plot([result()], "psnr"), plot([result()] * 4, "psnr")
    assert four.width > 1.8 * one.width
    assert one.height < four.height < 2.2 * one.height


def test_sheets_show_the_pieces() -> None:
    drawing = sheet(most_changed([result()], rows=8))
    pixels = to_pixels(drawing, scale=1)
    for shade in (60, 120, 180):
        assert (pixels == shade).all(axis=2).sum() == 9 * 144 * 108
    root = ElementTree.fromstring(to_svg(before_after(result().crops[0]), "crop"))
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert words == ["input", "30.00 dB", "output", "31.50 dB", "+1.50 dB", "truth"]


def test_every_video_is_shown_before_any_is_shown_twice() -> None:
    first, second = result("first", (9.0, 8.0, 7.0)), result("second", (1.0, 0.5))
    shown = [(r.name, crop.change) for r, crop in most_changed([first, second], rows=3)]
    assert shown == [("first", 9.0), ("second", 1.0), ("first", 8.0)]


def test_the_keeper_holds_the_largest_changes_that_lie_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    made = result().crops[0]
    monkeypatch.setattr(
        "vqe_cli.measure.crops.cut", lambda frame, change, *views: replace(made, frame=frame, change=change)
    )
    keeper = CropKeeper(limit=2)
    for frame, change in [(0, 5.0), (3, 6.0), (4, 1.0), (20, 2.0), (40, 3.0), (60, 1.0), (41, 9.0)]:
        keeper.offer(frame, change, *(None,) * 3)  # type: ignore[arg-type]
    assert [(crop.frame, crop.change) for crop in keeper.result()] == [(41, 9.0), (3, 6.0)]


def test_the_report_is_one_well_formed_page(tmp_path: Path) -> None:
    outcomes = [result(), Failure("bad & worse", VqeError("It <broke>."))]
    target = tmp_path / "report.html"
    written_files = Results(outcomes, ("psnr",), "vqe eval --gt 'a b'").write(None, None, target)
    assert written_files == [target]
    text = target.read_text()
    assert "bad &amp; worse" in text
    assert "It &lt;broke&gt;." in text
    page = ElementTree.fromstring(text.replace("<!DOCTYPE html>", ""))
    addresses = [image.get("src", "") for image in page.iter("img")]
    assert len(addresses) == 4
    assert all(address.startswith("data:image/") for address in addresses)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert len(list(page.iter(f"{SVG}svg"))) == 1
    assert target.stat().st_size < 200_000
    assert list(tmp_path.iterdir()) == [target]
