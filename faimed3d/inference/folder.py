"""Prediction of many volumes: which they are, under which names they are saved, and how each of them went."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any  # of arguments that are handed on to predict_volume

import pandas as pd
from fastai.learner import Learner
from fastcore.basics import patch_to
from fastcore.meta import delegates
from fastprogress.fastprogress import progress_bar

from faimed3d._keywords import strict_keywords
from faimed3d.data import get_volumetric_files
from faimed3d.errors import ReadError
from faimed3d.inference.source import Source, text_of
from faimed3d.inference.whole_volume import predict_volume
from faimed3d.io.formats import volume_suffix
from faimed3d.volume import TensorMask3D


@strict_keywords
@delegates(predict_volume, but=["learn", "source"])
def predict_folder(
    learn: Learner,
    items: str | Path | pd.DataFrame | Iterable[Source],
    out: str | Path,
    names: Sequence[str] | None = None,
    suffix: str = ".nii.gz",
    overwrite: bool = False,
    **kwargs: Any,
) -> pd.DataFrame:
    """Predict many volumes and save each as a file. Files that are there already are not made again.

    Each file is written whole or not at all, so a run that was stopped goes on where it stopped. A case that fails does
    not stop the rest: the report and a warning at the end name it. The progress bar obeys ``learn.no_bar()``.

    Args:
        learn: Learner whose model gives scores of each voxel.
        items: sources as :func:`predict_volume` takes them, a DICOM inventory, or a folder, whose volumes are found. If
            that folder holds ``out``, what an earlier run has written there is no source.
        out: folder to write to; it is made if need be.
        names: name of each file, without ``suffix``. Default: the name of the source's file or DICOM folder.
        suffix: format of the files.
        overwrite: predict and write again what is there.
        kwargs: of :func:`predict_volume`.

    Returns:
        DataFrame with one row per case: ``source``, ``output``, ``seconds`` (NaN for what was there already),
        ``background``, ``total_mask_volume`` and ``class 1``, ``class 2``, ... in mm3, and ``error`` (empty if none).

    Raises:
        ValueError: two cases would be written to one file, or one over a source; ``names`` does not fit ``items``.

    >>> import tempfile, torch
    >>> from fastai.data.block import DataBlock
    >>> from faimed3d.data import ImageBlock3D, MaskBlock3D
    >>> from faimed3d.losses import CrossEntropyLoss3D
    >>> from faimed3d.volume import TensorDicom3D
    >>> scans = [TensorDicom3D(torch.rand(4, 6, 8), {"spacing": (1, 1, 3)}) for _ in range(2)]
    >>> block = DataBlock((ImageBlock3D, MaskBlock3D(["air", "lesion"])), get_y=lambda scan: TensorMask3D(scan > 0.5))
    >>> learn = Learner(block.dataloaders(scans, bs=1), torch.nn.Conv3d(1, 2, 1), loss_func=CrossEntropyLoss3D())
    >>> with tempfile.TemporaryDirectory() as out, learn.no_bar():
    ...     learn.predict_folder(scans, out, names=["ann", "bob"])["error"].tolist()
    ['', '']
    """
    out = Path(out)
    if isinstance(items, str | Path):
        items = _scans_in(items, out, names, suffix)
    if isinstance(items, pd.DataFrame):
        items = [row for _, row in items.iterrows()]
    sources = list(items)
    outputs = _outputs(sources, out, names, suffix)
    _refuse_sources(sources, outputs, getattr(learn.dls, "path", "."))
    out.mkdir(parents=True, exist_ok=True)
    cases = list(zip(sources, outputs, strict=True))
    if hasattr(learn, "progress"):
        cases = progress_bar(cases)
    report = _report([_case(learn, source, output, overwrite, kwargs) for source, output in cases])
    failed = report[report["error"] != ""]
    if len(failed):
        warnings.warn(
            f"{len(failed)} of {len(report)} cases failed, see the column error of the report; the first is "
            f"{failed['source'].iloc[0]}: {failed['error'].iloc[0]}",
            stacklevel=2,
        )
    return report


patch_to(Learner)(predict_folder)  # fastai's own way: a new name, none replaced


def _case(learn, source, output, overwrite, kwargs):
    """Predict and save one volume, and say how it went."""
    row = {"source": text_of(source), "output": str(output), "seconds": float("nan"), "error": ""}
    try:
        mask = None
        if output.exists() and not overwrite:
            with contextlib.suppress(ReadError):  # a damaged file is written again
                mask = TensorMask3D.create(output, dtype=None)
        if mask is None:
            begin = time.perf_counter()
            mask = predict_volume(learn, source, **kwargs)
            mask = mask[0] if isinstance(mask, tuple) else mask
            mask.save(output)
            row["seconds"] = time.perf_counter() - begin
        row.update(mask.calc_volume())
    except Exception as error:  # whatever is wrong with one case is reported, and the next one begins
        row["error"] = f"{type(error).__name__}: {error}"
    return row


def _report(cases):
    """The table of the cases; a class that only others show has 0 mm3 in a case."""
    report = pd.DataFrame(cases)
    classes = [column for column in report.columns if column.startswith("class ")]
    classes.sort(key=lambda column: int(column.split()[1]))
    columns = ["source", "output", "seconds", "background", "total_mask_volume", *classes, "error"]
    report = report.reindex(columns=columns)
    done = report["error"] == ""
    report.loc[done, classes] = report.loc[done, classes].fillna(0.0)
    return report


def _outputs(sources, out, names, suffix):
    """The file of each source; an error if two would share one."""
    names = [_name_of(source) for source in sources] if names is None else [str(name) for name in names]
    if len(names) != len(sources):
        raise ValueError(f"there are {len(sources)} items and {len(names)} names: each item needs one")
    outputs = [out / f"{name}{suffix}" for name in names]
    taken = {}
    for source, output in zip(sources, outputs, strict=True):
        if output in taken:
            raise ValueError(
                f"{text_of(taken[output])} and {text_of(source)} would both be written to {output}: pass names, a "
                "different one for each item"
            )
        taken[output] = source
    return outputs


def _name_of(source):
    """Name of the file for a source: that of its file without extension, of its DICOM folder, its key."""
    text = text_of(source)
    if isinstance(source, pd.Series) and "key" in source:
        return text
    if isinstance(source, list | tuple) and source:
        return _name_of(source[0])
    if not isinstance(source, str | Path):
        raise ValueError(f"{text} has no name to save its prediction under: pass names, one for each item")
    name = Path(source).name
    return name if Path(source).is_dir() else name[: len(name) - len(volume_suffix(name))]


def _scans_in(folder, out, names, suffix):
    """Volumes of a folder, without the predictions that an earlier run has left in ``out`` somewhere below it."""
    files = get_volumetric_files(folder)
    if out.resolve() == Path(folder).resolve():
        return files
    in_out = [file.resolve().parent == out.resolve() for file in files]
    if names is None:
        names = [_name_of(file) for file, inside in zip(files, in_out, strict=True) if not inside]
    written = {f"{name}{suffix}" for name in names}
    return [file for file, inside in zip(files, in_out, strict=True) if not (inside and file.name in written)]


def _refuse_sources(sources, outputs, root):
    """Raise an error if a file to be written is one of those to be read, under whatever name: the scan would be lost.

    Args:
        sources: as ``predict_folder`` takes them.
        outputs: files to be written.
        root: folder that relative paths of the sources may start from, besides the current one.
    """
    known = {}
    for source in sources:
        for path in _files_of(source):
            for candidate in (Path(root) / path, Path(path)):
                known[_identity(candidate)] = path
    known.pop(None, None)
    for output in outputs:
        source = known.get(_identity(output))
        if source is not None:
            raise ValueError(
                f"the prediction {output} would be written over {source}, which is one of the items: choose another "
                "folder for out, or pass names"
            )


def _identity(path):
    """What two names of one file share; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _files_of(source):
    """Paths of files that a source names, those of masks among them."""
    if isinstance(source, str | Path):
        return [source]
    if isinstance(source, list | tuple):
        return [path for one in source for path in _files_of(one)]
    return [cell for cell in source if isinstance(cell, str | Path)] if isinstance(source, pd.Series) else []
