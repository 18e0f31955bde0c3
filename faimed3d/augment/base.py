"""What every random transform shares: one draw per item, the same for image and mask, and who is left alone.

**Item or batch?** The first image of the tuple decides: five axes (B, C, D, H, W) are a batch, three or four an item
(D, H, W) or (C, D, H, W). Without an image the first mask decides: four axes (B, D, H, W) or more are a batch. This
rule lives in :func:`count_items` alone.

**Randomness** is torch's: fastai seeds it for each worker of a loader, so workers draw different numbers, and
``torch.manual_seed`` repeats a run. Numbers are drawn on the CPU, one set per item, before the first tensor of the
tuple is touched.

Per-axis arguments of augmentations are in the order of the tensor's axes, (D, H, W); ``spacing`` stays (x, y, z).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from fastai.vision.augment import RandTransform
from torch import Tensor

from faimed3d._arguments import as_tuple
from faimed3d._keywords import StrictKeywords, of_bases, strict_keywords
from faimed3d._padding import fill_padding, fill_where, is_padding, padding_of
from faimed3d.augment.warp import Warp, apply_warp, check_fill, spatial_frame
from faimed3d.geometry import Geometry
from faimed3d.masks import is_mask, swap_labels
from faimed3d.masks.regions import swap_regions
from faimed3d.volume import TensorDicom3D, TensorMask3D


class RandomTransform3D(StrictKeywords, RandTransform):
    """A fastai ``RandTransform`` over volumes; a subclass says what to ``draw`` and how to ``apply`` it.

    It acts on the training set only (``split_idx = 0``). Called directly it needs ``split_idx=0``, as in fastai.

    Args:
        p: probability with which each item of a batch is changed, drawn for each item on its own.

    >>> class Scale(RandomTransform3D):
    ...     def draw(self, geometries):
    ...         return {"factors": 1 + torch.rand(len(geometries), 1, 1, 1, 1)}
    ...     def apply(self, x, factors):
    ...         return x * factors
    >>> scaled = Scale()(TensorDicom3D(torch.ones(2, 3, 4)), split_idx=0)
    >>> bool((scaled > 1).all()), scaled.shape
    (True, torch.Size([2, 3, 4]))
    """

    split_idx: int | None = 0
    leaves_out_nan = False  # whether NaN takes part in no statistic of apply, which then sees padding as NaN

    @strict_keywords(more=of_bases)
    def __init__(self, p: float = 1.0, **kwargs: Any) -> None:  # fastai's
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability in 0..1, got {p!r}")
        super().__init__(p=p, **kwargs)
        self._forget()

    @property
    def item_p(self) -> float:
        """Probability with which an item is changed at all."""
        return self.p

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Return the random parameters of ``len(geometries)`` items, as a dict for :meth:`apply`.

        Args:
            geometries: that of each item (1 mm voxels where an item has none).
        """
        return {}

    def apply(self, x: Tensor, *args: Any, **drawn: Any) -> Tensor:
        """Return what becomes of ``x``, a plain tensor (N, C, D, H, W) of as many items as were drawn for."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(self, x, **drawn)")

    def before_call(self, b: Any, split_idx: int | None) -> None:
        """Draw for all items of ``b``."""
        self.do = False
        if self.split_idx is not None and split_idx != self.split_idx:
            return
        volumes = list(find_volumes(b))
        if not volumes:
            return
        self._items = count_items(volumes)
        count = self._items or 1
        chosen = torch.ones(count, dtype=torch.bool) if self.item_p == 1 else torch.rand(count) < self.item_p
        if chosen.any():
            self.do = True
            self._chosen = chosen.nonzero().flatten()
            geometries = _geometries(volumes, self._items)
            self._drawn = self.draw([geometries[i] for i in self._chosen.tolist()])

    def __call__(self, b: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        try:
            return super().__call__(b, split_idx=split_idx, **kwargs)
        finally:
            self._forget()

    def encodes(self, x):
        """Change a volume; anything else passes."""
        if not isinstance(x, TensorDicom3D) or x.ndim < 3:
            return x
        ranges = padding_of(x)
        outside = is_padding(x, ranges) if ranges and self.leaves_out_nan else None
        x = fill_padding(x, None if outside is None else torch.nan)
        rows = _rows(x, self._items)
        if len(self._chosen) == len(rows):
            result = self._run(x, rows)
        else:
            chosen = self._chosen.to(rows.device)
            changed = self._run(x, rows[chosen])
            result = rows.to(changed.dtype, copy=True)
            result[chosen] = changed
        result = result.reshape(x.shape)
        return x.with_voxels(result if outside is None else fill_where(result.contiguous(), outside))

    def _run(self, x: TensorDicom3D, rows: Tensor) -> Tensor:
        return self.apply(rows, **self._drawn)

    def _forget(self) -> None:
        """Drop what was drawn: a transform that is saved with a learner holds its settings, nothing of a patient."""
        self._items: int | None = None
        self._chosen = torch.empty(0, dtype=torch.int64)
        self._drawn: dict[str, Any] = {}


class IntensityTransform3D(RandomTransform3D):
    """Base of everything that changes intensities: it leaves every ``TensorMask3D`` alone. Inherit from it.

    ``TensorMask3D`` is a ``TensorDicom3D``, so that a plain fastai ``Transform`` with ``encodes(self, x:
    TensorDicom3D)`` changes labels too. Here it does not, whether a subclass defines ``apply`` or ``encodes``.

    A subclass that brings all images to values of about 1 says so with ``scales = True``; the learners then add no
    normalization of their own.

    >>> class Invert(IntensityTransform3D):
    ...     def apply(self, x):
    ...         return -x
    >>> image, mask = TensorDicom3D(torch.ones(2, 3, 4)), TensorMask3D(torch.ones(2, 3, 4))
    >>> image, mask = Invert()((image, mask), split_idx=0)
    >>> image.max().item(), mask.max().item()
    (-1.0, 1.0)
    """

    scales = False

    def encodes(self, x: TensorMask3D):
        """Return the mask as it is."""
        return x

    def _run(self, x: TensorDicom3D, rows: Tensor) -> Tensor:
        return self.apply(rows if rows.is_floating_point() else rows.float(), **self._drawn)


class SpatialTransform3D(RandomTransform3D):
    """Base of the random spatial transforms: a subclass defines ``draw_warp(geometries) -> Warp``.

    Args:
        p: probability with which each item is changed.
        fill: what lies outside the volume: a number, ``'edge'`` or ``'reflect'``; for masks a number is not used.
            Default: the smallest value of an image (air in CT), 0 for masks.

    >>> class Shift(SpatialTransform3D):
    ...     def draw_warp(self, geometries):
    ...         return Warp.of(len(geometries), shift=[(1.0, 0.0, 0.0)] * len(geometries))
    >>> Shift()(TensorDicom3D(torch.tensor([[[5.0, 6.0, 7.0]]])), split_idx=0).tolist()
    [[[5.0, 5.0, 6.0]]]
    """

    def __init__(
        self, p: float = 1.0, fill: float | str | None = None, **kwargs: Any
    ) -> None:  # of fastai's RandTransform
        super().__init__(p=p, **kwargs)
        check_fill(fill)
        self.fill = fill

    swap_labels: Mapping[int, int] | None = None  # pairs {left: right} of labels, exchanged where these are mirrored

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw the warp of each item, and note the mm of its voxels."""
        frames = torch.stack([spatial_frame(geometry) for geometry in geometries])
        warp = self.draw_warp(geometries)
        mirrored = None if self.swap_labels is None else _mirrored(warp, geometries, type(self).__name__)
        drawn = {"frames": frames, "warp": warp, "size": geometries[0].shape, "grids": {}}
        return {**drawn, "mirrored": mirrored, "swap_labels": self.swap_labels}

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Return a ``Warp`` of ``len(geometries)`` items."""
        raise NotImplementedError(f"{type(self).__name__} must define draw_warp(self, geometries)")

    def _run(self, x: TensorDicom3D, rows: Tensor) -> Tensor:
        drawn = self._drawn
        if rows.shape[-3:] != drawn["size"]:
            raise ValueError(
                f"{type(self).__name__} moves the volumes of an item alike, so they must have the same size: got "
                f"{drawn['size']} and {tuple(rows.shape[-3:])} (D, H, W). Bring the mask onto the grid of the image "
                "first, with ResampleLike() among the item transforms"
            )
        fill = None if is_mask(x) and not isinstance(self.fill, str) else self.fill
        result = apply_warp(rows, drawn["frames"], drawn["warp"], x.interpolation, fill, drawn["grids"])
        if not is_mask(x) or self.swap_labels is None or not drawn["mirrored"].any():
            return result
        mirrored = drawn["mirrored"].to(result.device)
        swap = swap_regions if result.shape[1] > 1 else swap_labels
        swapped = swap(result[mirrored], self.swap_labels)
        result = result.to(swapped.dtype)
        result[mirrored] = swapped
        return result


def _mirrored(warp: Warp, geometries: Sequence[Geometry], name: str) -> Tensor:
    """N bools: whether what lay on the patient's left lies on the right.

    Where left and right come to lie along another axis of the patient, whether the content is mirrored at all.
    """
    found = []
    for matrix, geometry in zip(warp.matrix, geometries, strict=True):
        if not geometry.stated:
            raise ValueError(
                f"{name}(swap_labels=...) must know which axis runs from left to right, and this volume does not say "
                "where it lies: give it a place, such as TensorDicom3D(array, like=image)"
            )
        left_right = next(k for k, letter in enumerate(geometry.orientation) if letter in "LR")
        along = matrix[left_right, left_right].item()
        found.append(along < 0 if abs(along) > 1e-6 else torch.linalg.det(matrix).item() < 0)
    return torch.tensor(found)


def find_volumes(b: Any) -> Iterator[TensorDicom3D]:
    """Yield the volumes of an item or batch, however deep its tuples and lists nest."""
    if isinstance(b, TensorDicom3D):
        if b.ndim >= 3:
            yield b
    elif isinstance(b, tuple | list):
        for part in b:
            yield from find_volumes(part)


def count_items(volumes: Sequence[TensorDicom3D]) -> int | None:
    """Return how many items the volumes of one tuple hold: None for a single one, the size of the batch otherwise."""
    images = [volume for volume in volumes if not is_mask(volume)]
    leader = (images or volumes)[0]
    return len(leader) if leader.ndim >= (5 if images else 4) else None


def axes_of(axis: int | Sequence[int]) -> tuple[int, ...]:
    """Return the axes named by an argument ``axis`` as a tuple of -3 (D), -2 (H) and -1 (W)."""
    axes = as_tuple(axis)
    if not axes or not all(a in (-1, -2, -3) for a in axes) or len(set(axes)) != len(axes):
        raise ValueError(f"axis must be some of -1 (W), -2 (H) and -3 (D), each once, got {axis!r}")
    return axes


def uniform(low: float | Tensor, high: float | Tensor, *shape: int) -> Tensor:
    """Draw float64 numbers evenly between ``low`` and ``high``."""
    return torch.rand(*shape, dtype=torch.float64) * (high - low) + low


def _geometries(volumes: Sequence[TensorDicom3D], items: int | None) -> list[Geometry]:
    """The geometry of each item: that of the first volume which has one, else 1 mm voxels of the leader's shape."""
    found = []
    for i in range(items or 1):
        known = (v.geometry if items is None else v[i].geometry for v in volumes)
        found.append(next((g for g in known if g is not None), None) or Geometry(volumes[0].shape[-3:], assumed="all"))
    return found


def _rows(x: TensorDicom3D, items: int | None) -> Tensor:
    """The voxels as a plain (N, C, D, H, W): N items, whatever axes lie between them and (D, H, W) as channels."""
    if items is not None and (x.ndim < 4 or len(x) != items):
        raise ValueError(
            f"a batch of {items} items holds a {type(x).__name__} of shape {tuple(x.shape)}: images must be "
            f"(B, C, D, H, W) and masks (B, D, H, W) with B = {items}"
        )
    return x.as_subclass(Tensor).reshape(items or 1, -1, *x.shape[-3:])
