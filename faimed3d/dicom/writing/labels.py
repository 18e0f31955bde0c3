"""The classes of a mask that is to be written, and their names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from faimed3d.dicom.writing.elements import check_text

_MOST_SEGMENTS = 65535


def label_values(mask: np.ndarray) -> list[int]:
    """Labels of a mask above 0, in rising order.

    Raises:
        ValueError: values that are no whole numbers from 0; none above it, or more than 65535 different ones.
    """
    values = np.unique(mask)
    if not (np.isfinite(values).all() and (values == np.rint(values)).all() and values[0] >= 0):
        raise ValueError(f"a mask holds whole numbers from 0, this one has values from {values[0]} to {values[-1]}")
    values = values[values > 0].astype(np.int64)
    if not 1 <= len(values) <= _MOST_SEGMENTS:
        raise ValueError(
            f"a DICOM segmentation or structure set holds 1 to {_MOST_SEGMENTS} labels, this mask has {len(values)}"
        )
    return values.tolist()


def label_names(values: list[int], labels: Mapping[int, str] | None, codes: Mapping[int, str] | None) -> list[str]:
    """A name for each label: of ``labels``, of the mask's ``codes`` where there are none, else such as 'label 117'.

    Raises:
        TypeError: a name that is no text.
        ValueError: a name for a label that the mask does not have, or that (0062,0005) or (3006,0026) cannot hold.
    """
    if labels is None and codes:
        labels = {label: name for label, name in codes.items() if label in values}
    labels = dict(labels or {})
    unknown = set(labels) - set(values)
    if unknown:
        raise ValueError(f"labels names {sorted(unknown)}, the mask has {values[:20]}")
    return [check_text("the name of a label", labels.get(value, f"label {value}"), 1) for value in values]
