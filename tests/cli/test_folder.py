"""`vqe enhance IN_DIR OUT_DIR`: the same tree comes out, bad files do not stop the others, done ones stay."""

import json
import os
import shutil
from pathlib import Path

import pytest
from command import Done, one_sentence, vqe
from made_clips import decoded, write_clip, write_sound
from small_clips import write_images
from tiny_weights import write_registry

ODD = ["plain.mkv", 'with space/it\'s "quoted".mkv', "żółć 動画/日本語.mkv", "-dash/100%.mkv"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", frames=3)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"VQE_WEIGHTS_TOML": str(write_registry(tmp_path_factory.mktemp("weights")))}


def put(clip: Path, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, place)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def run(folder: Path, env: dict[str, str], *options: str) -> tuple[Done, dict[str, dict]]:
    """Enhance folder/in into folder/out; also what the JSON lines say, by input."""
    report = folder / "lines.jsonl"
    done = vqe("enhance", folder / "in", folder / "out", "--json", report, *options, env=env)
    lines = report.read_text().splitlines() if report.exists() else []
    return done, {line["input"]: line for line in map(json.loads, lines)}


def test_the_same_tree_comes_out_and_a_second_run_has_nothing_to_do(
    clip: Path, tmp_path: Path, registry: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(clip, *(tmp_path / "in" / name for name in ODD))
    put(clip, tmp_path / "in" / "no suffix")  # a video by its content
    (tmp_path / "in" / "notes.txt").write_text("no video\n")
    (tmp_path / "in" / ".hidden.mkv").write_bytes(b"")
    write_sound(tmp_path / "in" / "sound.wav")
    done, lines = run(tmp_path, registry)
    assert done.code == 0, done.stderr
    assert files(tmp_path / "out") == sorted([*ODD, "no suffix.mkv", "vqe-report.jsonl"])
    assert {line["status"] for line in lines.values()} == {"done"}
    assert lines["plain.mkv"]["report"]["frames"] == 3
    assert all(len(decoded(tmp_path / "out" / name)) == 3 for name in ODD)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mkv")}

    monkeypatch.setattr("vqe_cli.runs.run.load_model", None)  # weights are not even loaded
    done, lines = run(tmp_path, registry)
    assert done.code == 0, done.stderr
    assert {line["status"] for line in lines.values()} == {"skipped"} and "5 skipped" in done.stderr
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_bad_file_is_reported_and_the_others_are_done(
    clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    put(clip, tmp_path / "in" / "a.mkv", tmp_path / "in" / "z.mkv")
    (tmp_path / "in" / "sub").mkdir()
    (tmp_path / "in" / "sub" / "cut.mp4").write_bytes(clip.read_bytes()[:90])
    (tmp_path / "in" / "gone.mkv").symlink_to("nowhere.mkv")
    done, lines = run(tmp_path, registry)
    assert done.code == 1
    assert {name: line["status"] for name, line in lines.items()} == {
        "a.mkv": "done",
        "gone.mkv": "failed",
        "sub/cut.mp4": "failed",
        "z.mkv": "done",
    }
    assert lines["gone.mkv"]["remedy"] and "does not exist" in lines["gone.mkv"]["error"]
    assert "2 done, 2 failed" in done.stderr and "Traceback" not in done.stderr
    assert files(tmp_path / "out") == ["a.mkv", "vqe-report.jsonl", "z.mkv"]
    assert not (tmp_path / "out" / "sub").exists()


def test_changed_files_and_settings_are_noticed_and_never_overwritten_unasked(
    clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    put(clip, tmp_path / "in" / "a.mkv", tmp_path / "in" / "b.mkv")
    put(clip, tmp_path / "out" / "b.mkv")  # somebody else's
    done, lines = run(tmp_path, registry)
    assert (done.code, lines["a.mkv"]["status"], lines["b.mkv"]["status"]) == (1, "done", "failed")
    assert "not made here" in lines["b.mkv"]["error"]
    assert (tmp_path / "out" / "b.mkv").read_bytes() == clip.read_bytes()

    write_clip(tmp_path / "in" / "a.mkv", frames=4)
    done, lines = run(tmp_path, registry)
    assert "made from another input" in lines["a.mkv"]["error"] and "--overwrite" in lines["a.mkv"]["remedy"]
    done, lines = run(tmp_path, registry, "--overwrite")
    assert done.code == 0 and {line["status"] for line in lines.values()} == {"done"}
    assert len(decoded(tmp_path / "out" / "a.mkv")) == 4
    done, lines = run(tmp_path, registry, "--overwrite")
    assert {line["status"] for line in lines.values()} == {"skipped"}
    done, lines = run(tmp_path, registry, "--crf", "30")
    assert {line["status"] for line in lines.values()} == {"failed"}


def test_pattern_suffix_and_container(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    put(clip, tmp_path / "in" / "a.mkv", tmp_path / "in" / "b.mkv", tmp_path / "in" / "b.avi")
    _, lines = run(tmp_path, registry, "--pattern", "b.*", "--suffix", "_x", "--container", "mp4")
    assert list(lines) == ["b.avi", "b.mkv"]
    assert lines["b.avi"]["status"] == "done"
    assert lines["b.mkv"]["status"] == "failed"  # both would be b_x.mp4
    assert files(tmp_path / "out") == ["b_x.mp4", "vqe-report.jsonl"]


def test_links_are_followed_but_not_into_loops_and_the_output_is_no_input(
    clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    put(clip, tmp_path / "elsewhere" / "far.mkv", tmp_path / "in" / "sub" / "near.mkv")
    (tmp_path / "in" / "sub" / "loop").symlink_to("..", target_is_directory=True)
    (tmp_path / "in" / "again").symlink_to("sub", target_is_directory=True)
    (tmp_path / "in" / "other").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    target = tmp_path / "in" / "out"
    for state in ("2 done", "2 skipped"):
        done = vqe("enhance", tmp_path / "in", target, env=registry)
        assert done.code == 0, done.stderr
        assert state in done.stderr
        assert files(target) == ["other/far.mkv", "sub/near.mkv", "vqe-report.jsonl"]


def test_inputs_that_cannot_be_written_to(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    put(clip, tmp_path / "in" / "sub" / "a.mkv")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "in").rglob("*")}
    for path in [*before, tmp_path / "in"]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done, _ = run(tmp_path, registry)
    finally:
        for path in [tmp_path / "in", tmp_path / "in" / "sub"]:
            path.chmod(0o755)
    assert done.code == 0, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "in").rglob("*")}
    assert os.access(tmp_path / "out" / "sub" / "a.mkv", os.W_OK)


def test_a_folder_of_images_is_still_one_clip(tmp_path: Path, registry: dict[str, str]) -> None:
    from small_clips import clip as planes

    write_images(tmp_path / "in", [(luma, luma, luma) for luma, _, _ in planes(3)])
    (tmp_path / "in" / "notes.txt").write_text("about the shots\n")
    done = vqe("enhance", tmp_path / "in", tmp_path / "out.mkv", env=registry)
    assert done.code == 0, done.stderr
    assert len(decoded(tmp_path / "out.mkv")) == 3


def test_a_dry_run_tells_of_each_file_and_writes_nothing(
    clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    put(clip, tmp_path / "in" / "sub" / "a.mkv")
    done = vqe("enhance", tmp_path / "in", tmp_path / "out", "--dry-run", env=registry)
    assert (done.code, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("sub/a.mkv -> sub/a.mkv: libx265 yuv420p at CRF ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    (tmp_path / "in" / "bad.mkv").write_bytes(b"bad")
    done = vqe("enhance", tmp_path / "in", tmp_path / "out", "--dry-run", "--json", "-", env=registry)
    states = {line["input"]: line["status"] for line in map(json.loads, done.stdout.splitlines())}
    assert (done.code, states) == (1, {"bad.mkv": "failed", "sub/a.mkv": "planned"})


def test_two_workers_give_the_same_files_in_the_same_order(
    clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    put(clip, *(tmp_path / "in" / f"{name}.mkv" for name in "abc"))
    (tmp_path / "in" / "bad.mkv").write_bytes(b"bad")
    done, lines = run(tmp_path, registry, "--workers", "2", "--device", "cpu", "--codec", "ffv1")
    assert done.code == 1 and "3 done, 1 failed" in done.stderr, done.stderr
    assert list(lines) == ["a.mkv", "b.mkv", "bad.mkv", "c.mkv"]
    alone = vqe("enhance", clip, tmp_path / "alone.mkv", "--codec", "ffv1", "--device", "cpu", env=registry)
    assert alone.code == 0, alone.stderr
    expected = [plane.tobytes() for plane in decoded(tmp_path / "alone.mkv")]
    for name in "abc":
        assert [plane.tobytes() for plane in decoded(tmp_path / "out" / f"{name}.mkv")] == expected


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [
        ("in", [], "input folder itself"),
        ("out.mkv", [], "is not a folder"),
        ("no/such/out", [], "no/such"),
        ("out", ["--pattern", "*.mov"], "'*.mov'"),
        ("out", ["--hm-log", "a.log"], "--hm-log"),
        ("out", ["--model", "tinny"], "'tiny'"),
    ],
)
def test_what_concerns_all_files_stops_the_run(
    output: str, options: list[str], words: str, clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    put(clip, tmp_path / "in" / "a.mkv")
    assert words in one_sentence(vqe("enhance", tmp_path / "in", tmp_path / output, *options, env=registry))
    assert files(tmp_path) == ["in/a.mkv"]


@pytest.mark.parametrize(("option", "value"), [("--suffix", "_better"), ("--container", "mp4")])
def test_options_of_folders_are_refused_for_a_single_file(
    clip: Path, tmp_path: Path, registry: dict[str, str], option: str, value: str
) -> None:
    done = vqe("enhance", clip, tmp_path / "out.mkv", option, value, env=registry)
    sentence = one_sentence(done)
    assert option in sentence and clip.name in sentence
    assert not list(tmp_path.iterdir())
    # A variable holds for many runs, those of folders among them.
    wanted = {**registry, f"VQE_{option[2:].upper()}": value}
    assert vqe("enhance", clip, tmp_path / "out.mkv", "--dry-run", env=wanted).code == 0


def test_help_shows_no_empty_default() -> None:
    assert "(default: )" not in vqe("enhance", "--help").stdout
