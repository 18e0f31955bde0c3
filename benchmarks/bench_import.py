"""What ``import faimed3d.basics`` adds to ``from fastai.basics import *``: fresh processes, medians."""

import statistics
import subprocess
import sys

from timing import print_machine, table

CODE = """
import time, warnings
warnings.simplefilter("ignore")
start = time.perf_counter()
from fastai.basics import *
middle = time.perf_counter()
import faimed3d.basics
print(middle - start, time.perf_counter() - middle)
"""


def main():
    print_machine()
    runs = []
    for _ in range(7):
        out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
        runs.append([float(seconds) * 1000 for seconds in out.split()])
    fastai, ours = (statistics.median(column) for column in zip(*runs, strict=True))
    table([("import", ours, fastai, len(runs))], ("case", "faimed3d.basics adds ms", "fastai.basics ms", "n"))


if __name__ == "__main__":
    main()
