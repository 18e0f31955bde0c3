"""``PatchDataLoaders3D``: training on patches of cached cases, validation on whole ones, prediction of raw scans."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.torch_core import default_device
from fastcore.basics import instantiate
from fastcore.foundation import L

from faimed3d._arguments import is_number, whole_per_axis
from faimed3d._keywords import strict_keywords
from faimed3d.augment import Normalize3D, RandomCrop3D, Window3D
from faimed3d.augment.base import RandomTransform3D, SpatialTransform3D
from faimed3d.cache import CaseFile
from faimed3d.data.block_transforms import AddChannel, CheckLabels, ToLabels, check_sizes
from faimed3d.data.done_before import DoneBefore
from faimed3d.data.label_regions import LabelRegions, Parts, absent_text, label_parts, sides_fault, unknown_label
from faimed3d.data.loaders import Transforms
from faimed3d.data.volume_dl import VolumeDL
from faimed3d.patches.cached_cases import CachedCases, Patches, merged_spatial
from faimed3d.patches.cached_loaders import CachedLoaders3D, cases_of_sides, scans_loader, steps_done
from faimed3d.patches.drawing import MOST_PATCHES
from faimed3d.patches.kept_cases import fits, keep, place_of
from faimed3d.patches.patch_dl import DevicePatchDL, PatchDL
from faimed3d.training.whole_cases import WholeCases


class PatchDataLoaders3D(CachedLoaders3D):
    """Loaders that train on patches of a cache, validate on its whole cases, and predict raw scans.

    Three loaders: ``dls.train`` gives patches, drawn anew in each epoch; ``dls.valid`` whole cases, which the learners
    show to the network window by window, so that loss and metrics are of cases (a plain ``Learner`` does so with
    ``cbs=dls.learner_cbs``);
    ``dls.scans`` reads the sources of validation as the cache did, for ``learn.evaluate``, ``learn.predict_volume`` and
    ``dls.test_dl``.

    Attributes:
        cache: that of the cases; not kept in exported learners.
        patch: voxels (D, H, W) of a patch, and of the windows of validation and prediction.
        place: where the training cases are, in words.

    >>> import tempfile
    >>> import pandas as pd
    >>> from faimed3d.cache import preprocess
    >>> from faimed3d.volume import TensorDicom3D, TensorMask3D
    >>> images = [TensorDicom3D(torch.rand(6, 8, 10)) for _ in range(4)]
    >>> table = pd.DataFrame({"image": images, "mask": [TensorMask3D(image > 0.5) for image in images]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = preprocess(table, folder, codes=["dark", "bright"], n_jobs=1, progress=False)
    ...     dls = PatchDataLoaders3D.from_cache(cache, (4, 4, 4), valid=[3], num_workers=0, device="cpu")
    ...     images, masks = dls.one_batch()
    >>> images.shape, masks.shape, [len(dl) for dl in dls.loaders]
    (torch.Size([2, 1, 4, 4, 4]), torch.Size([2, 4, 4, 4]), [1, 1, 1])
    """

    patch: tuple[int, int, int] | None = None
    valid_overlap: float = 0.5
    place: str = ""

    @classmethod
    @strict_keywords
    def from_cache(
        cls,
        cache: Any,
        patch: int | Sequence[int],
        bs: int = 2,
        valid: Sequence[int] = (),
        *,
        length: int | None = None,
        foreground: float = 1 / 3,
        regions: Parts | None = None,
        batch_tfms: Transforms = None,
        valid_overlap: float = 0.5,
        on_device: bool | None = None,
        num_workers: int | None = None,
        path: str | Path = ".",
        device: Any = None,
    ) -> PatchDataLoaders3D:
        """Make loaders from a cache of images with masks.

        All that is random about a patch follows from its number, so ``torch.manual_seed`` repeats a run with any number
        of workers. Transforms that move the content (:class:`~faimed3d.augment.RandomSpatial3D`,
        ``aug_transforms_3d()``) are one resampling, about the centre of the patch, which reads no more of the case than
        it needs. On a CPU the random transforms of intensities act in the workers, on a GPU on batches.

        Args:
            cache: of ``preprocess``, with masks.
            patch: voxels (D, H, W), or one number for all three. Where a case is smaller it lies in the middle, with
                its smallest value around it; the mask is ``ignore_index`` there, or 0.
            bs: patches in a batch.
            valid: numbers of the rows of ``cache.table`` that are validated on; all others are trained on.
            length: patches in an epoch. Default: as many as training has cases. Each case comes once before one comes
                again.
            foreground: share of patches around a voxel of a class; of those of the case each is as likely as any other.
                The other patches are anywhere.
            regions: name -> label or labels: train on regions that may overlap, as of :func:`RegionBlock3D`, such as
                ``{"whole": (1, 2, 3), "core": (1, 3)}``. They are made of the labels when these have been cropped and
                augmented. Classes for ``foreground`` are the labels of the regions.
            batch_tfms: transforms of the patches.
            valid_overlap: share of a window that its neighbour covers too, in validation.
            on_device: keep the training cases on the device, in the numbers of their files, and make patches there,
                without workers. Default: on a GPU if they fit into half of its free memory. ``dls.place`` says where
                they are.
            num_workers: processes that make patches. Default: as many as there are cores, at most 16.
            path: where a ``Learner`` keeps its files.
            device: where batches go. Default: the GPU where there is one.

        Raises:
            ValueError: no masks, no cases to train on, a row that is not there; a share that is none; a transform
                that would scale each patch by its own values; or regions that the cache cannot give.
        """
        size = whole_per_axis(patch, "patch", least=1)
        if not (is_number(foreground) and 0 <= foreground <= 1):
            raise ValueError(f"foreground must be a share from 0 to 1, got {foreground!r}")
        train, valid = cases_of_sides(cache, valid)
        length = len(train) if length is None else length
        if not all(isinstance(n, Integral) and n >= 1 for n in (bs, length)) or not bs <= length < MOST_PATCHES:
            raise ValueError(
                f"an epoch of length={length} patches must have at least one batch of bs={bs}, and fewer than "
                f"{MOST_PATCHES} patches; both are whole numbers from 1 on"
            )
        WholeCases(size, valid_overlap)  # checks the overlap
        device = torch.device(default_device() if device is None else device)
        spatial, others = _divided(batch_tfms)
        made_of = None if regions is None else LabelRegions(_regions_of(regions, cache, spatial))
        scans = scans_loader(cache, (train, valid), [*others, *L(made_of)], device)
        reader = next(step.reader for step in scans.after_item.fs if isinstance(step, CheckLabels))
        cases = [cache[row] for row in range(len(cache))]
        _check_masks(cases)
        done, stored = steps_done(cache, cases)
        moved = merged_spatial(spatial)
        sources: list[Any] = [cases[row] for row in train]
        _warn_of_empty(made_of, sources)
        kept = fits(sources, device) if on_device is None else on_device
        place = place_of(sources, device if kept else None)
        if kept:
            sources = keep(sources, device)
            num_workers = 0
        of_workers, of_batches = ([], others) if kept else _where(others, device)
        common = {"before_batch": check_sizes, "num_workers": num_workers, "device": device}
        patches = Patches(sources, reader, size, length, foreground, moved, made_of)
        train_dl = (DevicePatchDL if kept else PatchDL)(
            patches, bs=bs, drop_last=True,
            after_item=[DoneBefore([*done, *L(moved)], stored, True), AddChannel(), CheckLabels(reader), *of_workers],
            after_batch=[ToLabels(), *of_batches, *L(made_of)], **common,
        )  # fmt: skip
        valid_dl = VolumeDL(
            CachedCases([cases[row] for row in valid], reader, made_of, cache.table.iloc[valid]), bs=1,
            after_item=[DoneBefore(done, stored), AddChannel(), CheckLabels(reader)],
            after_batch=[ToLabels(), *others, *L(made_of)], **common,
        )  # fmt: skip
        train_dl._one_pass()
        for dl in (valid_dl, scans):  # so that they need not read one of theirs to know
            dl._n_inp, dl._types = train_dl._n_inp, train_dl._types
        made = cls(train_dl, valid_dl, scans, path=path, device=device)
        made.cache, made.patch, made.valid_overlap, made.place = cache, size, valid_overlap, place
        return made

    @property
    def learner_cbs(self) -> list[Callback]:
        """The callback that learners of patches need."""
        assert self.patch is not None  # from_cache has set it
        return [WholeCases(self.patch, self.valid_overlap, self.train.bs)]

    def new_empty(self) -> PatchDataLoaders3D:
        """The same without cases, for export."""
        empty = super().new_empty()
        empty.patch, empty.valid_overlap = self.patch, self.valid_overlap
        return empty


def _check_masks(cases: Sequence[CaseFile]) -> None:
    without = next((case for case in cases if not case.has_mask), None)
    if without is not None:
        raise ValueError(
            f"{without.path}: a case without a mask; patches need masks of labels. For classes of whole volumes use "
            "CachedImageDataLoaders3D"
        )


def _regions_of(regions: Parts, cache: Any, spatial: Sequence[SpatialTransform3D]) -> dict[str, tuple[int, ...]]:
    """Name -> labels, which are those of the cache."""
    parts = label_parts(regions)
    ignored = cache.reading.ignore_index
    if ignored is not None:
        raise ValueError(
            f"{cache.folder}: leaves out the label {ignored} (ignore_index), but regions leave no voxel out: train on "
            "labels, without regions, or make a cache without ignore_index, where this label is background"
        )
    pairs = next((transform.swap_labels for transform in spatial if transform.swap_labels), None)
    fault = unknown_label(parts, cache.codes or ()) or (sides_fault(parts, pairs) if pairs else None)
    if fault:
        raise ValueError(f"{cache.folder}: {fault}")
    return parts


def _warn_of_empty(regions: LabelRegions | None, cases: Sequence[Any]) -> None:
    if regions is None:
        return
    shown = [sum(not set(part).isdisjoint(case.labels) for case in cases) for part in regions.parts]
    if text := absent_text(len(cases), zip(regions.vocab, shown, strict=True)):
        warnings.warn(text, stacklevel=5)


def _divided(batch_tfms: Transforms) -> tuple[list[SpatialTransform3D], list[Any]]:
    """Transforms that move the content, which act where patches are cut, and all others."""
    transforms = [instantiate(transform) for transform in L(batch_tfms)]
    for transform in transforms:
        if isinstance(transform, RandomCrop3D):
            raise ValueError("patches are cut already: leave RandomCrop3D out, and give its size as patch")
        if getattr(transform, "scales", False) and not isinstance(transform, Normalize3D | Window3D):
            name = type(transform).__name__
            raise ValueError(
                f"{name} would scale each patch by its own values: put it into the item_tfms of the cache, where it "
                "sees whole volumes"
            )
    spatial = [transform for transform in transforms if isinstance(transform, SpatialTransform3D)]
    return spatial, [transform for transform in transforms if not isinstance(transform, SpatialTransform3D)]


def _where(transforms: Sequence[Any], device: torch.device) -> tuple[list[Any], list[Any]]:
    """Transforms that act on items in the workers, and those that act on batches: on a GPU all."""
    count = 0
    if device.type == "cpu":
        count = next(
            (
                k
                for k, one in enumerate(transforms)
                if not isinstance(one, RandomTransform3D) or isinstance(one, Normalize3D)
            ),
            len(transforms),
        )
    return list(transforms[:count]), list(transforms[count:])
