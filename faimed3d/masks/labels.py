"""What a mask is, what its voxels may be, and how large its classes are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from faimed3d.masks.codes import class_name

T = TypeVar("T", bound=Tensor)

LABEL_TOLERANCE = 1e-3
"""How far from a whole number a value may be and still be that label: files scaled in float hold 0.9999."""

_FEW = 8  # labels that are looked for one by one
_SAMPLE = 512  # voxels that are looked at first
_SIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}  # torch promotes no others


def is_mask(t: object) -> bool:
    """Whether ``t`` is a mask by its type: its attribute ``interpolation`` is ``'nearest'``, not ``'linear'``.

    A plain tensor says nothing about itself and counts as an image, whatever it holds.

    >>> from faimed3d.volume import TensorDicom3D, TensorMask3D
    >>> [is_mask(kind(torch.zeros(2, 3, 4))) for kind in (TensorMask3D, TensorDicom3D, torch.Tensor)]
    [True, False, False]
    """
    return getattr(t, "interpolation", "linear") == "nearest"


def are_labels(values: Tensor) -> bool:
    """Whether all values are whole numbers, as labels are: no fraction, NaN or infinity.

    Args:
        values: tensor of any shape.

    >>> [are_labels(torch.tensor(values)) for values in ([0, 2], [0.0, 2.0], [0.0, 0.5], [0.0, torch.nan])]
    [True, True, False, False]
    """
    values = values.detach().as_subclass(Tensor)
    return not values.is_floating_point() or bool(((values == values.round()) & values.isfinite()).all())


def round_labels(values: T) -> tuple[T, bool]:
    """Round values that are whole numbers to within 1e-3 (:data:`LABEL_TOLERANCE`), and say whether any had to be.

    Args:
        values: tensor of any shape. What holds whole numbers already is returned as it is.

    Raises:
        ValueError: other fractions, NaN or infinity; the message names one, and the ways out.

    >>> round_labels(torch.tensor([0.0, 0.9999, 2.0]))
    (tensor([0., 1., 2.]), True)
    """
    plain = values.as_subclass(Tensor).detach()
    if not plain.is_floating_point():
        return values, False
    whole = plain.round()
    apart = (plain - whole).abs_()
    if not apart.any():  # NaN is not 0
        return values, False
    wrong = ~(apart <= LABEL_TOLERANCE)
    if wrong.any():
        value = plain[wrong][0].item()
        raise ValueError(
            f"holds {value:.6g}, no whole number and so no label (within {LABEL_TOLERANCE} of one, a value is "
            "rounded). Is it an image, a mask that was interpolated, or probabilities? Make labels of those with "
            "threshold=0.5 (MaskBlock3D, SegmentationDataLoaders3D) or TensorMask3D(t > 0.5)"
        )
    return with_labels(values, whole), True


def named_labels(values: T, name: str, when_rounded: Callable[[str], object]) -> T:
    """The labels of ``values`` by :func:`round_labels`; an error names the file, and rounding is told with its name.

    >>> named_labels(torch.tensor([0.0, 0.9999]), "mask.nii", print)
    mask.nii
    tensor([0., 1.])
    """
    try:
        values, rounded = round_labels(values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if rounded:
        when_rounded(name)
    return values


def label_counts(mask: Tensor) -> dict[int, int]:
    """How many voxels each label has, in rising order; labels without a voxel are left out.

    Args:
        mask: whole numbers of any shape and type.

    >>> label_counts(torch.tensor([[[0, 2, 2, 0, 0]]], dtype=torch.uint8))
    {0: 3, 2: 2}
    """
    plain = mask.as_subclass(Tensor).detach()
    if plain.dtype in (torch.uint8, torch.bool) and plain.is_cpu:
        flat = plain.reshape(-1).contiguous().view(torch.uint8).numpy()
        # eight voxels at a time: most of a mask is background
        body, rest = flat[: len(flat) // 8 * 8].view(np.uint64), flat[len(flat) // 8 * 8 :]
        found = np.bincount(np.append(body[body != 0].view(np.uint8), rest), minlength=1)
        found[0] = len(flat) - found[1:].sum()
        return {int(label): int(found[label]) for label in found.nonzero()[0]}
    plain = plain.to(_SIGNED.get(plain.dtype, plain.dtype))
    if plain.is_cpu and plain.numel() and plain.min() >= 0 and plain.max() <= 255:
        small = plain.to(torch.uint8)
        if not plain.is_floating_point() or torch.equal(small.to(plain.dtype), plain):
            return label_counts(small)  # many times faster than sorting
    labels, counts = torch.unique(plain, return_counts=True)
    return dict(zip((int(label) for label in labels.tolist()), counts.tolist(), strict=True))


def label_range(labels: Tensor) -> tuple[int, int]:
    """The lowest and the highest label, in one pass: over a part of a volume of bytes in a tenth of the time of two.

    Args:
        labels: whole numbers of any shape but an empty one, of a type that torch compares.

    >>> label_range(torch.tensor([[[0, 2, 2, 0, 1]]], dtype=torch.uint8))
    (0, 2)
    """
    low, high = labels.aminmax()
    return int(low), int(high)


def labels_in(mask: Tensor) -> set[int]:
    """The labels that have a voxel; faster than counting them where they are few and small.

    Args:
        mask: whole numbers of any shape and type.

    >>> labels_in(torch.tensor([[[0, 2, 2, 0, 0]]], dtype=torch.uint8))
    {0, 2}
    """
    plain = _comparable(mask)
    if plain.dtype == torch.bool:
        plain = plain.view(torch.uint8)
    if plain.is_cpu and plain.numel() and plain.is_contiguous():
        # whole arrays of one byte or a few are compared many at a time
        array = plain.reshape(-1).numpy()
        high = array.max()
        if high <= _FEW and (plain.dtype == torch.uint8 or array.min() >= 0):
            sample = set(array[:: max(1, len(array) // _SAMPLE)].tolist())
            return {label for label in range(int(high) + 1) if label in sample or bool((array == label).any())}
    return set(label_counts(mask))


def holds(mask: Tensor, label: int) -> bool:
    """Whether a voxel has the label; as a rule some voxels here and there tell.

    Args:
        mask: whole numbers of any shape and type.

    >>> [holds(torch.tensor([[[0, 2, 2, 0, 0]]]), label) for label in (2, 3)]
    [True, False]
    """
    plain = _comparable(mask)
    if plain.is_cpu and plain.is_contiguous():
        array = plain.reshape(-1).numpy()
        return bool((array[:: max(1, len(array) // _SAMPLE)] == label).any() or (array == label).any())
    return bool((plain == label).any())


def _comparable(mask: Tensor) -> Tensor:
    """The plain labels in a type that torch compares and numpy has."""
    plain = mask.as_subclass(Tensor).detach()
    return plain.float() if plain.dtype == torch.bfloat16 else plain.to(_SIGNED.get(plain.dtype, plain.dtype))


def common_type(*dtypes: torch.dtype) -> torch.dtype:
    """The type that holds every number of several types; int32, int64 and floats together need float64.

    >>> common_type(torch.uint8, torch.uint16), common_type(torch.int32, torch.float32)
    (torch.int32, torch.float64)
    """
    if len(set(dtypes)) == 1:
        return dtypes[0]
    known = [_SIGNED.get(dtype, dtype) for dtype in dtypes]
    found = functools.reduce(torch.promote_types, known)
    whole = [dtype.itemsize for dtype in known if not dtype.is_floating_point]
    if not found.is_floating_point or not whole:
        return found
    return torch.promote_types(found, torch.float64 if max(whole) > 2 else torch.float32)


def holding_type(dtype: torch.dtype, values: list[float]) -> torch.dtype:
    """``dtype`` if it holds all of the values, else the smallest that holds them and all that ``dtype`` held.

    Raises:
        ValueError: fractions in a mask of whole numbers, or numbers beyond int64.

    >>> holding_type(torch.uint8, [3]), holding_type(torch.uint8, [300]), holding_type(torch.uint8, [-1])
    (torch.uint8, torch.int16, torch.int16)
    """
    wider = (
        (torch.float32, torch.float64)
        if dtype.is_floating_point
        else (torch.uint8, torch.int16, torch.int32, torch.int64)
    )
    for candidate in (dtype, *(common_type(dtype, other) for other in wider)):
        if all(_holds(candidate, value) for value in values):
            return candidate
    raise ValueError(f"{values} are no labels that a mask of {dtype} can hold: whole numbers of up to 64 bits")


def as_integers(values: Tensor) -> Tensor:
    """Labels in floats as the smallest of uint8, int16, int32 and int64 that holds them; all else as it is.

    Args:
        values: plain tensor of any shape. What holds a fraction, NaN or infinity is no mask of labels and stays.

    >>> [as_integers(torch.tensor([0, value])).dtype for value in (255.0, 256.0, 0.5)]
    [torch.uint8, torch.int16, torch.float32]
    """
    if not values.is_floating_point() or not values.numel() or not are_labels(values):
        return values
    low, high = values.amin().item(), values.amax().item()
    return values if max(-low, high) >= 2**63 else values.to(holding_type(torch.uint8, [low, high]))


def _holds(dtype: torch.dtype, value: float) -> bool:
    if dtype.is_floating_point:
        return torch.tensor(value, dtype=torch.float64).to(dtype).item() == value
    low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return float(value).is_integer() and low <= value <= high


def class_volumes(mask: Tensor, voxel_volume: float, codes: Mapping[int, str] | None = None) -> dict[str, float]:
    """Volume of the background, of all classes together, and of each class, from whole voxel counts.

    Args:
        mask: labels of any shape.
        voxel_volume: of one voxel, in mm3; see ``Geometry.voxel_volume``.
        codes: names by label; a class without one is ``'class 3'``.

    Returns:
        mm3: ``{'background': ..., 'total_mask_volume': ..., 'class 1': ..., ...}``; the classes are those present.

    Raises:
        ValueError: values that are no labels: neither whole numbers nor within 1e-3 of one.

    >>> class_volumes(torch.tensor([[[0, 2, 2, 0, 0]]]), voxel_volume=1.5)
    {'background': 4.5, 'total_mask_volume': 3.0, 'class 2': 3.0}
    """
    try:
        labels, _ = round_labels(mask.detach().as_subclass(Tensor))
    except ValueError as error:
        raise ValueError(f"the mask {error}") from None
    voxels = label_counts(labels)
    background = voxels.pop(0, 0)
    volumes = {"background": background * voxel_volume, "total_mask_volume": sum(voxels.values()) * voxel_volume}
    return volumes | {class_name(label, codes): count * voxel_volume for label, count in voxels.items()}


def with_labels(mask: T, labels: Tensor) -> T:
    """Return plain ``labels`` of the same shape as what ``mask`` is: with its type and its geometry."""
    return mask.with_voxels(labels) if hasattr(mask, "with_voxels") else labels  # type: ignore[return-value]
