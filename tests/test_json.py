"""What is written as JSON is JSON, whatever the numbers."""

import ast
import json
import math
from pathlib import Path

import torch

from vqe_cli.documents import json_text
from vqe_cli.training.validation import mean_gain

ROOT = Path(__file__).parent.parent


def test_numbers_that_json_does_not_have_are_null() -> None:
    tree = {"gain": math.inf, "rows": [{"loss": math.nan, "kept": 1.5}, (-math.inf, 2)]}
    assert json.loads(json_text(tree)) == {"gain": None, "rows": [{"loss": None, "kept": 1.5}, [None, 2]]}
    assert json_text({"a": 1}, indent=1) == json.dumps({"a": 1}, indent=1)


def test_nobody_writes_json_that_could_hold_nan() -> None:
    """`json_text` writes it; where `json.dumps` is used at all it refuses NaN."""
    loose = []
    for path in (ROOT / "vqe_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("dump", "dumps")
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "json"
                and not (
                    any(word.arg == "allow_nan" for word in node.keywords)
                    or isinstance(node.args[0], ast.Call)
                )
            ):
                loose.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert loose == []


def test_gains_of_training_leave_out_frames_that_equal_the_truth() -> None:
    gt = torch.full((3, 3, 8, 8), 0.5)
    given = gt + torch.tensor([0.0, 0.1, 0.1])[:, None, None, None]
    enhanced = gt + torch.tensor([0.01, 0.05, 0.1])[:, None, None, None]
    assert math.isclose(mean_gain(enhanced, given, gt), 20 * math.log10(2) / 2, rel_tol=1e-3)
    assert mean_gain(enhanced, gt, gt) == 0.0
    assert math.isnan(mean_gain(enhanced * math.nan, given, gt))
