"""`vqe enhance --from 1:30 --to 2:00.5`: the frames of these times, with what belongs beside them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from command import one_sentence, vqe
from made_clips import decoded, write_clip
from rich_clips import make, sound, subtitles
from small_clips import write_images
from tiny_weights import write_registry


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds of five frames each with sound, subtitles and two chapters; and shorter clips."""
    folder = tmp_path_factory.mktemp("times")
    write_registry(folder)
    make(folder / "rich.mkv", sound("flac"), subtitles("srt", folder), chapters=True)
    write_clip(folder / "short.mkv", frames=10)  # one second
    return folder


def enhanced(folder: Path, name: str, output: Path, *options: str) -> Path:
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    done = vqe("enhance", folder / name, output, "--codec", "ffv1", "--strength", "0", *options, env=env)
    assert done.code == 0, done.stderr
    return output


def same_pictures(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--from", "3.2"], slice(16, 35)),
        (["--to", "0:03.2"], slice(0, 16)),  # half-open: the frame at 3.2 is not in it
        (["--from", "0:00:01.5", "--to", "0:03.3"], slice(8, 17)),
        (["--from", "1", "--to", "6", "--segment", "8"], slice(5, 30)),
    ],
)
def test_the_frames_whose_times_lie_inside(
    folder: Path, tmp_path: Path, options: list[str], part: slice
) -> None:
    output = enhanced(folder, "rich.mkv", tmp_path / "out.mkv", *options)
    assert same_pictures(decoded(output), decoded(folder / "rich.mkv")[part])


def test_sound_subtitles_and_chapters_of_the_part(folder: Path, tmp_path: Path) -> None:
    """From 3.4 s on: 0.6 s are left of what is said from 3.2 to 4.0 s, and 2.6 s are before 6 s."""
    output = enhanced(folder, "rich.mkv", tmp_path / "out.mkv", "--from", "3.4", "--to", "6.2")
    with av.open(str(output)) as container:
        chapters = [(each["start"], each["end"], each["metadata"]["title"]) for each in container.chapters()]
        time_base = container.chapters()[0]["time_base"]
        assert [(start * time_base, end * time_base, title) for start, end, title in chapters] == [
            (0, Fraction("2.8"), "two")
        ]
        spoken, heard = [], []
        for packet in container.demux(container.streams.subtitles[0], container.streams.audio[0]):
            if not packet.size:
                continue
            start, length = (float(ticks * packet.time_base) for ticks in (packet.pts, packet.duration))
            if packet.stream.type == "subtitle":
                spoken.append((round(start, 2), round(length, 2), bytes(packet)))
            else:
                heard.append((start, bytes(packet)))
    assert spoken == [(0, 0.6, b"in between"), (2.7, 0.8, b"the end")]
    assert 0 <= heard[0][0] < 0.1 and 2.7 < heard[-1][0] < 2.8  # packets are of 0.1 s
    # Sound that was heard with a frame is heard with it still.
    with av.open(str(folder / "rich.mkv")) as container:
        before = {
            bytes(packet): float(packet.pts * packet.time_base)
            for packet in container.demux(audio=0)
            if packet.size
        }
    assert all(abs(before[content] - start - 3.4) < 0.002 for start, content in heard)


def test_images_and_files_without_times_count_by_their_rate(folder: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (6, 32, 48, 3), np.uint8)
    write_images(tmp_path / "in", [tuple(np.moveaxis(picture, 2, 0)) for picture in pictures])
    enhanced(folder, str(tmp_path / "in"), tmp_path / "f%d.png", "--from", "0.08", "--to", "0.2")
    assert len(list(tmp_path.glob("f*.png"))) == 3  # at 0.08, 0.12 and 0.16 s


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from", "2"], "ends at 0:01"),
        (["--from", "0.5", "--to", "1:00"], "--to 1:00"),
        (["--from", "0.9", "--to", "0.5"], "not after --from 0:00.9"),
        (["--from", "0.51", "--to", "0.52"], "no frames"),
        (["--from", "0.5", "--frames", "2"], "not by both"),
    ],
)
def test_a_part_that_is_not_there(folder: Path, tmp_path: Path, options: list[str], words: str) -> None:
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    assert words in one_sentence(
        vqe("enhance", folder / "short.mkv", tmp_path / "out.mkv", *options, env=env)
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("time", ["soon", "1:75", "-3", "1:2:3:4", "1e3", "9" * 5000])
def test_what_is_no_time_is_wrong_usage(folder: Path, tmp_path: Path, time: str) -> None:
    done = vqe("enhance", folder / "short.mkv", tmp_path / "out.mkv", f"--from={time}")
    assert done.code == 2 and "--from" in done.stderr


def test_configuration_file_and_variables_take_them(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vqe.yaml").write_text("from: 0:01\n")
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml"), "VQE_TO": "0:02"}
    arguments = ["--config", tmp_path / "vqe.yaml", "--codec", "ffv1", "--quiet"]
    assert vqe("enhance", folder / "rich.mkv", tmp_path / "out.mkv", *arguments, env=env).code == 0
    assert len(decoded(tmp_path / "out.mkv")) == 5
    shown = vqe("enhance", folder / "rich.mkv", tmp_path / "out.mkv", "--show-config", *arguments, env=env)
    assert "from: 1.0" in shown.stdout and "VQE_TO" in shown.stdout
