"""Masks of things that may overlap, by name or in order: layers of .seg.nrrd, several files, channels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faimed3d.data.matching import difference, match_storage, share_a_space
from faimed3d.io.nrrd_segments import Segment, read_segments
from faimed3d.io.source_header import source_name
from faimed3d.masks.labels import are_labels, round_labels
from faimed3d.volume import TensorMask3D

_WAY_OUT = "regions=[...] (RegionBlock3D, SegmentationDataLoaders3D) trains on masks that overlap"


def segments_of(source: Any) -> tuple[Segment, ...]:
    """Segments that a source of a mask names: those of a .seg.nrrd, else none."""
    return read_segments(source) if isinstance(source, str | Path) and Path(source).is_file() else ()


def segments_of_object(mask: TensorMask3D) -> tuple[Segment, ...]:
    """Segments of a DICOM Segmentation, whose numbers another file may give to other ones; none of other masks."""
    if mask._header is None or mask._header.format != "dicom" or mask.ndim != 3:
        return ()
    return tuple(Segment(name, label, 0) for label, name in (mask.codes or {}).items() if label)


def find_segment(name: str, segments: Iterable[Segment]) -> Segment | None:
    """The segment of that name, exactly or in another case of its letters."""
    named = [segment for segment in segments if segment.name.casefold() == name.casefold()]
    return next((segment for segment in named if segment.name == name), named[0] if named else None)


def inside_segment(mask: TensorMask3D, segment: Segment) -> Tensor:
    """Which voxels (D, H, W) of a mask, (D, H, W) or of several layers, belong to a segment."""
    plain = mask.as_subclass(Tensor)
    if plain.ndim == 4 and segment.layer >= len(plain):
        raise ValueError(
            f"{source_name(mask)}: its header puts the segment {segment.name!r} in layer {segment.layer}, but the file "
            f"has {len(plain)} layers, from 0 on"
        )
    return (plain[segment.layer] if plain.ndim == 4 else plain) == segment.label


def labels_by_name(mask: TensorMask3D, segments: Sequence[Segment], codes: Sequence[str] | None) -> TensorMask3D | None:
    """Labels (D, H, W) of segments: that of a name is its place in ``codes``. None where the stored labels are meant.

    That is where no code is the name of a segment, and the file has one layer.

    Args:
        mask: what the file holds, (D, H, W) or (layers, D, H, W).
        segments: of its header.
        codes: names of the labels from 0, the background, on.

    Raises:
        ValueError: several layers and no codes; a segment that is in no code; two segments that overlap.
    """
    name, listed = source_name(mask), ", ".join(segment.name for segment in segments)
    looked_up = {label: find_segment(code, segments) for label, code in enumerate(codes or ()) if label}
    found = {label: segment for label, segment in looked_up.items() if segment is not None}
    if not found:
        if mask.ndim == 3:
            return None
        raise ValueError(
            f"{name}: holds {len(segments)} segments ({listed}) in {len(mask)} layers, so its values alone are no "
            f"labels: choose segments by name with codes=['background', {segments[0].name!r}, ...]; if those overlap, "
            f"{_WAY_OUT}"
        )
    left = [segment.name for segment in segments if segment not in found.values()]
    if left:
        raise ValueError(
            f"{name}: of its segments ({listed}), {', '.join(left)} are in no code of {list(codes or ())}: name all in "
            f"codes, and merge or drop labels in item_tfms (ReduceClasses); {_WAY_OUT}, or on some of the segments"
        )
    parts = {label: inside_segment(mask, segment) for label, segment in found.items()}
    titles = {label: segment.name for label, segment in found.items()}
    return mask_like(mask, merged(parts, titles, f"{name}: its segments"))


def merged(parts: dict[int, Tensor], titles: dict[int, str], whose: str) -> Tensor:
    """Labels (D, H, W), uint8 or int32, of masks that must not overlap.

    Args:
        parts: label -> where it is, bool (D, H, W).
        titles: label -> how messages name it.
        whose: begins the message.

    Raises:
        ValueError: two of them overlap.
    """
    first = next(iter(parts.values()))
    labels = torch.zeros(first.shape, dtype=torch.uint8 if max(parts) <= 255 else torch.int32)
    for label, inside in parts.items():
        both = labels[inside]
        if both.any():
            other = int(both[both != 0][0])
            raise ValueError(
                f"{whose} {titles[other]!r} and {titles[label]!r} overlap in {int((both == other).sum())} voxels, so a "
                f"voxel would need two labels: {_WAY_OUT}; or cut the overlap off before"
            )
        labels[inside] = label
    return labels


def read_binary(
    sources: Sequence[Any], strict: bool = True, series: Any = None, threshold: float | None = None
) -> list[TensorMask3D]:
    """Masks of one thing each, uint8 (D, H, W) of 0 and 1, stored as the first of them.

    Args:
        sources, strict, series: as of ``TensorMask3D.create``.
        threshold: make masks of probabilities: 1 above it, else 0.

    Raises:
        ValueError: none; a mask of several labels, or with fractions; or one on another grid, or in another frame of
            reference, than the first.
    """
    if not len(sources):
        raise ValueError("an item is a list of no masks; each needs at least one")
    masks: list[TensorMask3D] = []
    for source in sources:
        mask = TensorMask3D.create(source, series, strict, dtype=None)
        if threshold is not None:
            mask = above(mask, threshold)
        plain = mask.as_subclass(Tensor)
        with contextlib.suppress(ValueError):  # fractions are refused below, with the values that are there
            plain = round_labels(plain)[0]
        values = plain.unique()
        if mask.ndim != 3 or not are_labels(values) or int((values != 0).sum()) > 1:
            what = f"shape {tuple(mask.shape)}" if mask.ndim != 3 else f"the values {values[:6].tolist()}"
            raise ValueError(
                f"{source_name(mask)}: is one of several masks of an item, so it should be (D, H, W) of 0 and one "
                f"label; it has {what}. For regions of a mask of labels: regions={{'name': (1, 2), ...}}"
            )
        mask = mask_like(mask, (plain != 0).to(torch.uint8))
        if masks:
            share_a_space(mask, masks[0], strict)
            stored = match_storage(mask, masks[0])
            if stored is None:
                raise ValueError(
                    f"{source_name(mask)} and {source_name(masks[0])} are masks of one item, but "
                    f"{difference(mask, masks[0])}: save mask.resample_like(image) of each"
                )
            mask = stored
        masks.append(mask)
    return masks


def above(mask: TensorMask3D, threshold: float) -> TensorMask3D:
    """1 where a mask of probabilities is above ``threshold``, else 0, uint8.

    Raises:
        ValueError: the mask holds NaN.
    """
    if mask.isnan().any():
        raise ValueError(f"{source_name(mask)}: holds NaN, neither above nor below threshold={threshold:g}")
    return mask.with_voxels((mask.as_subclass(Tensor) > threshold).to(torch.uint8))


def labels_of_files(
    sources: Sequence[Any],
    codes: Sequence[str] | None,
    strict: bool = True,
    series: Any = None,
    threshold: float | None = None,
) -> TensorMask3D:
    """Labels (D, H, W) of several masks of an item: 1 where the first is not 0, 2 where the second is not, ...

    Raises:
        ValueError: as of :func:`read_binary` and :func:`merged`; or there are not as many as ``codes`` besides the
            background.
    """
    masks = read_binary(sources, strict, series, threshold)
    if codes is not None and len(codes) != len(masks) + 1:
        raise ValueError(
            f"an item has {len(masks)} masks, so codes should be the background and {len(masks)} names, got "
            f"{list(codes)}"
        )
    parts = {number: mask.as_subclass(Tensor) != 0 for number, mask in enumerate(masks, 1)}
    titles = {number: source_name(mask) for number, mask in enumerate(masks, 1)}
    return mask_like(masks[0], merged(parts, titles, "the masks of an item"))


def mask_like(mask: TensorMask3D, voxels: Tensor) -> TensorMask3D:
    """Voxels (..., D, H, W) with the geometry and header of a mask, whatever its leading axes."""
    like = mask if mask.ndim == 3 else mask[0]
    like = like if voxels.ndim == 3 else like.expand(voxels.shape)
    return like.with_voxels(voxels)
