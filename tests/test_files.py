"""What is written aside: complete or not there, nothing of others touched, nothing left behind."""

import ast
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from vqe_cli.errors import VqeError
from vqe_cli.files import Aside, appending, beside, cache_folder, config_folder, write_bytes, write_text

UNIX = pytest.mark.skipif(os.name == "nt", reason="links, pipes and signals as Unix has them")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_complete_file_gets_its_name(tmp_path: Path) -> None:
    with Aside(tmp_path / "a") as place:
        place.write_bytes(b"whole")
        assert not (tmp_path / "a").exists() and place.parent == tmp_path
    assert (tmp_path / "a").read_bytes() == b"whole" and names(tmp_path) == {"a"}


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), Aside(tmp_path / "a") as place:
        place.write_bytes(b"half")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_bytes() == b"before" and names(tmp_path) == {"a"}


@pytest.mark.parametrize("has_links", [True, False])
def test_what_appears_meanwhile_is_not_replaced(
    tmp_path: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no hard links")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError), Aside(tmp_path / "a", overwrite=False) as place:
        place.write_bytes(b"ours")
        (tmp_path / "a").write_bytes(b"theirs")
    assert (tmp_path / "a").read_bytes() == b"theirs" and names(tmp_path) == {"a"}
    with Aside(tmp_path / "b", overwrite=False) as place:
        place.write_bytes(b"ours")
    assert (tmp_path / "b").read_bytes() == b"ours" and names(tmp_path) == {"a", "b"}


@UNIX
def test_links_are_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    for planted in ("a", ".a.part", "log"):
        (tmp_path / planted).symlink_to(victim)
    write_bytes(tmp_path / "a", b"ours")
    assert (tmp_path / "a").read_bytes() == b"ours" and not (tmp_path / "a").is_symlink()
    assert (tmp_path / ".a.part").is_symlink()
    with pytest.raises(OSError), appending(tmp_path / "log"):
        pass
    assert victim.read_bytes() == b"theirs"


def test_names_cannot_be_guessed(tmp_path: Path) -> None:
    places = set()
    for _ in range(20):
        with Aside(tmp_path / "a") as place:
            places.add(place.name)
    assert len(places) == 20


@UNIX
def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    start = "import sys; from pathlib import Path; from vqe_cli.files import Aside\n"
    start += "kept = [Aside(Path(sys.argv[1]), folder=folder) for folder in (False, True)]\n"
    start += "print('ready', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", start, str(tmp_path / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert other.stdout is not None and other.stdout.readline() == "ready\n"
    theirs = names(tmp_path)
    assert len(theirs) == 2
    foreign = {".a.part", ".a.0123456789abcdef.partly", ".aa.0123456789abcdef.part"}
    for name in foreign:
        (tmp_path / name).write_bytes(b"foreign")
    write_bytes(tmp_path / "a", b"first")
    assert names(tmp_path) == {"a", *theirs, *foreign}  # it is writing still
    other.send_signal(signal.SIGKILL)
    other.communicate()
    write_bytes(tmp_path / "a", b"second")
    assert names(tmp_path) == {"a", *foreign}


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(VqeError, match="full"):
        write_text(tmp_path / "report.json", "{}")
    assert not names(tmp_path)


@UNIX
def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE)
    write_text(tmp_path / "pipe", "through")
    assert reader.communicate()[0] == b"through"
    assert names(tmp_path) == {"pipe"}
    if Path("/dev/full").exists():
        with pytest.raises(VqeError, match="full"):
            write_text(Path("/dev/full"), "x")
    done = subprocess.run(
        [sys.executable, "-c", "from vqe_cli.files import *; write_text(Path('/dev/stdout'), 'x')"],
        stdout=(tmp_path / "redirected").open("wb"),
        cwd=ROOT,
    )
    assert done.returncode == 0 and (tmp_path / "redirected").read_bytes() == b"x"
    assert Path("/dev/stdout").is_symlink()


def test_long_names(tmp_path: Path) -> None:
    long = tmp_path / ("é" * 125 + ".mkv")
    with Aside(long) as place:
        place.write_bytes(b"x")
    assert names(tmp_path) == {long.name}
    one, two = (beside(tmp_path / ("x" * 254 + end), ".vqe-work") for end in "ab")
    assert one != two and len(one.name) <= 255 and one.name.endswith(".vqe-work")
    with pytest.raises(VqeError, match="long"):
        write_text(tmp_path / ("x" * 300), "x")


@UNIX
def test_text_in_other_bytes_is_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "a", os.fsdecode(b"\xff.mkv"))
    assert (tmp_path / "a").read_text("utf-8") == "\\udcff.mkv"


@UNIX
def test_two_that_append_wait_for_each_other(tmp_path: Path) -> None:
    start = "import os, sys; from pathlib import Path; from vqe_cli.files import appending\n"
    start += "for n in range(50):\n"
    start += "    with appending(Path(sys.argv[1])) as file:\n"
    start += "        for half in (sys.argv[2] * 5000, '\\n'): os.write(file, half.encode())"
    both = [
        subprocess.Popen([sys.executable, "-c", start, str(tmp_path / "log"), letter], cwd=ROOT)
        for letter in "ab"
    ]
    assert [each.wait() for each in both] == [0, 0]
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == ["a" * 5000] * 50 + ["b" * 5000] * 50


@pytest.mark.skipif(sys.platform != "linux", reason="the variables of Linux")
def test_folders_follow_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "d"))
    assert (cache_folder(), config_folder()) == (tmp_path / "c" / "vqe", tmp_path / "d" / "vqe")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (cache_folder(), config_folder()) == (tmp_path / ".cache" / "vqe", tmp_path / ".config" / "vqe")


def asides(path: Path) -> list[str]:
    """What a file does by itself that files.py does for all: names, renaming, locks, hashes of files."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".part"):
            found.append(node.value)
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = [alias.name for alias in node.names]
            imported.append(getattr(node, "module", None) or "")
            found += [name for name in imported if name in ("fcntl", "msvcrt", "filelock", "platformdirs")]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, ast.unparse(node.func.value)
            moves = name == "replace" and len(node.args) == 1 and not node.keywords  # of a path, not of text
            if moves or (owner == "os" and name in ("replace", "rename", "link")) or name in ALONE:
                found.append(ast.unparse(node.func))
    return found


ALONE = ("rename", "file_digest", "mkstemp", "NamedTemporaryFile", "user_cache_path", "get_app_dir")


def test_nobody_else_writes_aside_locks_or_hashes_files() -> None:
    places = {path: asides(path) for path in (ROOT / "vqe_cli").rglob("*.py") if path.name != "files.py"}
    assert {str(path): found for path, found in places.items() if found} == {}
