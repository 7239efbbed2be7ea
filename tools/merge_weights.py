#!/usr/bin/env python3
"""Weights made of two files: python tools/merge_weights.py BASE OTHER --out FILE [--share 0.5] [--prefix P]

Every tensor of BASE moves towards OTHER's of the same name by `--share` (0.5: their mean; 1: OTHER's).
With `--prefix` OTHER holds a part of BASE's network, as a single-frame network is the part `spatial.` of
MotionFusion; the rest stays. Architecture and card are BASE's, with a line on what was merged.
"""

import argparse
import json
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

HEADER = "vqe"


def merge(base: Path, other: Path, out: Path, share: float, prefix: str) -> int:
    """Write the merged file; the number of tensors that moved.

    Raises SystemExit for files whose tensors do not fit.
    """
    with safe_open(base, "pt") as one, safe_open(other, "pt") as two:
        tensors = {name: one.get_tensor(name) for name in one.keys()}  # noqa: SIM118
        names = list(two.keys())
        for name in names:
            own, moved = tensors.get(prefix + name), two.get_tensor(name)
            if own is None or own.shape != moved.shape:
                raise SystemExit(f"{other}: its {name} has no counterpart of its shape in {base}.")
            tensors[prefix + name] = own.float().lerp(moved.float(), share).to(own.dtype)
        metadata = dict(one.metadata() or {})
    header = json.loads(metadata.get(HEADER, "{}"))
    note = {"with": other.name, "share": share, "part": prefix.rstrip(".") or "all"}
    header.setdefault("card", {}).setdefault("merged", []).append(note)
    save_file(tensors, out, metadata={**metadata, HEADER: json.dumps(header)})
    return len(names)


def main() -> None:
    """Merge what is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("base", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--prefix", default="")
    given = parser.parse_args()
    if not 0 <= given.share <= 1:
        sys.exit(f"--share is from 0 to 1, not {given.share}.")
    count = merge(given.base, given.other, given.out, given.share, given.prefix)
    print(f"{given.out}: {count} tensors moved by {given.share}")


if __name__ == "__main__":
    main()
