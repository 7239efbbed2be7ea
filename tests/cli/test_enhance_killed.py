"""`vqe enhance` killed as by a power cut, and interrupted: the same command goes on, to the same bytes."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import START, process_env
from forking import Forker
from made_clips import decoded, packets, write_clip
from tiny_weights import write_registry

KILLS = 20


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"VQE_WEIGHTS_TOML": str(write_registry(tmp_path_factory.mktemp("weights")))}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", frames=60, sound=True)


@pytest.mark.slow
def test_killed_at_any_moment(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    """Twenty times and more, until each run is complete: no kill leaves anything but a complete file."""
    chance = random.Random(13)
    kills = rounds = 0
    with Forker(tmp_path / "errors.txt", registry) as forker:

        def command(output: Path) -> list[str | Path]:
            return ["enhance", clip, output, "--segment", "8", "--chunk", "4", "-q"]

        whole_s = math.inf
        for name in ("first.mkv", "whole.mkv"):  # the first run waits for caches of the machine
            began = time.monotonic()
            forker.start(*command(tmp_path / name))
            assert forker.wait() == 0, (tmp_path / "errors.txt").read_text()
            whole_s = min(whole_s, time.monotonic() - began)
        expected = (tmp_path / "whole.mkv").read_bytes()
        while kills < KILLS:
            rounds += 1
            folder = tmp_path / f"round{rounds}"
            folder.mkdir()
            output = folder / "out.mkv"
            code = -signal.SIGKILL
            while code == -signal.SIGKILL:
                process = forker.start(*command(output))
                time.sleep(chance.uniform(0, whole_s))
                os.kill(process, signal.SIGKILL)
                code = forker.wait()
                kills += code == -signal.SIGKILL
                assert not output.exists() or output.read_bytes() == expected
            assert code == 0 or output.exists(), (tmp_path / "errors.txt").read_text()
            assert output.read_bytes() == expected
            assert {path.name for path in folder.iterdir()} <= {"out.mkv"}
    assert len(decoded(tmp_path / "whole.mkv")) == 60
    assert packets(tmp_path / "whole.mkv", "audio") == packets(clip, "audio")


@pytest.mark.slow
def test_ctrl_c_tells_how_to_go_on(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    output = tmp_path / "an output.mkv"
    arguments = ["enhance", str(clip), str(output), "--segment", "8", "--chunk", "4", "--tta", "8"]
    process = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        env=process_env(registry),
        stderr=subprocess.PIPE,
        text=True,
    )
    work = tmp_path / "an output.mkv.vqe-work"
    until = time.monotonic() + 120
    while not list(work.glob("*.segment")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert not output.exists() and work.exists()
    assert f"to go on: vqe enhance {clip} '{output}' --segment 8" in errors
    assert "--finish" in errors.splitlines()[-2]
    again = subprocess.run(
        [sys.executable, "-c", START, *arguments], env=process_env(registry), capture_output=True, text=True
    )
    assert again.returncode == 0 and "an unfinished run goes on" in again.stderr
    assert len(decoded(output)) == 60 and not work.exists()
