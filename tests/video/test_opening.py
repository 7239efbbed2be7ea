"""The one way in: names and tags in any bytes, cover pictures, side data of any kind; no second way."""

import ast
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from conftest import DATA, ROOT
from tiny_clips import make_clip, picture

from vqe_cli.errors import VqeError
from vqe_cli.video.images import ImageReader
from vqe_cli.video.inspect import inspect
from vqe_cli.video.opening import open_input, video_stream
from vqe_cli.video.probe import probe
from vqe_cli.video.reader import Reader

CASES = DATA / "cases"
SOURCES = sorted((ROOT / "vqe_cli").rglob("*.py"))

ODD_NAMES = {
    "colon": "http:x",
    "drive": "c:clip",
    "escaped space": "a%20b",
    "pattern": "f%03d",
    "glob": "a*b?[c]{d,e}",
    "dash": "-i",
    "control": "a\x1b[31mb\rc\nd\x07",
    "longest": "x" * 251,
    "latin-1": os.fsdecode(b"\xe9t\xe9"),
    "not unicode": os.fsdecode(b"\xff\xfe\x80"),
}
odd_names = pytest.mark.parametrize("stem", ODD_NAMES.values(), ids=ODD_NAMES.keys())


def opens_for_reading(call: ast.Call) -> bool:
    """Whether a call is av.open(...) of what is no memory, without the mode "w"."""
    function = call.func
    if not (isinstance(function, ast.Attribute) and function.attr == "open"):
        return False
    if not (isinstance(function.value, ast.Name) and function.value.id == "av"):
        return False
    if any(
        isinstance(each, ast.Call) and ast.unparse(each.func).endswith("BytesIO") for each in call.args[:1]
    ):
        return False  # what was just made in memory is no input
    modes = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")]
    return not any(isinstance(mode, ast.Constant) and mode.value == "w" for mode in modes)


def is_video_by_number(node: ast.AST) -> bool:
    """`….streams.video[0]`, or `decode(video=0)` and `demux(video=0)`."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
        return node.value.attr == "video"
    return isinstance(node, ast.Call) and any(word.arg == "video" for word in node.keywords)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_there_is_no_second_way_in(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if path.name != "opening.py":
        assert not [call.lineno for call in calls if opens_for_reading(call)], "open_input opens inputs"
    assert not [node.lineno for node in ast.walk(tree) if is_video_by_number(node)], "video_stream chooses"
    from_av = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "av"]
    assert not [node.lineno for node in from_av for alias in node.names if alias.name == "open"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_whoever_demuxes_knows_what_to_do_about_errors(path: Path) -> None:
    """By `reading` or `each_reading`, which name the file, or by going on without the rest."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        text = ast.unparse(function)
        if ".demux(" in text:
            assert "reading(" in text or "FFmpegError" in text or "_readable(" in text, function.name


