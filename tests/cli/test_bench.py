"""`vqe bench FILE`: the file stands where other commands have a subject."""

import json
from pathlib import Path

from command import vqe
from conftest import ROOT
from tiny_weights import write_registry

CLIP = ROOT / "samples/lq/bunny.mkv"


def test_json_and_table(tmp_path: Path) -> None:
    env = {"VQE_WEIGHTS_TOML": str(write_registry(tmp_path))}
    as_json = vqe("bench", "--json", "-", "--engine", "torch", "--model", "tiny,pair", CLIP, env=env)
    assert as_json.code == 0, as_json.stderr
    found = json.loads(as_json.stdout)
    assert [(each["pipeline"], each["engine"]) for each in found["rows"]] == [
        ("tiny", "torch"),
        ("pair", "torch"),
    ]
    assert found["frames"] == 59 and all(each["whole_file_s"] > 0 for each in found["rows"])
    table = vqe("bench", CLIP, "--model", "tiny", "--device", "cpu", env=env)
    assert table.code == 0 and "openvino" in table.stdout and "libx265" in table.stdout


def test_errors_are_those_of_a_run(tmp_path: Path) -> None:
    absent = vqe("bench", tmp_path / "absent.mkv")
    assert absent.code == 1 and "absent.mkv" in absent.stderr
    unknown = vqe("bench", CLIP, "--model", "quick")
    assert unknown.code == 1 and "quick" in unknown.stderr
