"""``learn.evaluate``: scores of each class of each case."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any  # of arguments that are handed on to predict_volume

import pandas as pd
from fastai.data.core import TfmdDL
from fastai.learner import Learner
from fastcore.basics import patch_to
from fastprogress.fastprogress import progress_bar
from torch import Tensor

from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.evaluation.cases import Cases, names_of
from faimed3d.evaluation.class_table import ClassTable
from faimed3d.evaluation.classes import are_of_classes, evaluate_classes
from faimed3d.evaluation.scores import score_class
from faimed3d.evaluation.table import ScoreTable
from faimed3d.inference import Ensemble, predict_volume
from faimed3d.training.ignored import left_out


@strict_keywords(more=lambda args, kwargs: keywords_of(predict_volume))
def evaluate(
    learn: Learner | Ensemble,
    data: TfmdDL | pd.DataFrame | Sequence[Any] | None = None,
    tolerance: float = 2.0,
    names: Sequence[str] | None = None,
    **kwargs: Any,
) -> ScoreTable | ClassTable:
    """Predict whole scans and compare them with their masks: scores of each class of each case, as a table.

    Each scan is predicted by :func:`predict_volume` on its own grid, and compared there with its mask as it was read:
    what cropping and resampling lose counts. The background is no class here. Voxels of ``ignore_index`` count as
    background in both. A case that fails does not stop the rest: its row holds the error.

    Where the targets are classes of whole volumes, the table has for each case the probability of each class.

    Args:
        learn: Learner whose model gives scores of each voxel, or an ensemble of such.
        data: a table of cases like that of training (with its columns of images and masks), a loader, or a list of
            items. Default: the validation set; an ensemble needs cases that no member has seen. Of a loader the cases
            are taken, in their order, without the random transforms of training.
        tolerance: of the surface Dice, mm.
        names: name of each case. Default: that of its file or DICOM folder.
        kwargs: of :func:`predict_volume`, such as ``patch`` and ``tta``; of classes ``tta`` alone, which turns volumes
            as well where training has.

    Returns:
        Of classes of whole volumes a table of one row for each case: ``case``, ``class``, ``predicted``, and
        ``p_<class>`` for each class; ``summary()`` gives AUC, sensitivity, specificity and accuracy. Else
        :class:`ScoreTable` with one row for each class of each case: ``case``, ``class``, ``label``, ``dice``,
        ``hd95_mm``, ``surface_dice_2mm``, ``volume_error_ml`` (prediction less target), ``volume_ml``, ``target_ml``
        and ``error`` (empty if none). Where neither prediction nor target shows the class, the scores are NaN; where
        only one does, Dice and surface Dice are 0 and HD95 is infinite.

    Raises:
        TypeError: the targets of ``learn.dls`` are no masks, or a loader has none.
        ValueError: a label of a loader means another class than to the network; ``names`` does not fit the cases,
            ``tolerance`` is below 0, ``merge`` is asked for, or an ensemble is given no cases.

    >>> import torch
    >>> from fastai.data.block import DataBlock
    >>> from faimed3d.data import ImageBlock3D, MaskBlock3D
    >>> from faimed3d.losses import CrossEntropyLoss3D
    >>> from faimed3d.volume import TensorDicom3D, TensorMask3D
    >>> scans = [TensorDicom3D(torch.rand(4, 6, 8), {"spacing": (1, 1, 3)}) for _ in range(5)]
    >>> block = DataBlock((ImageBlock3D, MaskBlock3D(["air", "lesion"])), get_y=lambda scan: TensorMask3D(scan > 0.5))
    >>> learn = Learner(block.dataloaders(scans, bs=1), torch.nn.Conv3d(1, 2, 1), loss_func=CrossEntropyLoss3D())
    >>> with learn.no_bar():
    ...     table = learn.evaluate(scans[:2], names=["ann", "bob"])
    >>> table[["case", "class", "target_ml"]].shape, table.scores
    ((2, 3), ['dice', 'hd95_mm', 'surface_dice_2mm', 'volume_error_ml'])
    """
    if tolerance < 0:
        raise ValueError(f"tolerance is a distance in mm, 0 or more; got {tolerance!r}")
    if data is None and isinstance(learn, Ensemble):
        raise ValueError(
            "an ensemble has no validation set: its members may have been trained on the validation set of another. "
            "Pass cases that no member has seen"
        )
    if kwargs.get("merge"):
        raise ValueError("merge=True makes labels, but evaluate compares regions, which may overlap: leave merge out")
    if are_of_classes(learn):
        if others := set(kwargs) - {"tta"}:
            raise TypeError(
                f"the targets are classes of whole volumes, so evaluate takes tta, but no {', '.join(sorted(others))}"
            )
        return evaluate_classes(learn, data, names, **kwargs)
    cases = Cases(learn, data)
    names = names_of(learn.dls, cases.data) if names is None else [str(name) for name in names]
    if len(names) != len(cases):
        raise ValueError(f"there are {len(cases)} cases and {len(names)} names: each case needs one")
    numbers = list(range(len(cases)))
    rows: list[dict[str, Any]] = []
    for number in progress_bar(numbers) if hasattr(learn, "progress") else numbers:
        try:
            found = predict_volume(learn, cases.source(number), **{"progress": False, **kwargs})
            found = found[0] if isinstance(found, tuple) else found
            classes = _classes(learn, found, cases.truth(number, found), tolerance)
            rows += [{"case": names[number], **row, "error": ""} for row in classes]
        except Exception as error:  # whatever is wrong with one case is reported, and the next one begins
            rows.append({"case": names[number], "class": "", "error": f"{type(error).__name__}: {error}"})
    columns = ["case", "class", "label", "dice", "hd95_mm", _surface(tolerance), "volume_error_ml", "volume_ml",
               "target_ml", "error"]  # fmt: skip
    table = ScoreTable(rows, columns=columns)
    table["label"] = table["label"].astype("Int64")
    if len(table.failed):
        warnings.warn(
            f"{len(table.failed)} of {len(cases)} cases failed, see the column error; the first is "
            f"{table.failed['case'].iloc[0]}: {table.failed['error'].iloc[0]}",
            stacklevel=2,
        )
    return table


patch_to(Learner)(evaluate)  # fastai's own way: a new name, none replaced
patch_to(Ensemble)(evaluate)  # it lies in a room below


def _classes(learn, found, truth, tolerance):
    """One row for each class of a case."""
    geometry = found.require_geometry("evaluate")
    codes = found.codes or {}
    here, there = found.as_subclass(Tensor), truth.as_subclass(Tensor).to(found.device)
    if here.ndim == 4:  # regions, which may overlap
        pairs = [(label, here[label - 1] != 0, there[label - 1] != 0) for label in range(1, len(here) + 1)]
    else:
        ignored = left_out(learn)
        kept = there != ignored if ignored is not None else True
        count = getattr(learn.dls, "c", None) or int(max(here.max(), there.max())) + 1
        pairs = [(label, (here == label) & kept, (there == label) & kept) for label in range(1, max(count, 2))]
    for label, one, other in pairs:
        scores = score_class(one, other, geometry, tolerance)
        yield {
            "class": codes.get(label, f"class {label}"),
            "label": label,
            "dice": scores.dice,
            "hd95_mm": scores.hd95,
            _surface(tolerance): scores.surface_dice,
            "volume_error_ml": scores.volume - scores.target,
            "volume_ml": scores.volume,
            "target_ml": scores.target,
        }


def _surface(tolerance):
    return f"surface_dice_{tolerance:g}mm"
