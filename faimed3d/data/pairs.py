"""Images and masks of two folders that belong together by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from faimed3d.data.paths import stem_below

_CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net: case_0000.nii.gz, case_0001.nii.gz are channels of case
_SEGMENTATION = ".seg"  # 3D Slicer: case.seg.nrrd


def by_name(files: Iterable[Path], folder: Path, what: str) -> dict[str, Path]:
    """The volumes of a folder by their names below it, without the endings of formats.

    Args:
        files: the volumes.
        folder: where they lie.
        what: 'images' or 'masks', for the message.

    Raises:
        ValueError: two of them have one name: which is meant, or are they one case twice?
    """
    found: dict[str, Path] = {}
    for file in files:
        name = stem_below(file, folder).removesuffix(_SEGMENTATION)
        if name in found:
            raise ValueError(
                f"two {what} are named {name!r}: {found[name]} and {file}. Move the one that is not meant out of "
                f"{folder}, or name the files in a table (from_df)"
            )
        found[name] = file
    return found


def paired(images: dict[str, Path], masks: dict[str, Path], folder: Path) -> list[tuple[list[Path], Path]]:
    """The image, or its channels, and the mask of each case.

    The mask of ``case`` is that of the same name, or of ``case_0000`` and its further channels that named ``case``.

    Args:
        images, masks: as of :func:`by_name`.
        folder: of the masks, for the message.

    Raises:
        FileNotFoundError: an image has no mask.
        ValueError: the cases have different numbers of channels.
    """
    cases: dict[str, list[Path]] = {}
    alone = []
    for name in sorted(images):
        channel = _CHANNEL.fullmatch(name)
        case = channel[1] if channel and name not in masks else name
        if case in masks:
            cases.setdefault(case, []).append(images[name])
        else:
            alone.append(images[name])
    if alone:
        name = next(name for name, file in images.items() if file == alone[0])
        near = [file.name for other, file in masks.items() if other.startswith(name) or name.startswith(other)]
        raise FileNotFoundError(
            f"{alone[0]}: no mask {name}.* or {name}.seg.nrrd in {folder} ({len(alone)} of {len(images)} images have "
            f"none{'; there is ' + near[0] if near else ''}). Masks of other names: from_name_re, or a table (from_df)"
        )
    counts = {len(files): case for case, files in cases.items()}
    if len(counts) > 1:
        few, many = counts[min(counts)], counts[max(counts)]
        raise ValueError(
            f"the cases have different numbers of channels: {few} has {min(counts)}, {many} has {max(counts)}"
        )
    return [(files, masks[case]) for case, files in cases.items()]
