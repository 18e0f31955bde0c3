"""Transforms that change labels because a mask is an image by type: named before they are used."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any  # of transforms

import torch
from fasttransform import ItemTransform, Transform

from faimed3d.volume import TensorDicom3D, TensorMask3D


def written_for_images(transform: Any) -> bool:
    """Whether masks are changed by what a transform does to ``TensorDicom3D``, for want of a method of their own.

    ``TensorMask3D`` is a ``TensorDicom3D``, so fastai's dispatch by type takes it for one. The transforms of this
    package know masks, and what inherits their methods does; a method for a union of types, or one that asks for
    ``TensorMask3D`` itself, says what it is for.

    Args:
        transform: one step of a pipeline.

    >>> from faimed3d.augment import Resize3D
    >>> written_for_images(Resize3D(8))  # it brings masks to that size by the nearest voxel
    False
    """
    if not isinstance(transform, Transform) or isinstance(transform, ItemTransform):  # that one gets all parts at once
        return False
    method = _method_for_masks(transform)
    if method is None or method.__module__.split(".")[0] == "faimed3d":
        return False
    if {"TensorMask3D", "is_mask"} & set(getattr(getattr(method, "__code__", None), "co_names", ())):
        return False
    kinds = typing.get_type_hints(method)
    names = [name for name in inspect.signature(method).parameters if name != "self"]
    return bool(names) and kinds.get(names[0]) is TensorDicom3D


def check_labels_are_kept(transforms: Iterable[Any]) -> None:
    """Refuse transforms for images alone in a pipeline with masks.

    Args:
        transforms: the steps of the pipelines of items and batches.

    Raises:
        TypeError: one of them would change labels; the message says how to write it.
    """
    wrong = next((step for step in transforms if written_for_images(step)), None)
    if wrong is not None:
        raise TypeError(
            f"{wrong.name.split(' -- ')[0]} is written for TensorDicom3D and would change masks as well, for a "
            "TensorMask3D is a TensorDicom3D. If it changes values, inherit from IntensityTransform3D, which leaves "
            "masks alone; if it moves voxels, write encodes(self, x: TensorMask3D) too, which moves labels without "
            "blending them, or encodes(self, x: TensorDicom3D | TensorMask3D) where one way serves both"
        )


def _method_for_masks(transform: Transform) -> Callable[..., Any] | None:
    """The function that fasttransform calls with a mask: what ``Transform._do_call`` looks up."""
    encodes = getattr(transform, "encodes", None)
    mask = TensorMask3D(torch.zeros(1, 1, 1))
    try:
        if isinstance(encodes, MethodType):
            return encodes._f._resolve_method_with_cache((transform, mask))[0]  # type: ignore[attr-defined]
        return None if encodes is None else encodes._resolve_method_with_cache((mask,))[0]
    except LookupError:  # plum's, where it takes no masks
        return None
