"""The pages of docs/ as a site: it builds, and a link that leads nowhere ends the build."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What mkdocs needs, in a folder of its own."""
    if find_spec("mkdocs") is None:
        if os.environ.get("CI"):
            pytest.fail("mkdocs is missing")
        pytest.skip("needs mkdocs")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for name in ("tools", "configs", "vqe_cli", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "weights.toml").symlink_to(ROOT / "weights.toml")
    return tmp_path


def build(place: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)


def test_the_site_builds_with_all_pages(place: Path) -> None:
    done = build(place)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (place / "docs").glob("*.md")}
    assert pages <= {path.stem for path in (place / "site").glob("*.html")}


@pytest.mark.parametrize("link", ["nowhere.md", "usage.md#no-such-part", "../no/such/file.py"])
def test_a_link_that_leads_nowhere_ends_the_build(place: Path, link: str) -> None:
    with (place / "docs/recipes.md").open("a") as page:
        page.write(f"\n[a page]({link})\n")
    done = build(place)
    assert done.returncode != 0
    assert link.split("#")[0] in done.stderr
