"""What happens before a command does anything: start-up, help, usage, version."""

import resource
import subprocess
import sys

import av
import pytest
import torch
from command import START, process_env, vqe, vqe_process

from vqe_cli import __version__

COMMANDS = [[], ["enhance"], ["inspect"], ["weights"], ["weights", "list"], ["bench"], ["bench", "file"]]
HEAVY = {"torch", "av", "numpy", "safetensors", "yaml"}


def test_help_is_quick() -> None:
    """Under half a second; processor time, because a busy machine stretches the other kind."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    for _ in range(3):
        assert vqe_process("--help").code == 0
    assert (spent() - before) / 3 < 0.5


@pytest.mark.parametrize(
    "arguments", [["enhance", "--help"], ["enhance", "a", "b", "--scale", "3"]], ids=" ".join
)
def test_help_and_usage_load_nothing_heavy(arguments: list[str]) -> None:
    tell = "import atexit, sys; atexit.register(lambda: print('loaded:', *sys.modules))"
    code = f"{tell}; sys.argv[1:] = {arguments!r}; {START}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = done.stdout.partition("loaded: ")[2].split()
    assert "typer" in loaded
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_help_has_an_example(arguments: list[str]) -> None:
    done = vqe(*arguments, "--help")
    assert done.code == 0
    assert "Example: vqe" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["enhance"], "INPUT"),
        (["enhance", "a.mkv"], "OUTPUT"),
        (["enhance", "a.mkv", "b.mkv", "--scale", "3"], "1, 2 or 4"),
        (["enhance", "a.mkv", "b.mkv", "--tta", "x"], "--tta"),
        (["enhance", "a.mkv", "b.mkv", "--device", "gpu"], "cuda:N"),
        (["enhance", "a.mkv", "b.mkv", "--pqf", "some"], "hm-log"),
        (["enhance", "a.mkv", "b.mkv", "--frames", "0"], "at least 1"),
        (["enhance", "a.mkv", "b.mkv", "-e", "preset"], "KEY=VALUE"),
        (["enhance", "a.mkv", "b.mkv", "--no-such-option"], "--no-such-option"),
        (["no-such-command"], "no-such-command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], word: str) -> None:
    done = vqe(*arguments)
    assert done.code == 2
    assert done.stdout == ""
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_variable_is_checked_like_its_flag() -> None:
    done = vqe("enhance", "a.mkv", "b.mkv", env={"VQE_TTA": "3"})
    assert done.code == 2
    assert "1, 2, 4 or 8" in done.stderr


def test_the_version_says_what_decides_a_run() -> None:
    done = vqe_process("--version")
    assert done.code == 0
    assert f"vqe {__version__}" in done.stdout
    assert torch.__version__ in done.stdout and av.ffmpeg_version_info in done.stdout
    assert "device" in done.stdout


@pytest.mark.parametrize(
    ("typed", "expected"), [("vqe enh", "enhance"), ("vqe enhance --pqf-rule p", "prominent")]
)
def test_the_shell_can_complete(typed: str, expected: str) -> None:
    """Commands and the values of options, in the words of bash's completion."""
    count = str(len(typed.split()) - 1)
    env = process_env() | {"_VQE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": count}
    code = f"import sys; sys.argv[0] = 'vqe'; {START}"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert expected in done.stdout.split()
