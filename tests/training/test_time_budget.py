"""A run of several phases with a time budget ends in time, whatever its setups and validations take."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from configurations import shared_work
from training_clips import make_data

from vqe_cli.training import loop, schedule
from vqe_cli.training.progress import Progress
from vqe_cli.training.schema import ScheduleConfig, TrainConfig
from vqe_cli.weights.load import read_header

MINUTES = 10
STEP_S, SETUP_S, VALIDATION_S = 5.0, 7.0, 50.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), clips=1, frames=2)


class WorkClock:
    """A clock that moves only where work is done, by what it is said to take; so no machine is too slow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for module in (loop, schedule):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        for name, seconds in (("setup", SETUP_S), ("optimise", STEP_S), ("validate", VALIDATION_S)):
            monkeypatch.setattr(loop, name, self.taking(seconds, getattr(loop, name)))

    def taking(self, seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*given: Any, **more: Any) -> Any:
            self.now += seconds
            return work(*given, **more)

        return slow


def three_phases() -> TrainConfig:
    """Phases of a half, a quarter and a quarter of the time, which never validate by themselves."""
    base = shared_work("image", batch=1)
    base = replace(base, validation=replace(base.validation, every_minutes=1e9))
    phases = [
        replace(base, phase=name, schedule=ScheduleConfig(steps=steps, rate=1e-3, final_rate=1e-6))
        for name, steps in (("one", 20), ("two", 10), ("three", 10))
    ]
    return replace(base, phases=tuple(phases))


def test_phases_end_in_time(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To within a step; each phase with a setup and two validations, the last of them after its last step."""
    work = WorkClock(monkeypatch)
    told: list[Progress] = []
    loop.train(three_phases(), data, tmp_path, loop.TrainOptions(max_minutes=MINUTES), listen=told.append)
    assert 60 * MINUTES - STEP_S <= work.now <= 60 * MINUTES + STEP_S
    ends = [each for each in told if each.share >= 1]
    assert {each.phase_number for each in ends} == {1, 2, 3}
    assert all(each.rate == pytest.approx(1e-6) for each in ends)
    minutes = [
        phase["minutes"] for phase in read_header(tmp_path / "small.safetensors").card["phases_before"]
    ]
    assert minutes == pytest.approx([5, 2.5], abs=1.5)


class Killed(Exception):
    """Stands for a kill."""


def test_all_starts_count_together(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed start had trained until its last checkpoint is gone from the budget of the next."""
    kept: list[float] = []
    with monkeypatch.context() as patched:
        first, save = WorkClock(patched), loop.save

        def killed_in_the_second(run: loop.Run) -> None:
            save(run)
            kept.append(first.now)
            if run.number == 2:
                raise Killed

        patched.setattr(loop, "save", killed_in_the_second)
        patched.setattr(schedule, "CHECKPOINT_EVERY_S", 30.0)
        with pytest.raises(Killed):
            loop.train(three_phases(), data, tmp_path, loop.TrainOptions(max_minutes=MINUTES))
    second = WorkClock(monkeypatch)
    loop.train(three_phases(), data, tmp_path, loop.TrainOptions(resume=True, max_minutes=MINUTES))
    # Setups and last validations of the first start are not in its checkpoints.
    unknown = 2 * SETUP_S + VALIDATION_S
    assert 60 * MINUTES - STEP_S <= kept[-1] + second.now <= 60 * MINUTES + unknown + STEP_S
