"""200 times kill -9 at a random time while a cache is made, sources and arguments changing.

python tests/long_cache_kills.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from cache_study import make_study, try_to_break


def main(rounds):
    with tempfile.TemporaryDirectory() as folder:
        table = make_study(Path(folder), 12, (6, 9, 8))
        kills, wrong = try_to_break(table, Path(folder, "cache"), np.random.default_rng(0), rounds)
    print(f"{rounds} rounds, {kills} processes killed while they ran, {len(wrong)} wrong items {wrong[:5]}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
