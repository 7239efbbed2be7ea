"""Downloads, against a server on this machine that also does what servers should not do."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vqe_cli.errors import VqeError
from vqe_cli.files import cache_folder, sha256_of
from vqe_cli.weights.cache import TransferLimits, cached, download

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


class Hostile(BaseHTTPRequestHandler):
    """What a broken or hostile server does, by the page that is asked for."""

    def do_GET(self) -> None:
        try:
            getattr(self, self.path.strip("/"))()
        except OSError:
            self.close_connection = True  # the other side has hung up

    def answer(self, **headers: str) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def no_number(self) -> None:
        self.answer(Content_Length="many")
        self.wfile.write(CONTENT)

    def negative(self) -> None:
        self.answer(Content_Length="-5")
        self.wfile.write(CONTENT)

    def digits(self) -> None:
        self.answer(Content_Length="9" * 5000)
        self.wfile.write(CONTENT)

    def says_too_much(self) -> None:
        self.answer(Content_Length=str(1 << 40))
        self.wfile.write(CONTENT)

    def says_too_little(self) -> None:
        self.answer(Content_Length="100")
        self.wfile.write(CONTENT)

    def endless(self) -> None:
        self.answer()
        while True:
            self.wfile.write(bytes(1 << 16))

    def drips(self) -> None:
        self.answer(Content_Length=str(len(CONTENT)))
        for number in range(200):
            self.wfile.write(CONTENT[number : number + 1])
            time.sleep(0.05)

    def drips_headers(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
        for _ in range(200):
            self.wfile.write(b"X")
            time.sleep(0.05)

    def not_http(self) -> None:
        self.wfile.write(b"\x00\xff\x1b[31mnothing\n" * 100)

    def in_circles(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.path)
        self.end_headers()

    def to_a_file(self) -> None:
        self.send_response(302)
        self.send_header("Location", "file:///etc/hostname")
        self.end_headers()

    def to_ftp(self) -> None:
        self.send_response(302)
        self.send_header("Location", "ftp://127.0.0.1/net")
        self.end_headers()

    def with_its_own_words(self) -> None:
        self.send_response(404, "\x1b[2J[/b]")
        self.end_headers()

    def bad_chunks(self) -> None:
        self.answer(Transfer_Encoding="chunked")
        self.wfile.write(b"xyz\r\n" * 10)

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    Hostile.protocol_version = "HTTP/1.1"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


LIMITS = TransferLimits(bytes=4 << 20, seconds=20, window_s=0.4, least_bytes=1024)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("says_too_much", "more than 4 MiB"),
        ("says_too_little", "not the expected file"),
        ("endless", "more than 4 MiB"),
        ("drips", "bytes came in"),
        ("drips_headers", "bytes came in"),
        ("not_http", "cannot fetch"),
        ("in_circles", "answers 302"),
        ("to_a_file", "cannot fetch"),
        ("to_ftp", "cannot fetch"),
        ("with_its_own_words", "answers 404"),
        ("bad_chunks", "cannot fetch"),
    ],
)
def test_a_hostile_server_gets_a_sentence_and_leaves_nothing(
    hostile: str, tmp_path: Path, page: str, words: str
) -> None:
    began = time.monotonic()
    with pytest.raises(VqeError, match=words) as caught:
        download(f"{hostile}/{page}", tmp_path / "net", SHA256, limits=LIMITS)
    assert time.monotonic() - began < 5
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("page", ["no_number", "negative", "digits"])
def test_a_length_that_is_none_does_not_keep_the_content_away(
    hostile: str, tmp_path: Path, page: str
) -> None:
    """The content then ends where the server closes."""
    download(f"{hostile}/{page}", tmp_path / "net", SHA256, limits=LIMITS)
    assert (tmp_path / "net").read_bytes() == CONTENT


def test_a_download_may_take_only_so_long(hostile: str, tmp_path: Path) -> None:
    limits = TransferLimits(seconds=0.5, window_s=0.2, least_bytes=1)
    with pytest.raises(VqeError, match=r"longer than 0\.5 s"):
        download(f"{hostile}/drips", tmp_path / "net", SHA256, limits=limits)


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "data:,x", "ftp://host/net", "http://a b/", "net", ""]
)
def test_only_web_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(VqeError, match="address"):
        download(url, tmp_path / "net", SHA256)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "/etc/x",
        "a\\b",
        "C:x",
        "C:\\x",
        "x\0",
        "x\n",
        ".hidden",
        "n" * 300,
        "a:b",
    ],
)
def test_a_name_that_leads_out_of_the_cache_is_refused(name: str) -> None:
    with pytest.raises(VqeError, match="cannot be put into the cache"):
        cached(name)


def test_a_link_in_the_cache_is_replaced_and_not_followed(address: str, tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "cache" / "net"
    victim.write_bytes(b"victim")
    target.parent.mkdir()
    target.symlink_to(victim)
    download(f"{address}/good", target, SHA256)
    assert victim.read_bytes() == b"victim"
    assert target.read_bytes() == CONTENT and not target.is_symlink()
