"""What the README says of the command is what the command knows."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields

import pytest
from command import vqe
from conftest import ROOT

from vqe_cli.runs.settings import Settings, option_name

README = (ROOT / "README.md").read_text(encoding="utf-8")
USAGE = (ROOT / "docs/usage.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    vqe (.*)$", README + USAGE, re.MULTILINE)
TARGETS = re.findall(r"`?make ([a-z-]+)", README)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_can_be_typed_as_written(line: str) -> None:
    """Parsed to its end: an option that does not exist is noticed even before --help."""
    words = shlex.split(line, comments=True)
    words = words[: words.index("|")] if "|" in words else words
    done = vqe(*words, "--help")
    assert done.code == 0, done.stderr


def test_an_option_that_does_not_exist_would_be_noticed() -> None:
    assert vqe("enhance", "in.mkv", "out.mkv", "--no-such", "--help").code == 2


def test_every_setting_is_in_the_table_of_options() -> None:
    table = USAGE[USAGE.index("## Options") : USAGE.index("A flag wins over")]
    options = {option_name(entry.name) for entry in fields(Settings)} - {"--input", "--output"}
    assert {option for option in options if option not in table} == set()


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test", "setup"} <= set(TARGETS)
    assert {target for target in TARGETS if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


def test_files_that_are_linked_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())]
    assert [(page, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_page_of_the_python_interface_is_what_the_docstrings_say() -> None:
    code = "import sys; sys.path.insert(0, 'tools'); import api_page; print(api_page.page(), end='')"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs/api.md").read_text(encoding="utf-8")


def test_the_cards_of_the_weights_are_what_their_headers_say() -> None:
    code = "import sys; sys.path.insert(0, 'tools'); import model_cards; print(model_cards.page(), end='')"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "models/README.md").read_text(encoding="utf-8")


def test_files_that_pages_cite_exist() -> None:
    """As `room/file.py` below the root, vqe_cli/ or configs/."""
    places = [ROOT, ROOT / "vqe_cli", ROOT / "configs", ROOT / "docs"]
    cited = [
        (page.name, path)
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for path in re.findall(
            r"`((?:[\w-]+/)+[\w.-]+\.(?:py|yaml|toml|md))`", page.read_text(encoding="utf-8")
        )
    ]
    assert len(cited) > 20
    assert [each for each in cited if not any((place / each[1]).exists() for place in places)] == []


def test_rooms_that_the_map_of_the_code_cites_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    cited = {*re.findall(r"`([\w-]+)/`", page), *re.findall(r"^ +([a-z_]+)/  ", page, re.MULTILINE)}
    assert len(cited) > 10
    assert {
        room for room in cited if not any((at / room).is_dir() for at in (ROOT, ROOT / "vqe_cli"))
    } == set()


def test_every_room_is_on_the_map_of_the_code() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "vqe_cli").glob("*/__init__.py")}
    assert {room for room in rooms if not re.search(rf"^ +{room}/  ", page, re.MULTILINE)} == set()
