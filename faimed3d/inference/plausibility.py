"""What looks wrong with a predicted mask, without knowing the true one. Nothing of it proves a fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from faimed3d.browser.case import Labels
from faimed3d.display.surfaces import bounding_boxes

_FEWEST = 5  # cases, below which no volume is called unusual
_UNUSUAL = 3.5  # of a modified z-score: Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993
_TO_SIGMA = 0.6745  # of a normal distribution, median absolute deviation to standard deviation
_LARGEST = 0.9  # of a class in one piece, from which on the rest is no matter


def implausible(labels: Labels) -> list[str]:
    """What looks wrong with the mask of one case: nothing found, classes in pieces, or cut off by the scan's end.

    Args:
        labels: the mask, its classes numbered from 1.
    """
    from scipy.ndimage import label

    if not labels.classes:
        return ["nothing was found"]
    flags = []
    for (number, box), one in zip(bounding_boxes(labels.voxels).items(), labels.classes, strict=True):
        inside = labels.voxels[box] == number
        pieces, count = label(inside, np.ones((3, 3, 3)))
        largest = np.bincount(pieces.reshape(-1))[1:].max() / inside.sum()
        if count > 1 and largest < _LARGEST:
            flags.append(f"{one.name} is in {count} pieces, the largest {100 * largest:.0f} % of it")
        if any(part.start == 0 or part.stop == n for part, n in zip(box, labels.voxels.shape, strict=True)):
            flags.append(f"{one.name} reaches the edge of the scan")
    return flags


def unusual_volumes(volumes: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """For each case the classes whose volume is far from that of the others, by the modified z-score.

    Args:
        volumes: of each case, class -> mm3; an empty mapping for a case that failed.

    >>> unusual_volumes([{"liver": 1000 * v} for v in (1400, 1500, 1450, 1550, 12)])[4]
    ['liver: 12 ml, while half of all cases have more than 1450 ml']
    """
    flags: list[list[str]] = [[] for _ in volumes]
    for name in dict.fromkeys(name for one in volumes for name in one):
        values = np.array([one.get(name, 0.0) if one else np.nan for one in volumes])
        known = values[np.isfinite(values)]
        middle = float(np.median(known))
        spread = float(np.median(np.abs(known - middle)))
        if len(known) < _FEWEST or not spread:
            continue
        for k in np.flatnonzero(_TO_SIGMA * np.abs(values - middle) > _UNUSUAL * spread):
            than = "more" if values[k] < middle else "less"
            here, others = values[k] / 1000, middle / 1000
            flags[k].append(f"{name}: {here:.4g} ml, while half of all cases have {than} than {others:.4g} ml")
    return flags
