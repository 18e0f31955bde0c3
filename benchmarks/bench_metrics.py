"""Surface metrics against MONAI on 200 pairs of random masks: how far the two are apart, and how long they take.

The masks are 6 to 19 voxels wide with steps of 0.4 to 4 mm; both packages measure the same pairs in turn.
"""

import importlib.util
import statistics
import time

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from timing import print_machine, table

from faimed3d.training import average_surface_distance, hausdorff_distance, surface_dice

PAIRS = 200


def pairs():
    """Two masks (D, H, W), steps (d, h, w) mm, a tolerance in mm."""
    random, found = np.random.default_rng(0), []
    while len(found) < PAIRS:
        shape = random.integers(6, 20, 3)
        one, other = (gaussian_filter(random.normal(size=shape), random.uniform(0.6, 2)) for _ in range(2))
        other = 0.7 * one + 0.3 * other
        masks = [field > np.quantile(field, random.uniform(0.5, 0.95)) for field in (one, other)]
        if all(mask.any() for mask in masks):
            found.append((*masks, random.uniform(0.4, 4, 3), float(random.uniform(0.5, 3))))
    return found


def ours(name, one, other, steps, tolerance):
    spacing = tuple(steps[::-1])
    if name == "surface Dice of areas":
        return surface_dice(one, other, spacing, tolerance)
    if name == "surface Dice of voxels":
        return surface_dice(one, other, spacing, tolerance, surface="voxels")
    if name == "average surface distance":
        return average_surface_distance(one, other, spacing, surface="voxels")
    return hausdorff_distance(one, other, spacing, 95, surface="voxels")


def monais(name, one, other, steps, tolerance):
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    masks = [torch.from_numpy(mask)[None, None].float() for mask in (one, other)]
    common = {"include_background": True, "spacing": list(steps)}
    if name.startswith("surface Dice"):
        return compute_surface_dice(*masks, [tolerance], use_subvoxels=name.endswith("areas"), **common)
    if name == "average surface distance":
        return compute_average_surface_distance(*masks, symmetric=True, **common)
    return compute_hausdorff_distance(*masks, percentile=95, **common)


def main():
    if importlib.util.find_spec("monai") is None:
        return
    print_machine()
    rows, found = [], pairs()
    for name in (
        "Hausdorff distance, 95 %",
        "average surface distance",
        *(f"surface Dice of {s}" for s in ("voxels", "areas")),
    ):
        times, farthest = ([], []), 0.0
        for pair in found:
            values = []
            for way, spent in zip((ours, monais), times, strict=True):
                start = time.perf_counter()
                values.append(float(way(name, *pair)))
                spent.append(1000 * (time.perf_counter() - start))
            farthest = max(farthest, abs(values[0] - values[1]))
        ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
        rows.append((name, f"{farthest:.0e}", *map(statistics.median, times), ratio, PAIRS))
    table(rows, ("case", "largest difference, mm or share", "ours ms", "MONAI ms", "ratio MONAI/ours", "n"))


if __name__ == "__main__":
    main()
