"""Which value wins: flag or variable over the file, the file over the default."""

from pathlib import Path
from typing import Any

import pytest

from vqe_cli.cli.merge import merged, read_config
from vqe_cli.errors import VqeError
from vqe_cli.restore.settings import Settings


def settings(given: dict[str, Any], text: str, folder: Path) -> Settings:
    path = folder / "vqe.yaml"
    path.write_text(text)
    return Settings(input=Path("in"), output=Path("out"), **merged(given, path))


def test_the_file_wins_over_the_default_and_a_flag_over_the_file(tmp_path: Path) -> None:
    found = settings({"tta": 8, "scale": None}, "tta: 4\nscale: 2\ntile-overlap: 24\n", tmp_path)
    assert (found.tta, found.scale, found.tile_overlap) == (8, 2, 24)
    assert found.pqf_rule == "prominent"


def test_a_flag_that_equals_the_default_wins_over_the_file(tmp_path: Path) -> None:
    default = Settings(Path("in"), Path("out"))
    found = settings({"tta": default.tta, "overwrite": False}, "tta: 8\noverwrite: true\n", tmp_path)
    assert (found.tta, found.overwrite) == (1, False)


def test_options_of_the_encoder_are_merged_key_by_key(tmp_path: Path) -> None:
    text = "encoder-options: {preset: slow, tune: grain}"
    assert settings({"encoder_options": {"preset": "fast"}}, text, tmp_path).encoder_options == {
        "preset": "fast",
        "tune": "grain",
    }


def test_keys_may_be_written_with_either_stroke_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = "pqf_period: 8\nhm-log: enc.log\nweights: [a.safetensors]\nstages: 1\ncrf: 12\n"
    found = settings({}, text, tmp_path)
    assert (found.pqf_period, found.stages, found.crf) == (8, "1", 12.0)
    assert found.hm_log == tmp_path / "enc.log"
    assert found.weights == (tmp_path / "a.safetensors",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tile_overlp: 3", "Did you mean 'tile-overlap'"),
        ("input: a.mkv", "'input', which is no setting"),
        ("scale: 3", "scale is 1, 2 or 4, not 3"),
        ("tta: many", "tta is a whole number, not 'many'"),
        ("frames: 0", "frames is at least 1, not 0"),
        ("overwrite: 1", "overwrite is true or false"),
        ("tta:", "tta needs a value"),
        ("- a\n- b", "not a list of settings"),
        ("a: [", "cannot read"),
    ],
)
def test_a_faulty_file_is_named_with_the_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "vqe.yaml"
    path.write_text(text)
    with pytest.raises(VqeError, match=words) as caught:
        read_config(path)
    assert str(path) in str(caught.value) and caught.value.remedy


def test_an_empty_file_sets_nothing_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_config(tmp_path / "empty.yaml") == {}
    with pytest.raises(VqeError, match=r"cannot read the configuration .*absent"):
        read_config(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VqeError, match="cannot read the configuration"):
        read_config(tmp_path / "binary.yaml")
