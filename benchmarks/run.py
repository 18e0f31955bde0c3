"""Run every benchmark of this folder, each in a process of its own, and write README.md beside this file.

python benchmarks/run.py            all of them
python benchmarks/run.py bench_io   one, printed only
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

HEAD = """# Benchmarks

Every table compares with a peer in the same process and the same run, in turn; the numbers are medians, and the ratio
is the median of the ratios of neighbouring runs, so that it holds where the speed of the machine drifts. Times depend
on the machine; the ratios are what to look at. All of it is made by

    make bench          # or: python benchmarks/run.py

"""


def main(names):
    scripts = sorted(HERE.glob("bench_*.py"))
    chosen = [script for script in scripts if not names or script.stem in names]
    parts = []
    for script in chosen:
        print(f"{script.stem} ...", flush=True)
        run = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True, cwd=HERE)
        if run.returncode:
            sys.exit(f"{script.name} failed:\n{run.stderr}")
        title = script.read_text(encoding="utf-8").split('"""')[1].strip().split("\n")[0]
        output = run.stdout.strip()
        if "|---" not in output:  # columns of its own
            output = f"```\n{output}\n```"
        parts.append(f"## {script.stem.removeprefix('bench_')}\n\n{title}\n\n{output}\n")
        print(run.stdout)
    if not names:
        (HERE / "README.md").write_text(HEAD + "\n".join(parts), encoding="utf-8")
        print(f"wrote {HERE / 'README.md'}")


if __name__ == "__main__":
    main(sys.argv[1:])
