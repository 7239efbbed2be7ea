"""Write weights of `balanced` from before it was a network of its own anew, and their sha256 in weights.toml.

python tools/convert_weights.py [weights.toml [FOLDER]]
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from vqe_cli.weights.load import convert_registry  # noqa: E402 - the checkout comes before what is installed
from vqe_cli.weights.registry import BUNDLED  # noqa: E402

if __name__ == "__main__":
    registry, folder = [*map(Path, sys.argv[1:]), *(ROOT / "weights.toml", BUNDLED)[len(sys.argv) - 1 :]]
    for path in convert_registry(registry, folder):
        print(path)
