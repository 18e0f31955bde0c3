"""What ``show_batch``, ``show_results`` and ``plot_top_losses`` show with ``interactive``: whole volumes in the viewer.

``interactive=True`` shows a list of the items in the notebook, ``interactive="items.html"`` writes it as one page that
any browser opens. A prediction is shown with its errors against the target. Further arguments are those of ``view_3d``,
such as ``window``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from fastai.data.transforms import Category
from fastcore.foundation import L
from torch import Tensor

from faimed3d._keywords import refuse_unknown
from faimed3d.browser.case import mean_dice
from faimed3d.browser.case_list import CaseList, ListedView
from faimed3d.browser.engine import require_engine
from faimed3d.browser.view import View3D, view_3d
from faimed3d.masks import is_mask, merge_regions
from faimed3d.volume import TensorDicom3D

Where = bool | str | os.PathLike[str]


def show_items(
    where: Where,
    title: str,
    samples: Sequence[tuple],
    outs: Sequence[tuple] | None = None,
    names: Sequence[str] | None = None,
    ctxs: Any = None,
    **options: Any,
) -> None:
    """Show decoded items, with their targets and predictions, as a list of cases.

    Args:
        where: True for the notebook, or the path of a page.
        title: of the page.
        samples: (image, target, ...) of each item.
        outs: (prediction, ...) of each item, or None.
        names: of the items, which then stay in this order. Default: their numbers; predicted masks are shown with the
            worst Dice coefficient first, and wrong classes before right ones.
        ctxs: must be None.
        **options: of ``view_3d``.

    Raises:
        ImportError: the extra ``viewer`` is not installed.
        ValueError: there is no item.
    """
    require_engine("interactive=True")
    if ctxs is not None:
        refuse_unknown(["ctxs"], [], "with interactive, show_batch or show_results")
    if not len(samples):
        raise ValueError("there is nothing to show: no item was given")
    listed = []
    for k, sample in enumerate(samples):
        one = _listed(f"item {k}" if names is None else names[k], sample, None if outs is None else outs[k], options)
        listed.append(one if names is None else ListedView(one.name, one.view, one.facts, one.flags, k))
    CaseList(listed).show(where, title)


def text_of(target: Any) -> str:
    """A target that is no volume, in words: class, classes, number.

    >>> text_of(0.123456), text_of(("ill", 3.0))
    ('0.1235', 'ill, 3')
    """
    if isinstance(target, Tensor):
        target = tuple(target.flatten().tolist())
    if isinstance(target, tuple):
        return ", ".join(map(text_of, target))
    if isinstance(target, float):
        return f"{target:.4g}"
    return ";".join(map(str, target)) if isinstance(target, L) else str(target)


def _listed(name: str, sample: tuple, out: Sequence[Any] | None, options: dict[str, Any]) -> ListedView:
    image, *targets = sample
    found = [] if out is None else list(out)
    view = _view(image, targets[0] if targets else None, found[0] if found else None, options)
    facts: list[str] = []
    flags: list[str] = []
    rank = 0.0
    if len(view.case.labels) == 3:
        view.shown, rank = "errors", mean_dice(*view.case.labels[:2])
        facts.append(f"Dice: {rank:.3f}")
    words = [[part for part in parts if not isinstance(part, TensorDicom3D)] for parts in (targets, found)]
    facts += [f"target: {text_of(target)}" for target in words[0]]
    for target, prediction in zip_longest(*words):
        if prediction is not None:
            wrong = isinstance(target, Category | L) and target != prediction
            (flags if wrong else facts).append(f"prediction: {text_of(prediction)}")
            rank -= wrong
    return ListedView(name, view, tuple(facts), tuple(flags), rank)


def _view(image: Any, target: Any, found: Any, options: dict[str, Any]) -> View3D:
    """An image with its masks; of images as targets the prediction over the target, where there is one."""
    target, found = (_labels_or_image(part) for part in (target, found))
    if target is not None and not is_mask(target):
        pair = (image, target, "target") if found is None else (target, found, "prediction")
        return view_3d(pair[0], None, pair[1], names=("", pair[2]), **options)
    if target is None:
        return view_3d(image, found, names=("prediction", ""), **options)
    return view_3d(image, target, found, names=("target", "prediction"), **options)


def _labels_or_image(part: Any) -> Any:
    """A mask (D, H, W), an image, or None for what is no volume."""
    if not isinstance(part, TensorDicom3D):
        return None
    return merge_regions(part) if is_mask(part) and part.ndim == 4 else part
