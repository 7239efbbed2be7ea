"""A disk without room: what is written aside goes to a device that is always full."""

from typing import Any

import pytest

from vqe_cli.files import Aside


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on."""
    init = Aside.__init__

    def on_full_disk(self: Aside, *chosen: Any, **more: Any) -> None:
        init(self, *chosen, **more)
        if not self.place.is_dir():
            self.place.unlink()
            self.place.symlink_to("/dev/full")

    monkeypatch.setattr(Aside, "__init__", on_full_disk)
