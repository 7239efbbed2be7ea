"""`vqe enhance --deinterlace` and `--detelecine` as commands."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import small_clips
from command import one_sentence, vqe

FAST = ("--model", "fast", "--codec", "ffv1")


@pytest.fixture(scope="module")
def woven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clips.write_interlaced(tmp_path_factory.mktemp("woven") / "in.mkv", 24)


def pictures(path: Path) -> list[tuple[float | None, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(picture.time, picture.to_ndarray()) for picture in container.decode(video=0)]


@pytest.mark.parametrize(("way", "rate", "count"), [("single", 25, 24), ("double", 50, 48)])
def test_fields_become_frames(woven: Path, tmp_path: Path, way: str, rate: int, count: int) -> None:
    output = tmp_path / "out.mkv"
    done = vqe("enhance", woven, output, *FAST, "--deinterlace", way)
    assert done.code == 0, done.stderr
    with av.open(str(output)) as container:
        assert container.streams.video[0].average_rate == Fraction(rate)
    times = [time for time, _ in pictures(output)]
    assert len(times) == count
    assert np.allclose(np.diff(np.array(times, float)), 1 / rate, atol=0.0011)


def test_without_a_value_it_is_single(woven: Path, tmp_path: Path) -> None:
    """Wherever it stands among the others."""
    for number, words in enumerate([("--deinterlace", woven, "OUT"), (woven, "OUT", "--deinterlace")]):
        output = tmp_path / f"{number}.mkv"
        done = vqe("enhance", *(output if word == "OUT" else word for word in words), *FAST)
        assert done.code == 0, done.stderr
        assert len(pictures(output)) == 24


def test_segments_and_parts_are_those_of_one_piece(woven: Path, tmp_path: Path) -> None:
    whole, cut, part = tmp_path / "whole.mkv", tmp_path / "cut.mkv", tmp_path / "part.mkv"
    double = (*FAST, "--deinterlace", "double", "--chunk", "4")
    assert vqe("enhance", woven, whole, *double).code == 0
    assert vqe("enhance", woven, cut, *double, "--segment", "8").code == 0
    assert vqe("enhance", woven, part, *double, "--from", "0.4", "--to", "0.6").code == 0
    expected = pictures(whole)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(pictures(cut), expected, strict=True))
    assert len(pictures(part)) == 10


def test_without_the_option_the_refusal_names_it(woven: Path, tmp_path: Path) -> None:
    done = vqe("enhance", woven, tmp_path / "out.mkv", *FAST)
    one_sentence(done)
    assert "--deinterlace" in done.stderr


@pytest.mark.parametrize("option", [("--deinterlace", "single"), ("--detelecine",)])
def test_a_progressive_file_is_one_sentence(tmp_path: Path, option: tuple[str, ...]) -> None:
    source = small_clips.write(tmp_path / "in.mkv", small_clips.clip(12))
    done = vqe("enhance", source, tmp_path / "out.mkv", *FAST, *option)
    one_sentence(done)
    assert "not interlaced" in done.stderr and not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize(
    "options",
    [("--deinterlace", "double", "--detelecine"), ("--detelecine", "--cluster", "auto", "--cluster-ship")],
)
def test_what_does_not_go_together(woven: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    one_sentence(vqe("enhance", woven, tmp_path / "out.mkv", *options))
