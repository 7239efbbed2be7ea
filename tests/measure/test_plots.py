"""Drawings as SVG that parses; plots, sheets of crops and reports made of them."""

import base64
import io
import math
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from vqe_cli.errors import OutputError, VqeError
from vqe_cli.measure.drawing import Box, Dot, Drawing, Line, Picture, Text, fitted, text_width, to_svg
from vqe_cli.measure.pictures import Crop, CropKeeper
from vqe_cli.measure.plots import most_changed, panel, plot, sheet, sheet_pixels, thinned, ticks
from vqe_cli.measure.report import Results, check
from vqe_cli.measure.result import Failure, PairResult, Series
from vqe_cli.video.images import jpeg, png

SVG = "{http://www.w3.org/2000/svg}"


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
    for smallest in (False, True):
        assert png(pixels, smallest=smallest).startswith(b"\x89PNG")
        assert np.array_equal(decoded(png(pixels, smallest=smallest)), pixels)
    assert np.abs(decoded(jpeg(pixels)).astype(int) - pixels).mean() < 3


def test_shapes_are_elements_of_svg() -> None:
    drawing = Drawing(40, 30)
    drawing.add(
        Box(2, 3, 10, 5, fill="#ff0000"),
        Line([(20, 0), (20, 30)], "#000000", 2),
        Dot(30, 10, 3, "#000000"),
        Picture(24, 20, 4, 4, np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8)),
        Text(18, 19, "a < b & c", turned=True),
    )
    whole = Drawing(100, 100)
    whole.place(drawing, 50, 60)
    root = ElementTree.fromstring(to_svg(whole, "a & b"))
    assert root.get("viewBox") == "0 0 100 100"
    [_, box] = root.iter(f"{SVG}rect")  # the first is the ground
    assert [float(box.get(key, "")) for key in ("x", "y", "width", "height")] == [52, 63, 10, 5]
    [line], [dot] = root.iter(f"{SVG}polyline"), root.iter(f"{SVG}circle")
    assert line.get("points") == "70.0,60.0 70.0,90.0"
    assert [float(dot.get(key, "")) for key in ("cx", "cy", "r")] == [80, 70, 3]
    [image], [text] = root.iter(f"{SVG}image"), root.iter(f"{SVG}text")
    kind, _, data = image.get("href", "").partition(";base64,")
    assert kind == "data:image/png"
    assert decoded(base64.b64decode(data)).tolist() == [[[255, 0, 0], [0, 0, 0]]]
    assert text.text == "a < b & c" and "rotate(-90" in text.get("transform", "")


@pytest.mark.parametrize("words", ["short", "a long name " * 20, "漢字" * 40, ""])
def test_words_are_shortened_to_their_place(words: str) -> None:
    kept = fitted(words, 14, 300, bold=True)
    assert text_width(kept, 14, bold=True) <= 300
    assert kept == words or (kept[:3] == words[:3] and kept[-3:] == words[-3:])


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
    drawn = to_svg(panel(odd, "psnr"), "odd")
    assert "nan" not in drawn and "inf" not in drawn.replace("info", "")
    assert list(ElementTree.fromstring(drawn).iter(f"{SVG}text"))


def test_many_videos_stand_in_two_columns() -> None:
    one, four = plot([result()], "psnr"), plot([result()] * 4, "psnr")
    assert four.width > 1.8 * one.width
    assert one.height < four.height < 2.2 * one.height


def test_sheets_show_the_pieces() -> None:
    shown = most_changed([result(), result("second")], rows=8)
    pixels = sheet_pixels(shown)
    for shade in (60, 120, 180):
        assert (pixels == shade).all(axis=2).sum() == 2 * 9 * 144 * 108
    root = ElementTree.fromstring(to_svg(sheet(shown), "crops"))
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert words.count("input") == words.count("output") == words.count("truth") == 2
    assert words.count("30.00 dB") == words.count("31.50 dB") == words.count("+1.50 dB") == 2
    assert len(list(root.iter(f"{SVG}image"))) == 2 * 4


@pytest.mark.parametrize("sides", [("input", "output", "truth"), ("output", "truth")])
def test_sheets_mark_the_place_of_the_crop(sides: tuple[str, ...]) -> None:
    """The overview is 256 pixels wide for a frame of 480, so the box (8, 16, 144, 108) is 77 x 58 in it."""
    made = result().crops[0]
    made = replace(made, pictures={side: made.pictures[side] for side in sides})
    pixels = sheet_pixels([(result(), made)])
    rows, columns = np.nonzero((pixels == (255, 59, 48)).all(axis=2))
    assert np.ptp(columns) == pytest.approx(144 * 256 / 480, abs=2)
    assert np.ptp(rows) == pytest.approx(108 * 256 / 480, abs=2)


def without_cairosvg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)


def test_a_plot_as_png_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_cairosvg(monkeypatch)
    with pytest.raises(OutputError, match=r"plot\.png") as refused:
        check(tmp_path / "plot.png", None, None, overwrite=False)
    assert "vqe[png]" in str(refused.value) and "pip install '.[png]'" in str(refused.value.remedy)
    wanted = [tmp_path / "plot.svg", tmp_path / "crops.png", tmp_path / "report.html"]
    assert check(*wanted, overwrite=False) == wanted


def test_a_plot_as_png_where_the_extra_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("cairosvg", exc_type=(ImportError, OSError))  # type: ignore[arg-type]
    target = tmp_path / "plot.png"
    check(target, None, None, overwrite=False)
    assert Results([result()], ("psnr",)).write(target, None, None) == [target]
    drawing = plot([result()], "psnr")
    pixels = decoded(target.read_bytes())
    assert pixels.shape == (2 * drawing.height, 2 * drawing.width, 3)
    assert pixels.std() > 5


def test_every_video_is_shown_before_any_is_shown_twice() -> None:
    first, second = result("first", (9.0, 8.0, 7.0)), result("second", (1.0, 0.5))
    shown = [(r.name, crop.change) for r, crop in most_changed([first, second], rows=3)]
    assert shown == [("first", 9.0), ("second", 1.0), ("first", 8.0)]


def test_the_keeper_holds_the_largest_changes_that_lie_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    made = result().crops[0]
    monkeypatch.setattr(
        "vqe_cli.measure.pictures.cut",
        lambda frame, change, *views: replace(made, frame=frame, change=change),
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
