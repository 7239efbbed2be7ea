"""`vqe enhance - -`: videos from standard input and to standard output, in real processes."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from command import START, Done, one_sentence, process_env, vqe, vqe_piped
from made_clips import decoded, packets, write_clip
from tiny_weights import write_registry

FRAMES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipes")
    write_registry(folder)
    for name in ("clip.mkv", "clip.nut", "clip.ts", "clip.mp4"):
        write_clip(folder / name, frames=FRAMES, sound=name in ("clip.mkv", "clip.nut"))
    write_clip(folder / "raw.y4m", frames=FRAMES, codec="wrapped_avframe")
    return folder


def started(folder: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", START, "enhance", *map(str, arguments)],
        env=process_env({"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def piped(folder: Path, content: bytes, *arguments: str | Path) -> tuple[Done, bytes]:
    """A run with this on standard input; also what it wrote to standard output."""
    return vqe_piped(content, "enhance", *arguments, env={"VQE_WEIGHTS_TOML": str(folder / "weights.toml")})


@pytest.mark.parametrize("name", ["clip.nut", "clip.mkv", "clip.ts", "raw.y4m"])
def test_the_same_comes_out_as_of_files(folder: Path, tmp_path: Path, name: str) -> None:
    """Pictures, and sound where there is some, are those of a run on the file."""
    done, out = piped(folder, (folder / name).read_bytes(), "-", "-", "--codec", "ffv1")
    assert done.code == 0, done.stderr
    assert "cannot be resumed" in done.stderr and f"{FRAMES} frames in" in done.stderr
    (tmp_path / "piped.nut").write_bytes(out)
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    assert vqe("enhance", folder / name, tmp_path / "file.nut", "--codec", "ffv1", env=env).code == 0
    ours, files = decoded(tmp_path / "piped.nut"), decoded(tmp_path / "file.nut")
    assert len(ours) == FRAMES and all(map(np.array_equal, ours, files))
    if name in ("clip.nut", "clip.mkv"):
        assert packets(tmp_path / "piped.nut", "audio") == packets(folder / name, "audio")


@pytest.mark.parametrize(
    ("kind", "format"), [("y4m", "yuv4mpegpipe"), ("mkv", "matroska,webm"), ("ts", "mpegts")]
)
def test_the_kind_of_stream_can_be_chosen(folder: Path, kind: str, format: str) -> None:
    done, out = piped(folder, b"", folder / "clip.mp4", "-", "--container", kind, "--frames", "5")
    assert done.code == 0, done.stderr
    with av.open(io.BytesIO(out)) as container:
        assert container.format.name == format
        assert len(list(container.decode(video=0))) == 5


def test_a_pipe_into_a_file(folder: Path, tmp_path: Path) -> None:
    content = (folder / "clip.nut").read_bytes()
    done, out = piped(folder, content, "-", tmp_path / "out.mkv", "--from", "0.5", "--to", "1.5")
    assert (done.code, out) == (0, b""), done.stderr
    assert len(decoded(tmp_path / "out.mkv")) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


def test_a_reader_that_ends_ends_it_quietly(folder: Path) -> None:
    process = started(folder, folder / "clip.nut", "-", "--container", "y4m", "--quiet")
    assert process.stdout is not None and process.stderr is not None and process.stdin is not None
    process.stdin.close()
    process.stdout.read(10)
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(timeout=60) == 1
    assert all(line.startswith("warning: ") for line in errors.splitlines()), errors


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_can_be_ended_while_it_waits_for_more(folder: Path, sent: signal.Signals, code: int) -> None:
    """What comes is enhanced and passed on, and a writer that pauses does not hold up Ctrl-C."""
    process = started(folder, "-", "-", "--container", "y4m", "--chunk", "4", "--overlap", "0", "--quiet")
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    content = (folder / "raw.y4m").read_bytes()
    process.stdin.write(content[: len(content) * 7 // 8])  # less than a pipe holds
    process.stdin.flush()
    came, passed_on = threading.Event(), bytearray()

    def drain() -> None:
        while part := os.read(process.stdout.fileno(), 1 << 16):
            passed_on.extend(part)
            came.set()

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    try:
        assert came.wait(60)
        time.sleep(1)  # until it waits
        process.send_signal(sent)
        assert process.wait(timeout=20) == code
    finally:
        process.kill()
    thread.join(20)
    process.stdin.close()
    assert passed_on.startswith(b"YUV4MPEG2") and b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("", ["-", "-"], "gives nothing"),
        ("weights.toml", ["-", "out.mkv"], "/dev/stdin is not a video"),
        ("clip.mp4", ["-", "out.mkv"], "MP4"),
        ("clip.nut", ["-", "-", "--container", "mp4"], "mp4"),
        ("clip.nut", ["-", "-", "--json", "-"], "--json"),
        ("clip.nut", ["-", "out.mkv", "--container", "mkv"], "--container"),
        ("clip.nut", ["-", "out.mkv", "--from", "5:00"], "no frames"),
        ("clip.nut", ["-", "-", "--hm-log", "weights.toml"], "--hm-log"),
    ],
)
def test_what_cannot_be_piped(folder: Path, content: str, arguments: list[str], words: str) -> None:
    given = (folder / content).read_bytes() if content else b""
    named = [str(folder / each) if "." in each else each for each in arguments]
    done, out = piped(folder, given, *named)
    assert words in one_sentence(done) and out == b""
    assert not (folder / "out.mkv").exists()
