"""Which folders are one clip and which are trees of videos, and what the files of a tree become."""

from pathlib import Path

import pytest
from small_clips import clip, write

from vqe_cli.errors import VqeError
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.tree import is_tree, videos_below, written_as


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("video") / "a.mkv", clip(1)).read_bytes()


def made(folder: Path, names: list[str], video: bytes) -> Path:
    """A folder with files of these names: images by name alone, videos (.mkv) by content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(video if name.endswith(".mkv") else b"")
    return folder


@pytest.mark.parametrize(
    ("names", "pattern", "tree"),
    [
        (["0001.png", "0002.png"], None, False),
        (["IMG_7.jpg", "notes.txt", "sub/a.mkv"], None, False),
        (["wall.png", "floor.png"], None, False),  # nothing but images
        (["wall.png", "notes.txt"], None, True),
        (["a.mkv", "b.mkv"], None, True),
        (["sub/a.mkv"], None, True),
        (["a.mkv", "poster.jpg"], None, True),
        (["MVI_0001.mkv", "IMG_0002.jpg"], None, True),  # a camera's folder
        (["folder.jpg", "season/a.mkv"], None, True),
        (["0001.png", "sub/a.mkv"], "*.mkv", True),
        ([], None, True),
    ],
    ids=str,
)
def test_one_clip_or_a_tree(
    names: list[str], pattern: str | None, tree: bool, video: bytes, tmp_path: Path
) -> None:
    folder = made(tmp_path, names, video)
    assert is_tree(Settings(folder, Path("out"), pattern=pattern)) is tree


def test_a_file_is_no_tree(video: bytes, tmp_path: Path) -> None:
    made(tmp_path, ["a.mkv"], video)
    assert not is_tree(Settings(tmp_path / "a.mkv", Path("out")))


def test_videos_are_known_by_their_content(video: bytes, tmp_path: Path) -> None:
    """Neither text with a list of videos nor an image counts; a damaged file named like a video does."""
    made(tmp_path, ["a.mkv", "sub/b.mkv", "sub/.hidden.mkv", "b.mkv.vqe-work/0.mkv"], video)
    (tmp_path / "no suffix").write_bytes(video)
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile a.mkv\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\na.mkv\n#EXT-X-ENDLIST\n")
    (tmp_path / "damaged.mp4").write_bytes(b"damaged")
    (tmp_path / "damaged.doc").write_bytes(b"damaged")
    found = [str(path) for path in videos_below(tmp_path, None, tmp_path / "out")[0]]
    assert found == ["a.mkv", "damaged.mp4", "no suffix", "sub/b.mkv"]
    assert [str(path) for path in videos_below(tmp_path, "sub/*", tmp_path / "out")[0]] == ["sub/b.mkv"]
    with pytest.raises(VqeError, match="no videos"):
        videos_below(tmp_path, "*.MKV", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "chosen", "written"),
    [
        ("a/b.mp4", {}, "a/b.mp4"),
        ("a.b.MKV", {"suffix": "_x"}, "a.b_x.MKV"),
        ("a.mp4", {"container": "mkv"}, "a.mkv"),
        ("a.flv", {}, "a.mkv"),
        ("a.hevc", {}, "a.mkv"),
        ("a", {}, "a.mkv"),
        ("a.webm", {}, "a.mkv"),
        ("a.webm", {"codec": "libvpx-vp9"}, "a.webm"),
    ],
)
def test_names_of_results(name: str, chosen: dict[str, str], written: str) -> None:
    assert written_as(Path(name), Settings(Path("in"), Path("out"), **chosen)) == Path(written)
