"""Where results go: names that stand for images, folders without a name, pipes."""

import os
import threading
from pathlib import Path

import av
import pytest
from tiny_clips import make_clip, picture, rewrite

from vqe_cli.errors import VqeError
from vqe_cli.video.images import image_files
from vqe_cli.video.reader import Reader
from vqe_cli.video.sources import open_reader
from vqe_cli.video.targets import target_of


@pytest.mark.parametrize(
    ("output", "first"),
    [
        ("%05d.png", "00001.png"),
        (".", "00001.png"),
        ("./f%03d.png", "f001.png"),
        ("../here/", "00001.png"),
        ("below/..", "00001.png"),
        ("50%done", "50%done/00001.png"),
    ],
)
def test_images_go_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, first: str
) -> None:
    source = make_clip(tmp_path / "in.mkv", count=2)
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    rewrite(source, output)
    written = sorted(str(path.relative_to(tmp_path / "here")) for path in (tmp_path / "here").rglob("*.png"))
    assert len(written) == 2 and written[0] == first
    assert {path.name for path in tmp_path.iterdir()} == {"in.mkv", "here"}, "something was left"
    assert not [path for path in (tmp_path / "here").rglob("*") if "part" in path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_whose_parent_is_locked_takes_images(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", count=2)
    (tmp_path / "locked" / "mine").mkdir(parents=True)
    (tmp_path / "locked").chmod(0o555)
    rewrite(source, tmp_path / "locked" / "mine")
    assert len(list((tmp_path / "locked" / "mine").iterdir())) == 2


@pytest.mark.parametrize("name", ["50%done.mkv", "a%3d.mp4", "%d.y4m"])
def test_a_percent_sign_makes_no_pattern_of_a_video(tmp_path: Path, name: str) -> None:
    rewrite(make_clip(tmp_path / "in.mkv", count=2), tmp_path / name, codec=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.mkv", name])
    assert image_files(tmp_path / name) == []
    with pytest.raises(VqeError, match="does not exist"):
        open_reader(tmp_path / f"no{name}")


@pytest.mark.parametrize("name", ["-", ".mkv", ".png", "f%03d.jpg", "there"])
def test_names_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").write_text("a file, where images would need a folder")
    source = make_clip(tmp_path / "in.mkv", count=1)
    with pytest.raises(VqeError) as caught:
        rewrite(source, name, overwrite=True)
    assert caught.value.remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "there"]


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.y4m"])
def test_a_named_pipe_is_written_to(tmp_path: Path, name: str) -> None:
    source, pipe = make_clip(tmp_path / "in.mkv", count=3), tmp_path / name
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    rewrite(source, pipe)
    reader.join(timeout=60)
    assert pipe.is_fifo()
    (tmp_path / f"read{pipe.suffix}").write_bytes(got[0])
    with Reader(tmp_path / f"read{pipe.suffix}") as written:
        assert len(list(written)) == 3
    assert not [path.name for path in tmp_path.iterdir() if "part" in path.name]


def test_a_reader_of_a_pipe_that_goes_away_is_named(tmp_path: Path) -> None:
    source, pipe = make_clip(tmp_path / "in.mkv", size=(256, 256), count=12), tmp_path / "out.y4m"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: pipe.open("rb").close())
    reader.start()
    with pytest.raises(VqeError, match=r"out\.y4m"):
        rewrite(source, pipe)
    reader.join(timeout=60)
    assert [path.name for path in tmp_path.iterdir() if path != source] == ["out.y4m"]


def test_an_animated_webp_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "moving.webp"
    try:
        with av.open(str(path), "w", format="webp") as output:
            stream = output.add_stream("libwebp_anim", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(4):
                output.mux(stream.encode(picture("yuv420p", 64, 48, number, 10)))
            output.mux(stream.encode(None))
    except ValueError:
        pytest.skip("this FFmpeg does not write animated WebP")
    with pytest.raises(VqeError, match="animated WebP"):
        open_reader(path)


def test_kinds_of_targets() -> None:
    assert target_of(Path("a/f%03d.png")).image(7) == "f007.png"
    assert target_of(Path("a%999999999d.png")).kind == "images"
    assert target_of(Path("x.MKV")).muxer == "matroska"
