"""What a case of the cache was made of and how, as plain JSON, and the key that is the SHA-256 of it."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isfunction
from typing import Any

from fastai.vision.augment import RandTransform
from fastcore.basics import instantiate
from fastcore.foundation import L
from fasttransform import Pipeline, Transform

import faimed3d
from faimed3d.augment import Normalize3D, RandomTransform3D
from faimed3d.cache.case_file import SCHEMA
from faimed3d.cache.descriptions import describe, digest

STEPS = "2"  # raised when the same arguments and files give another case


def deterministic(item_tfms: Any) -> list[Any]:
    """Item transforms as a list in which classes are made objects; those that draw are refused.

    Args:
        item_tfms: a transform, a function, or a list of them.

    Raises:
        TypeError: one draws at random, or acts on the training or validation set alone: what it makes is not the same
            in every epoch, and cannot be kept.
        ValueError: one learns its numbers from a training set that does not exist yet.

    >>> from faimed3d.augment import RandomFlip3D, ZScore3D
    >>> deterministic([ZScore3D])[0].foreground is None
    True
    >>> deterministic(RandomFlip3D())
    Traceback (most recent call last):
    TypeError: RandomFlip3D draws at random, so what it makes cannot be kept: it belongs into batch_tfms, ...
    """
    steps = [instantiate(step) for step in L(item_tfms)]
    for step in steps:
        name = type(step).__name__
        if _draws(step):
            raise TypeError(
                f"{name} draws at random, so what it makes cannot be kept: it belongs into batch_tfms, which act in "
                "every epoch anew. Into the cache go the transforms that do the same every time"
            )
        if isinstance(step, Transform | Pipeline) and getattr(step, "split_idx", None) is not None:
            raise TypeError(
                f"{name} acts on the {'validation' if step.split_idx else 'training'} set alone (split_idx="
                f"{step.split_idx}), but a case of the cache is one and the same in both: leave it out of item_tfms"
            )
        if isinstance(step, Normalize3D) and step.mean is None:
            raise ValueError(
                "Normalize3D() takes its numbers from a training set, which the cache does not know: leave it out, the "
                "learner normalizes by itself, or give it mean and std"
            )
    return steps


def _draws(step: Any) -> bool:
    if isinstance(step, RandomTransform3D):
        silent = type(step).draw is RandomTransform3D.draw and type(step).before_call is RandomTransform3D.before_call
        return step.item_p != 1 or not silent
    return isinstance(step, RandTransform)


def describe_transforms(steps: Sequence[Any]) -> list[Any]:
    """The transforms of :func:`deterministic` as plain JSON, in the order in which they act."""
    ordered = sorted(steps, key=lambda step: getattr(step, "order", 0) if not isfunction(step) else 0)
    return [describe(step) for step in ordered]


def recipe_of(image: Any, mask: Any, reading: Any, transforms: Any) -> dict[str, Any]:
    """What a case is made of, and how: plain JSON, which stands in its file.

    Args:
        image, mask: of ``describe_source``; ``mask`` None where there is none.
        reading: the arguments of reading, described.
        transforms: of :func:`describe_transforms`.
    """
    return {
        "schema": f"{SCHEMA}.{STEPS}",
        "faimed3d": faimed3d.__version__,
        "image": image,
        "mask": mask,
        "reading": reading,
        "transforms": transforms,
    }


def key_of(recipe: Any) -> str:
    """The name of a case: SHA-256 of its recipe, 64 hexadecimal digits.

    >>> len(key_of({"schema": 1}))
    64
    """
    return digest(recipe)
