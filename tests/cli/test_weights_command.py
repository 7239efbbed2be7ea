"""`vqe weights` as a command, with a server on this machine for what is fetched."""

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command import one_sentence, vqe
from conftest import DATA
from tiny_weights import write_registry, write_tiny


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A registry whose pipeline `far` is on a server, and an empty cache."""
    folder, served = tmp_path / "registry", tmp_path / "served"
    folder.mkdir()
    served.mkdir()
    registry = write_registry(folder)
    sha256 = write_tiny(served / "far.safetensors", seed=5)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/far.safetensors"
    stage = f'{{ file = "far.safetensors", sha256 = "{sha256}", url = "{url}" }}'
    registry.write_text(registry.read_text() + f'\n[[pipeline]]\nname = "far"\nstages = [{stage}]\n')
    yield {"VQE_WEIGHTS_TOML": str(registry), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    server.shutdown()
    server.server_close()


def test_list_says_what_was_measured(env: dict[str, str]) -> None:
    done = vqe("weights", "list", env=env)
    assert done.code == 0
    assert "tiny x1 (the default): random weights" in done.stdout
    assert "noise: -1.00 dB RGB-PSNR, worst clip -2.00 dB" in done.stdout
    assert "far.safetensors (not on this machine)" in done.stdout
    listed = json.loads(vqe("weights", "list", "--json", "-", env=env).stdout)
    assert [entry["name"] for entry in listed] == ["tiny", "pair", "grow", "far"]
    assert listed[0]["measured"] == [{"on": "noise", "gain_db": -1.0, "worst_db": -2.0}]


def test_fetch_brings_a_file_once_and_then_it_is_used(env: dict[str, str]) -> None:
    assert "vqe weights fetch" in one_sentence(vqe("weights", "path", "far", env=env))
    done = vqe("weights", "fetch", "far", env=env)
    target = Path(env["XDG_CACHE_HOME"]) / "vqe" / "far.safetensors"
    assert (done.code, done.stdout.split()) == (0, [str(target)])
    assert vqe("weights", "path", "far", env=env).stdout.split() == [str(target)]
    again = vqe("weights", "fetch", "far", env=env)
    assert (again.code, again.stdout) == (0, "") and "here already" in again.stderr


def test_fetch_mends_a_damaged_file(env: dict[str, str]) -> None:
    target = Path(env["XDG_CACHE_HOME"]) / "vqe" / "far.safetensors"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"damaged")
    assert vqe("weights", "verify", "far", env=env).code == 1
    assert vqe("weights", "fetch", "far", env=env).code == 0
    assert vqe("weights", "verify", "far", env=env).code == 0


def test_verify_tells_damaged_from_not_fetched(env: dict[str, str]) -> None:
    done = vqe("weights", "verify", env=env)
    assert done.code == 0
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["ok", "ok", "ok", "ok", "fetched"]
    damaged = Path(env["VQE_WEIGHTS_TOML"]).parent / "second.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = vqe("weights", "verify", env=env)
    assert done.code == 1
    assert "second.safetensors is damaged" in done.stdout
    assert vqe("weights", "verify", "tiny", env=env).code == 0


@pytest.mark.parametrize("command", ["verify", "path", "fetch"])
def test_an_unknown_pipeline_gets_the_nearest_name(command: str, env: dict[str, str]) -> None:
    assert "Did you mean 'tiny'" in one_sentence(vqe("weights", command, "tinny", env=env))


def test_a_registry_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = vqe("weights", "list", env={"VQE_WEIGHTS_TOML": str(tmp_path / "none.toml")})
    assert "none.toml" in one_sentence(done)


def test_a_registry_cannot_make_fetch_write_outside_the_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    env = {
        "VQE_WEIGHTS_TOML": str(DATA / "cases" / "traversal.toml"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for command in ("fetch", "list", "verify", "path"):
        assert "traversal.toml" in one_sentence(vqe("weights", command, env=env))
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert not list((tmp_path / "cache").iterdir())


def test_markup_in_a_registry_is_text(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny.safetensors")
    (tmp_path / "weights.toml").write_text(
        '[[pipeline]]\nname = "[/b]x"\ndescription = "[bold]d[/red]"\ntrained_on = "[/]t"\n'
        'stages = [{ file = "tiny.safetensors" }]\nmeasured = [{ on = "[/c]", gain_db = 1 }]\n'
        '[ensembles."[/e]"]\nmembers = ["[/b]x", "[/b]x"]\ndescription = "[/f]"\n'
    )
    done = vqe("weights", "list", env={"VQE_WEIGHTS_TOML": str(tmp_path / "weights.toml")})
    assert done.code == 0, done.stderr
    for text in ("[/b]x x1", "[bold]d[/red]", "[/]t", "[/c]", "[/e]", "[/f]"):
        assert text in done.stdout
