"""`vqe preview`: moments before and after, on a page or in a picture."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import small_clips
from command import one_sentence, vqe

from vqe_cli.runs.preview import preview, shown_pixels
from vqe_cli.runs.settings import Settings
from vqe_cli.video.reader import Reader

# Runs in the page when it has been loaded; what it finds goes into the title.
PROBE = """
<script>
  var slider = document.querySelector('.slider'), input = slider.querySelector('input');
  var right = slider.querySelector('.right'), said = [right.textContent];
  input.value = 20; input.dispatchEvent(new Event('input'));
  said.push(slider.style.getPropertyValue('--at'));
  document.dispatchEvent(new KeyboardEvent('keydown', {key: '2'}));
  said.push(right.textContent);
  said.push(slider.querySelectorAll('img.other.shown').length);
  document.querySelector('.choices button').click();
  said.push(right.textContent);
  input.focus(); said.push(document.activeElement === input);
  said.push(Array.from(document.images).every(function (image) { return image.naturalWidth === 64; }));
  document.title = 'probe ' + said.join(' ');
</script>
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "in.mkv"
    options = {"x265-params": "log-level=none:keyint=8:cutree=0", "crf": "36"}
    return small_clips.write(path, small_clips.clip(24, noise=4), codec="libx265", options=options)


@pytest.fixture(scope="module")
def page(clip: Path) -> str:
    path = clip.with_name("page.html")
    done = vqe("preview", clip, "--model", "fast,balanced", "--at", "0:00.5", "-o", path)
    assert done.code == 0, done.stderr
    assert "balanced: the whole file takes about" in done.stdout
    return path.read_text(encoding="utf-8")


def test_the_page_is_self_contained(page: str) -> None:
    assert page.count("<img") == 3 and page.count('src="data:image/png') == 3
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|https?://""", page)
    assert "fast" in page and "balanced" in page and "0:00.48" in page


def test_the_page_works_in_a_browser(page: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing")
        pytest.skip("needs chromium")
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [browser, *options, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "<title>probe fast 20% balanced 1 fast true true</title>" in done.stdout, done.stderr[-500:]


def test_a_moment_is_what_the_run_would_make_of_it(clip: Path, tmp_path: Path) -> None:
    whole = tmp_path / "out.mkv"
    done = vqe("enhance", clip, whole, "--codec", "ffv1", "--model", "fast")
    assert done.code == 0, done.stderr
    found = preview(Settings(clip, whole), ["fast"], at=[0.8])
    [moment] = found.moments
    with Reader(whole) as reader:
        frame = list(reader)[20]
        assert np.array_equal(moment.after["fast"], shown_pixels(frame.planes, reader.info))
    assert not np.array_equal(moment.after["fast"], moment.before)
    assert moment.qp is not None and found.costs[0].seconds


def test_a_picture_holds_all_side_by_side(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    done = vqe("preview", clip, "--model", "fast", "--at", "0", "--at", "0.5", "-o", path, "-q")
    assert done.code == 0 and done.stdout == "", done.stderr
    with av.open(str(path)) as container:
        sheet = next(container.decode(video=0))
    assert (sheet.width, sheet.height) == (2 * 64 + 8, 2 * 48 + 8)


def test_interlaced_video_is_shown_as_it_would_be_enhanced(tmp_path: Path) -> None:
    path = small_clips.write_interlaced(tmp_path / "in.mkv", 20)
    one_sentence(vqe("preview", path, "--model", "fast", "-o", tmp_path / "a.html"))
    whole, options = tmp_path / "out.mkv", ("--model", "fast", "--deinterlace", "double")
    assert vqe("enhance", path, whole, "--codec", "ffv1", *options).code == 0
    done = vqe("preview", path, *options, "--at", "0.5", "-o", tmp_path / "a.png", "-q")
    assert done.code == 0, done.stderr
    with av.open(str(tmp_path / "a.png")) as container:
        sheet = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with Reader(whole) as reader:
        assert np.array_equal(sheet[:, 64 + 8 :], shown_pixels(list(reader)[25].planes, reader.info))


def test_a_pipe_is_refused() -> None:
    one_sentence(vqe("preview", "-"))


def test_a_file_of_one_frame(tmp_path: Path) -> None:
    path = small_clips.write(tmp_path / "one.mkv", small_clips.clip(1))
    done = vqe("preview", path, "--model", "fast", "-o", tmp_path / "one.html")
    assert done.code == 0, done.stderr
    assert (tmp_path / "one.html").read_text().count("<img") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--at", "2:00"], "2:00"),
        (["-o", "page.pdf"], "page.pdf"),
        (["-o", "no/such/page.html"], "no/such"),
        (["--model", "fast,nosuch"], "nosuch"),
        (["--model", "fast,fast"], "twice"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = vqe("preview", clip, *arguments)
    one_sentence(done)
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_time_that_is_none_is_wrong_usage(clip: Path) -> None:
    assert vqe("preview", clip, "--at", "noon").code == 2
