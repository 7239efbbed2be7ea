"""Which value wins: a flag over its variable, that over the project's file, that over the user's, that over
the default.
"""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import one_sentence, vqe
from conftest import DATA

from vqe_cli.cli.merge import as_yaml, file_layer, given_layer, merged, read_config, refuse_slips, user_file
from vqe_cli.errors import VqeError
from vqe_cli.runs.settings import Settings


def settings(given: dict[str, Any], text: str, folder: Path) -> Settings:
    path = folder / "vqe.yaml"
    path.write_text(text)
    chosen = merged([given_layer(given, []), file_layer(path)])
    return Settings(Path("in"), Path("out"), **{name: each.value for name, each in chosen.items()})


def test_the_file_wins_over_the_default_and_a_flag_over_the_file(tmp_path: Path) -> None:
    found = settings({"tta": 8, "scale": None}, "tta: 4\nscale: 2\ntile-overlap: 24\n", tmp_path)
    assert (found.tta, found.scale, found.tile_overlap) == (8, 2, 24)
    assert found.pqf_rule == "prominent"


def test_a_flag_that_equals_the_default_wins_over_the_file(tmp_path: Path) -> None:
    default = Settings(Path("in"), Path("out"))
    found = settings({"scale": default.scale, "overwrite": False}, "scale: 2\noverwrite: true\n", tmp_path)
    assert (found.scale, found.overwrite) == (1, False)


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
        ("input: a.mkv", "'input', which is not a setting"),
        ("scale: 3", "scale is 1, 2 or 4, not 3"),
        ("tta: many", "tta is a whole number, not 'many'"),
        ("frames: 0", "frames is at least 1, not 0"),
        ("overwrite: 1", "overwrite is true or false"),
        ("scale:", "scale needs a value"),
        ("suffix: a/b", "holds no /"),
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


