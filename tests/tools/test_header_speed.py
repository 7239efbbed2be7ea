"""The speed at which headers are read, and whether they are read right."""

import json
from pathlib import Path

from header_speed import PICTURES, header_speed, main


def test_headers_are_read_fast_enough_for_a_long_film() -> None:
    result = header_speed(20 * PICTURES)
    assert result["headers"] == 640
    assert result["unknown"] == 0
    assert result["headers_per_s"] > 100_000 / 30


def test_a_report_is_written(tmp_path: Path) -> None:
    main(["--count", "40", "--json", str(tmp_path / "a.json")])
    assert json.loads((tmp_path / "a.json").read_text())["headers"] == 40
