"""`vqe doctor`: what this machine offers, as lines and as JSON, and the same that runs then use."""

import json
from pathlib import Path

import av
import torch
from command import vqe
from made_clips import write_clip

from vqe_cli import __version__


def test_ten_lines_that_name_what_matters() -> None:
    done = vqe("doctor")
    assert (done.code, done.stderr) == (0, "")
    assert 8 <= len(done.stdout.splitlines()) <= 12
    for words in (__version__, torch.__version__, av.__version__, "threads", "free", "libx265"):
        assert words in done.stdout


def test_auto_is_what_a_run_uses(tmp_path: Path) -> None:
    done = vqe("doctor", "--json", "-")
    auto = json.loads(done.stdout)["auto"]
    source = write_clip(tmp_path / "in.mkv", frames=2)
    planned = json.loads(vqe("enhance", source, tmp_path / "out.mkv", "--dry-run", "--json", "-").stdout)
    names = {
        "model": "model",
        "device_name": "device",
        "precision": "precision",
        "engine": "engine",
        "chunk": "chunk",
    }
    assert {auto[name] for name in names} == {planned["plan"][name] for name in names.values()}
    assert auto["codec"] == planned["output"]["codec"]


def test_it_says_what_stands_in_the_way(tmp_path: Path) -> None:
    """Weights that are missing do not keep it from telling the rest."""
    (tmp_path / "weights.toml").write_text("what is this")
    done = vqe("doctor", env={"VQE_WEIGHTS_TOML": str(tmp_path / "weights.toml")})
    assert done.code == 0 and "weights.toml" in done.stdout.splitlines()[-1]
