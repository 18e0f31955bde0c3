"""The cases of an evaluation: their sources, their names, and what is true of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from fastai.data.core import TfmdDL
from fastai.learner import Learner

from faimed3d.augment import ClampMask3D, KeepLargestComponent, ReduceClasses, RemoveSmallObjects
from faimed3d.data.block_transforms import CheckLabels, MatchMask
from faimed3d.data.contours import Contours
from faimed3d.data.label_regions import regions_of
from faimed3d.data.trained_on import TrainedOn
from faimed3d.inference import Ensemble
from faimed3d.inference.case_names import case_names
from faimed3d.inference.source import named_by, scans_of, text_of
from faimed3d.training.network_input import classes_of, compare_classes
from faimed3d.volume import TensorMask3D

_LABEL_TRANSFORMS = (ClampMask3D, ReduceClasses, KeepLargestComponent, RemoveSmallObjects, CheckLabels)


class Cases:
    """The cases of a loader of images and masks, one after the other.

    Args:
        learn: learner or ensemble.
        data: loader, table, list of items, or None for the validation set.

    Raises:
        TypeError: the targets are no masks.
        ValueError: there are no cases.
    """

    def __init__(self, learn: Learner | Ensemble, data: Any = None) -> None:
        if data is None:
            data = scans_of(learn.dls)
        elif not isinstance(data, TfmdDL):
            data = learn.dls.test_dl(data, with_labels=True)
        else:
            refuse_other_classes(learn, data)
        if not len(data.dataset):
            raise ValueError("there are no cases to evaluate: the validation set is empty; give a table, evaluate(df)")
        parts: Any = getattr(data.dataset, "tls", ())
        steps = list(data.after_item.fs)
        match = next((step for step in steps if isinstance(step, MatchMask)), None)
        if len(parts) == 1:
            raise TypeError(
                "evaluate compares predicted masks with true ones, and this loader has none: make it with "
                "dls.test_dl(table, with_labels=True), or give the table itself, evaluate(table)"
            )
        if len(parts) != 2 or match is None:
            raise TypeError(
                "evaluate compares predicted masks with those of the dls, but their targets are no masks: use "
                "SegmentationDataLoaders3D, or MaskBlock3D or RegionBlock3D as target, and a table with masks. Of "
                "numbers, or of several classes of a volume, learn.get_preds(dl=dls.test_dl(table, with_labels=True)) "
                "gives predictions and targets"
            )
        self.data = data
        self.images, self.masks = parts
        self.match, self.steps = match, [step for step in steps if isinstance(step, _LABEL_TRANSFORMS)]
        self.steps += [step for step in data.after_batch.fs if isinstance(step, _LABEL_TRANSFORMS)]
        self.regions = regions_of(data)

    def __len__(self) -> int:
        return len(self.images.items)

    def source(self, number: int) -> Any:
        """What ``predict_volume`` is given for a case."""
        return _item(self.images, number)

    def truth(self, number: int, found: TensorMask3D) -> TensorMask3D:
        """The mask of a case on the grid of its prediction, with the classes or regions of training."""
        mask = self.masks[number]
        if isinstance(mask, Contours):
            mask = mask.on(found)
        for step in self.steps:
            mask = step(mask, split_idx=1)
        mask = self.match._onto(mask, found, self._name(number))
        return mask if self.regions is None else self.regions(mask)

    def _name(self, number: int) -> str:
        return text_of(named_by(self.images.tfms.fs, self.source(number)))


def refuse_other_classes(learn: Any, dl: TfmdDL) -> None:
    """Raise a ValueError if a label of a loader means another class than in the loaders of a learner.

    Args:
        learn: has ``dls``.
        dl: of cases to evaluate.
    """
    compare_classes(dl, TrainedOn(classes=classes_of(scans_of(learn.dls))))


def names_of(dls: Any, data: Any = None) -> list[str]:
    """Names of all cases, as ``predict_folder`` names them; a number for what has none, and behind equal ones.

    Args:
        dls: loaders.
        data: a table, a loader, a list of items, or None for the cases of validation.
    """
    if data is None:
        data = scans_of(dls)
    elif not isinstance(data, TfmdDL):
        data = dls.test_dl(data, with_labels=True)
    images = data.dataset.tls[0]
    found = [_scan(images, number) for number in range(len(images.items))]
    named = iter(case_names([scan for scan in found if scan is not None]))
    names = [f"case {number}" if scan is None else next(named) for number, scan in enumerate(found)]
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[number] = f"{name} ({seen[name]})"
    return names


def _item(images: Any, number: int) -> Any:
    items = images.items
    return items.iloc[number] if hasattr(items, "iloc") else items[number]


def _scan(images: Any, number: int) -> str | Path | pd.Series | None:
    """The file, DICOM folder or row of an inventory that a case is read from; None for one in memory."""
    value = named_by(images.tfms.fs, _item(images, number))
    value = value[0] if isinstance(value, list | tuple) and value else value
    return value if isinstance(value, str | Path | pd.Series) else None
