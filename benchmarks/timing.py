"""Compare two ways of doing one thing: alternately in one process, medians, their ratio, and peak memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

__all__ = ["compare", "make_volume", "peak_memory", "print_machine", "table"]


def compare(ours, peer, *args, n=7):
    """Run ``ours(*args)`` and ``peer(*args)`` alternately ``n`` times, after one run each to warm up.

    Returns:
        The medians in ms of ours and of the peer, the median of the ``n`` ratios peer / ours of neighbouring runs, n.
    """
    times = {ours: [], peer: []}
    for function in times:
        function(*args)
    for _ in range(n):
        for function, durations in times.items():
            start = time.perf_counter()
            function(*args)
            durations.append((time.perf_counter() - start) * 1000)
    ratio = statistics.median(b / a for a, b in zip(times[ours], times[peer], strict=True))
    return statistics.median(times[ours]), statistics.median(times[peer]), ratio, n


def peak_memory(function, prepare, *args):
    """Growth in MB of a fresh process' peak memory while ``function(prepare(*args))`` runs, its result included."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, function, prepare, args))
    process.start()
    grown = receiver.recv()
    process.join()
    return grown


def _measure(sender, function, prepare, args):
    function(torch.rand(64))  # what is loaded on first use does not count
    argument = prepare(*args)
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, so that it counts when it is taken again (glibc)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far (Linux)
    before = _peak()
    result = function(argument)
    sender.send(_peak() - before)
    del result


def _peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def table(rows, header=("case", "ours ms", "peer ms", "ratio peer/ours", "n")):
    """Print rows of (case, ours, peer, ratio, ...) as a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    print(flush=True)


def print_machine():
    """Print what the numbers depend on."""
    print(
        f"Python {sys.version.split()[0]}, torch {torch.__version__}, numpy {np.__version__}, "
        f"{torch.get_num_threads()} threads\n"
    )


def make_volume(kind, shape=(140, 512, 512), seed=0):
    """A volume with the histogram of a CT: a peak of air, soft tissue. ``kind``: 'whole' (HU), 'float' or 'crowded'.

    'crowded' is the hardest case for a table: half of the voxels in a range 1e-10 as wide as that of the rest.
    """
    generator = torch.Generator().manual_seed(seed)
    count = int(np.prod(shape))
    air = torch.rand(count, generator=generator) < 0.45
    values = torch.randn(count, generator=generator)
    if kind == "crowded":
        return torch.where(air, values * 1e-8, values * 180 + 20).view(shape)
    values = torch.where(air, values * 12 - 1010, values * 180 + 20).view(shape)
    return values.round_().clamp_(-1024, 3071) if kind == "whole" else values
