"""The label that is left out ('not annotated'): loaders, loss and metrics have one and the same."""

from __future__ import annotations

from typing import Any

from fastai.data.core import DataLoaders

from faimed3d.data import CheckLabels
from faimed3d.losses.labels import NONE, ignored_label


def left_out(learn: Any) -> int | None:
    """The label that metrics leave out: that of the ``dls``, else that of the loss; None if there is none."""
    label = getattr(getattr(learn, "dls", None), "ignore_index", None)
    if isinstance(label, int):
        return label
    label = ignored_label(getattr(learn, "loss_func", None))
    return None if label == NONE else label


def agree_on_ignored(dls: DataLoaders, loss: Any) -> None:
    """Let the loaders leave out the label that the loss leaves out; refuse a loss that leaves out another one.

    Args:
        dls: loaders of masks; others are left as they are.
        loss: the loss that the caller wants, or None for the default one.

    Raises:
        ValueError: both have a label, not the same; the loss has none; or its label is a class of the loaders.
    """
    readers = [check.reader for dl in dls.loaders for check in _checks(dl)]
    there = next((reader.ignore_index for reader in readers if reader.ignore_index is not None), None)
    here = ignored_label(loss)
    if not readers or loss is None or here == there:
        return
    if there is not None:
        if not hasattr(loss, "ignore_index") and here is None:  # a function of the user's own
            return
        name = type(loss).__name__
        says = "counts it" if here in (None, NONE) else f"leaves out {here}"
        raise ValueError(
            f"the dls leave out the label {there} (ignore_index), but the loss {name} {says}: pass "
            f"loss_func={name}(ignore_index={there}), or give the dls the other label"
        )
    if here == NONE or here is None:
        return
    for reader in readers:
        if reader.c is not None and 0 <= here < reader.c:
            raise ValueError(
                f"the loss leaves out the label {here}, which is one of the {reader.c} classes of the dls: pass "
                f"ignore_index={here} to the loaders (SegmentationDataLoaders3D, MaskBlock3D) and name the classes in "
                "codes, or give the loss a label that is no class"
            )
        reader.ignore_index = here


def _checks(dl: Any) -> list[CheckLabels]:
    """The transforms of a loader that know the classes."""
    return [step for step in getattr(getattr(dl, "after_item", None), "fs", ()) if isinstance(step, CheckLabels)]