@odd_names
def test_a_video_of_any_name_is_read(tmp_path: Path, stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(make_clip(tmp_path / "clip.mkv", count=2), tmp_path / f"{stem}.mkv")
    monkeypatch.chdir(tmp_path)
    for path in (Path(f"{stem}.mkv"), tmp_path / f"{stem}.mkv"):
        with Reader(path) as reader:
            assert len(list(reader)) == 2
        assert len(inspect(path).frames) == 2


@odd_names
def test_an_image_of_any_name_is_read(tmp_path: Path, stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(CASES / "exif.jpg", tmp_path / f"{stem}.jpg")
    monkeypatch.chdir(tmp_path)
    with ImageReader(Path(f"{stem}.jpg")) as reader:
        [frame] = reader
    assert (reader.info.width, reader.info.height) == (160, 96)
    assert frame.planes[0].shape == (96, 160)


def test_exif_does_not_hide_the_orientation() -> None:
    """Orientation 6: to be turned by 90 degrees clockwise."""
    info = probe(CASES / "exif.jpg")
    assert info.rotation_deg in (-90, 270)
    assert len(info.display_matrix) == 9


def test_side_data_of_an_unknown_kind_leaves_the_rest_there(tmp_path: Path) -> None:
    """As multiview HEVC of telephones has it; what is known beside it is still given."""
    with open_input(CASES / "exif.jpg") as container:
        picture = next(container.decode(video_stream(container, CASES / "exif.jpg")))
    kinds = {int(entry.type.value) for entry in picture.side_data}
    assert len(kinds) == 2, "the kind that is unknown and the matrix"
    assert len(bytes(picture.side_data["DISPLAYMATRIX"])) == 36


def with_second_layer(packet: bytes) -> bytes:
    """The NAL units of a packet (lengths of 4 bytes), and its slices again as those of layer 1."""
    more, position = b"", 0
    while position < len(packet):
        length = int.from_bytes(packet[position : position + 4], "big")
        nal = packet[position + 4 : position + 4 + length]
        if nal[0] >> 1 < 32:  # a slice
            more += packet[position : position + 4] + bytes([nal[0] & 0xFE, 1 << 3 | nal[1] & 7]) + nal[2:]
        position += 4 + length
    return packet + more


def test_a_second_layer_is_passed_over(tmp_path: Path) -> None:
    """Multiview HEVC has NAL units of layer 1 in each packet: for the other eye, and for other decoders."""
    one, two = make_clip(tmp_path / "one.mp4", "libx265", count=6), tmp_path / "two.mp4"
    with av.open(str(one)) as source, av.open(str(two), "w") as output:
        copy = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                doubled = av.Packet(with_second_layer(bytes(packet)))
                doubled.pts, doubled.dts, doubled.time_base = packet.pts, packet.dts, packet.time_base
                doubled.is_keyframe, doubled.stream = packet.is_keyframe, copy
                output.mux(doubled)
    assert two.stat().st_size > one.stat().st_size + 100
    expected = [(frame.kind, frame.qp, frame.duplicate_of) for frame in inspect(one).frames]
    assert [(frame.kind, frame.qp, frame.duplicate_of) for frame in inspect(two).frames] == expected
    with Reader(one) as first, Reader(two) as second:
        for frame, other in zip(first, second, strict=True):
            assert all((a == b).all() for a, b in zip(frame.planes, other.planes, strict=True))
            assert frame.qp == other.qp
        assert not second.warnings


def test_tags_that_are_not_utf_8_are_decoded() -> None:
    with open_input(CASES / "latin1_title.avi") as container:
        assert container.metadata["title"].strip() == "Été à plage"
    assert len(inspect(CASES / "latin1_title.avi").frames) > 0


def test_a_cover_picture_is_no_video_also_where_it_comes_first() -> None:
    path = CASES / "cover_first.mp4"
    assert probe(path).codec == "hevc"
    assert len(inspect(path).frames) == 40
    assert len(inspect(path, duplicates=False).frames) == 40


def test_what_ffmpeg_logs_is_said(tmp_path: Path) -> None:
    """Also twice: FFmpeg's log leaves out what it said last."""
    path = tmp_path / "cut.mp4"
    path.write_bytes((CASES / "cover_first.mp4").read_bytes()[:3000])
    level = av.logging.get_level()
    for _ in range(2):
        with pytest.raises(VqeError, match="moov atom not found") as caught:
            open_input(path)
        assert str(path) in caught.value.message
        assert "disk" not in str(caught.value)
    assert av.logging.get_level() == level


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize(("make", "word"), [(os.mkfifo, "pipe"), (make_socket, "socket")])
def test_what_is_no_regular_file_is_called_what_it_is(
    tmp_path: Path, make: Callable[[Path], None], word: str
) -> None:
    """At once, too: opening a pipe would wait for a writer."""
    path = tmp_path / "x.mkv"
    make(path)
    caught: list[BaseException] = []

    def work() -> None:
        try:
            open_input(path)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    [error] = caught
    assert isinstance(error, VqeError)
    assert word in error.message
    assert "download" not in str(error)
    assert "empty" not in str(error)


@pytest.mark.parametrize("name", ["n" * 300, "loop.mkv", "nul\0.mkv"])
def test_names_that_the_system_refuses(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.mkv").symlink_to(tmp_path / "loop.mkv")
    with pytest.raises(VqeError):
        open_input(tmp_path / name)


@pytest.mark.parametrize("digits", ["4" * 400, "9" * 5000, "1e999", "-1", "٤"])
def test_duration_tags_of_any_length(tmp_path: Path, digits: str) -> None:
    """The tag is one number among others; the pictures count."""
    paths = [CASES / "dm400.mkv"]
    with av.open(str(tmp_path / "made.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.metadata["DURATION"] = output.metadata["title"] = f"{digits}:00:00.0"
        for number in range(3):
            output.mux(stream.encode(picture("yuv420p", 64, 48, number)))
        output.mux(stream.encode(None))
    for path in [*paths, tmp_path / "made.mkv"]:
        with Reader(path) as reader:
            assert len(list(reader)) > 0
            assert not any("damaged" in warning for warning in reader.warnings)
