"""Inputs after public reports, from one end to the other: what is right stands in each test."""

from pathlib import Path

import av
import pytest
from command import vqe
from conftest import DATA
from made_clips import packets
from tiny_weights import write_registry

CASES = DATA / "cases"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"VQE_WEIGHTS_TOML": str(write_registry(tmp_path_factory.mktemp("weights")))}


def enhanced(source: Path, target: Path, env: dict[str, str], *options: str) -> Path:
    done = vqe("enhance", source, target, *options, env=env)
    assert done.code == 0, done.stderr
    return target


def test_a_photograph_with_exif_keeps_its_orientation(tmp_path: Path, registry: dict[str, str]) -> None:
    """Orientation 6: stored 160x96, shown 96x160. Videos carry it, images are turned."""
    video = enhanced(CASES / "exif.jpg", tmp_path / "out.mkv", registry)
    with av.open(str(video)) as container:
        [picture] = container.decode(video=0)
        assert (picture.width, picture.height, picture.rotation % 360) == (160, 96, 270)
    image = enhanced(CASES / "exif.jpg", tmp_path / "out.png", registry)
    with av.open(str(image)) as container:
        [picture] = container.decode(video=0)
        assert (picture.width, picture.height) == (96, 160)


def test_a_title_in_latin_1_becomes_unicode(tmp_path: Path, registry: dict[str, str]) -> None:
    made = enhanced(CASES / "latin1_title.avi", tmp_path / "out.mkv", registry, "--frames", "3")
    with av.open(str(made)) as container:
        assert container.metadata["title"].strip() == "Été à plage"


def test_a_cover_that_comes_first_is_carried_and_the_video_enhanced(
    tmp_path: Path, registry: dict[str, str]
) -> None:
    made = enhanced(CASES / "cover_first.mp4", tmp_path / "out.mp4", registry)
    with av.open(str(made)) as container:
        kinds = {stream.codec_context.name: stream for stream in container.streams}
        assert {"hevc", "aac", "mjpeg"} <= kinds.keys()
        assert sum(1 for _ in container.decode(kinds["hevc"])) == 40
    assert packets(made, "audio") == packets(CASES / "cover_first.mp4", "audio")


def test_a_duration_tag_of_400_digits(tmp_path: Path, registry: dict[str, str]) -> None:
    done = vqe("inspect", CASES / "dm400.mkv")
    assert done.code == 0, done.stderr
    assert "damaged" not in done.stderr
    enhanced(CASES / "dm400.mkv", tmp_path / "out.mkv", registry)


def test_wrong_usage_shows_no_control_characters() -> None:
    for arguments in (
        ["inspect", "a", "\x1b]0;x\x07"],
        ["\x1b[31mx"],
        ["enhance", "a", "b", "--tta", "\x1b[1m"],
    ):
        done = vqe(*arguments)
        assert done.code == 2
        assert "\x1b" not in done.stderr
        assert "\x07" not in done.stderr
