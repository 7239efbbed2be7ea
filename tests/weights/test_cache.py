"""Downloads, against a server on this machine that also does what servers should not do."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vqe_cli.errors import VqeError
from vqe_cli.files import cache_folder, sha256_of
from vqe_cli.weights.cache import download

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """/good gives the content, /short breaks off half-way, /silent says no length, all else is 404."""

    def do_GET(self) -> None:
        if self.path not in ("/good", "/short", "/silent"):
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/silent":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/short" else CONTENT)

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("page", "total"), [("good", len(CONTENT)), ("silent", None)])
def test_a_download_arrives_whole_and_tells_its_progress(
    address: str, tmp_path: Path, page: str, total: int | None
) -> None:
    told: list[tuple[int, int | None]] = []
    target = tmp_path / "new folder" / "net.safetensors"
    download(f"{address}/{page}", target, SHA256, lambda done, of: told.append((done, of)))
    assert target.read_bytes() == CONTENT
    assert sha256_of(target) == SHA256
    assert told[-1] == (len(CONTENT), total)
    assert [path.name for path in target.parent.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize(
    ("page", "sha256", "words"),
    [
        ("missing", SHA256, "404"),
        ("short", SHA256, "broke off|IncompleteRead|more expected"),
        ("good", "0" * 64, "not the expected file"),
    ],
)
def test_a_failed_download_leaves_the_file_before(
    address: str, tmp_path: Path, page: str, sha256: str, words: str
) -> None:
    target = tmp_path / "net.safetensors"
    target.write_bytes(b"before")
    with pytest.raises(VqeError, match=words) as caught:
        download(f"{address}/{page}", target, sha256)
    assert f"{address}/{page}" in str(caught.value)
    assert caught.value.remedy
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VqeError, match="cannot fetch"):
        download("http://127.0.0.1:9/net", tmp_path / "net", SHA256)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VqeError, match="cannot write"):
        download(f"{address}/good", tmp_path / "file" / "net", SHA256)


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vqe"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "vqe"
