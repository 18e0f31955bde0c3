"""2,000 damaged segmentations, structure sets and reports: named errors alone, and no reading of their own.

python tests/long_mutations.py [how many [seed]]
"""

import random
import sys
import tempfile
import warnings
from pathlib import Path

from mutated_objects import make_objects, try_all


def main(rounds=2000, seed=0):
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        objects = make_objects(Path(folder))
        ends, faults = try_all(objects, Path(folder, "damaged.dcm"), random.Random(seed), rounds)
    print(f"{rounds} files of {len(objects)} kinds: {dict(ends)}; {len(faults)} faults")
    for fault in faults[:20]:
        print(*fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
