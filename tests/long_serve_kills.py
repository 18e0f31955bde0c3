"""50 times kill -9 at a random time while studies come into the folder of ``faimed3d serve``.

python tests/long_serve_kills.py
"""

import sys
import tempfile
from pathlib import Path

from served_studies import Threshold, faults_of_kills

from faimed3d.command import serve as serving


def main(rounds):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in").mkdir()
        serving.load_model = lambda path, **how: Threshold(root / "notes.txt", pause=0.1)
        wrong, killed = faults_of_kills(root, rounds, 1)
    print(f"{rounds} rounds, {killed} processes killed while they ran, {len(wrong)} faults {wrong[:5]}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
