"""Run the benchmarks of this folder, each in a process of its own, and write their sections of README.md beside it.

python benchmarks/run.py                     all of them
python benchmarks/run.py bench_io bench_dicom   these; the other sections stay

A benchmark that prints nothing (there is no GPU here) leaves its section as it is.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

HEAD = """# Benchmarks

Where there is a peer, it runs in the same process and in turn; the numbers are medians, and the ratio is the median of
the ratios of neighbouring runs, so that it holds where the speed of the machine drifts. Times depend on the machine;
the ratios are what to look at. All of it is made by

    make bench          # or: python benchmarks/run.py, with names of scripts to renew their sections alone

"""


def sections(text):
    """The sections of README.md by name."""
    parts = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def section(script, output):
    """Title, and what the script has printed, as a section."""
    title = script.read_text(encoding="utf-8").split('"""')[1].strip().split("\n")[0]
    if "|---" not in output:  # columns of its own
        output = f"```\n{output}\n```"
    return f"\n{title}\n\n{output}\n\n"


def main(names):
    scripts = {script.stem: script for script in sorted(HERE.glob("bench_*.py"))}
    if unknown := set(names) - set(scripts):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(scripts)}")
    readme = HERE / "README.md"
    found = sections(readme.read_text(encoding="utf-8")) if readme.exists() else {}
    for name in names or scripts:
        print(f"{name} ...", flush=True)
        command = [sys.executable, "-W", "ignore", scripts[name]]
        run = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
        if run.returncode:
            sys.exit(f"{name} failed:\n{run.stdout}\n{run.stderr}")
        print(run.stdout)
        if run.stdout.strip():
            found[name.removeprefix("bench_")] = section(scripts[name], run.stdout.strip())
    known = (name.removeprefix("bench_") for name in scripts)
    body = "".join(f"## {name}\n{found[name]}" for name in known if name in found)
    readme.write_text(HEAD + body.rstrip("\n") + "\n", encoding="utf-8")
    print(f"wrote {readme}")


if __name__ == "__main__":
    main(sys.argv[1:])