HOSTILE = {
    "lists in weights": "weights: [[1, 2]]",
    "numbers in weights": "weights: [1]",
    "a zero byte in a path": 'hm-log: "a\\0b"',
    "a zero byte in weights": 'weights: ["a\\0b"]',
    "a zero byte in a word": 'model: "a\\0b"',
    "a list as model": "model: [a, b]",
    "a mapping as model": "model: {a: b}",
    "options in options": "encoder-options: {a: {b: c}}",
    "a list of options": "encoder-options: [a]",
    "no option": "encoder-options: {a: }",
    "5,000 digits": "tile: " + "9" * 5000,
    "20 digits": "tile: " + "9" * 20,
    "hexadecimal": "tile: 0x" + "f" * 5000,
    "NaN": "crf: .nan",
    "infinity": "crf: .inf",
    "a date": "model: 2020-01-01",
    "deep": "tile: " + "[" * 3000 + "]" * 3000,
    "long": "model: [" + "x" * 50_000 + "]",
    "a long key": "x" * 50_000 + ": 1",
    "a list as key": "? [a]\n: b",
    "a number as key": "1: 2",
    "an alias": "chunk: &a 3\noverlap: *a",
    "a tag": "tile: !!python/name:os.system",
    "large": "# " + "x" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_gets_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vqe.yaml"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(VqeError) as caught:
        read_config(path)
    assert time.monotonic() - began < 3
    said = str(caught.value)
    assert str(path) in said and caught.value.remedy
    assert said.isprintable() and len(said) < 400 + 2 * len(str(path))


def test_the_reported_file_does_not_hang(tmp_path: Path) -> None:
    began = time.monotonic()
    done = vqe("enhance", "in.mkv", str(tmp_path / "o.mkv"), "--config", str(DATA / "cases" / "aliases.yaml"))
    assert "aliases.yaml" in one_sentence(done)
    assert time.monotonic() - began < 10


def test_mutated_settings_are_taken_or_refused(tmp_path: Path) -> None:
    """Right keys with values of every kind: nothing but VqeError comes out."""
    values = [
        "1",
        "-1",
        "1.5",
        "a",
        "[]",
        "[a, 1]",
        "{}",
        "{a: 1}",
        "true",
        "null",
        ".nan",
        "9999999999",
        "''",
    ]
    values += ["[[a]]", "{a: [1]}", "'a/b'", '"\\0"', "cuda:1", "1e400"]
    path = tmp_path / "vqe.yaml"
    for key in Settings.__dataclass_fields__:
        for value in values:
            path.write_text(f"{key.replace('_', '-')}: {value}\n")
            try:
                read_config(path)
            except VqeError as error:
                assert len(str(error)) < 400 + 2 * len(str(path))


def test_an_empty_file_sets_nothing_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_config(tmp_path / "empty.yaml") == {}
    with pytest.raises(VqeError, match=r"cannot read the configuration .*absent"):
        read_config(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VqeError, match="cannot read the configuration"):
        read_config(tmp_path / "binary.yaml")


# --- the whole order, as the command sees it --------------------------------------------------------------


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A working folder and a user's configuration folder, each with a vqe.yaml."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("vqe.yaml").write_text("tta: 4\nchunk: 6\ncrf: 11\nencoder-options: {preset: slow}\n")
    (tmp_path / "home" / "vqe").mkdir(parents=True)
    text = "tta: 2\nchunk: 5\noverlap: 3\nencoder-options: {preset: fast, tune: grain}\n"
    (tmp_path / "home" / "vqe" / "vqe.yaml").write_text(text)
    return {"XDG_CONFIG_HOME": str(tmp_path / "home")}


def shown(*arguments: str, env: dict[str, str]) -> dict[str, tuple[Any, str]]:
    """Value and origin by key, as --show-config tells them."""
    done = vqe("enhance", "in.mkv", "out.mkv", "--show-config", *arguments, env=env)
    assert (done.code, done.stderr) == (0, ""), done.stderr
    table = yaml.safe_load(done.stdout)
    origins = dict(line.split("  # ") for line in done.stdout.splitlines())
    return {key.split(":")[0]: (table[key.split(":")[0]], origin) for key, origin in origins.items()}


def test_show_config_says_where_each_value_came_from(surroundings: dict[str, str], tmp_path: Path) -> None:
    variables = {"VQE_TTA": "8", "VQE_CHUNK": "7", "VQE_TILE": "256"}
    found = shown("--tta", "1", "-e", "bframes=0", env=surroundings | variables)
    users = str(tmp_path / "home" / "vqe" / "vqe.yaml")
    assert found["tta"] == (1, "--tta")  # equals the default, and wins
    assert found["chunk"] == (7, "VQE_CHUNK")
    assert found["tile"] == (256, "VQE_TILE")
    assert found["crf"] == (11.0, "vqe.yaml")
    assert found["overlap"] == (3, users)
    assert found["scale"] == (1, "default") and found["model"] == (None, "default")
    assert found["encoder-options"] == (
        {"preset": "slow", "tune": "grain", "bframes": "0"},
        f"preset: vqe.yaml, tune: {users}, bframes: -e",
    )
    assert found.keys() == {name.rstrip("_").replace("_", "-") for name in Settings.__dataclass_fields__} - {
        "input",
        "output",
    }


def test_a_named_file_takes_the_place_of_the_projects(surroundings: dict[str, str]) -> None:
    Path("other.yaml").write_text("crf: 20\n")
    found = shown("--config", "other.yaml", env=surroundings)
    assert found["crf"] == (20.0, "other.yaml")
    assert found["chunk"][0] == 5


def test_what_is_shown_is_a_configuration_file(surroundings: dict[str, str], tmp_path: Path) -> None:
    given = {"weights": (tmp_path / "żółć: 'a'.safetensors",), "stages": "1", "suffix": "# no"}
    chosen = merged([given_layer(given, [])])
    (tmp_path / "again.yaml").write_text(as_yaml(chosen), encoding="utf-8")
    assert read_config(tmp_path / "again.yaml") == {name: each.value for name, each in chosen.items()}


@pytest.mark.parametrize("where", ["project", "home/vqe"])
def test_a_faulty_key_in_either_file_stops_the_run(
    surroundings: dict[str, str], tmp_path: Path, where: str
) -> None:
    (tmp_path / where / "vqe.yaml").write_text("modle: fast\n")
    said = one_sentence(vqe("enhance", "in.mkv", "out.mkv", env=surroundings))
    assert "vqe.yaml" in said and "'model'" in said


def test_a_variable_with_a_slip_is_an_error_and_foreign_ones_are_not() -> None:
    refuse_slips(
        {"VQE_TTA": "8", "VQE_WEIGHTS_TOML": "a", "VQE_SHARED": "b", "VQE_CI_CACHE": "c", "PATH": ""}
    )
    with pytest.raises(VqeError, match=r"VQE_TILE_OVERLP is not a setting.* Did you mean VQE_TILE_OVERLAP"):
        refuse_slips({"VQE_TILE_OVERLP": "8"})


def test_the_users_file_lies_in_the_configuration_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
    assert user_file() == Path("/somewhere/vqe/vqe.yaml")
