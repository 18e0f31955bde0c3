"""Prediction of many volumes: which they are, under which names they are saved, and how each of them went."""

from __future__ import annotations

import contextlib
import re
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
from faimed3d.browser.engine import require_engine
from faimed3d.data import get_volumetric_files
from faimed3d.errors import ReadError, is_ours
from faimed3d.inference.case_names import case_names
from faimed3d.inference.case_page import write_case_page
from faimed3d.inference.dicom_results import SUFFIX, algorithm_of, check_form, object_there, save_object
from faimed3d.inference.earlier_run import (
    Rows,
    as_written,
    mark_of_files,
    mark_of_model,
    refuse_of_another,
    rows_of,
)
from faimed3d.inference.members import Predictor, class_codes
from faimed3d.inference.source import Source, first_of, read_as_prepared, read_as_told, source_of_row, text_of
from faimed3d.inference.whole_volume import predict_volume
from faimed3d.io.data_files import data_files_of
from faimed3d.io.formats import WRITE_SUFFIXES, volume_suffix
from faimed3d.masks.codes import class_name
from faimed3d.volume import TensorMask3D


@strict_keywords
@delegates(predict_volume, but=["learn", "source", "disagreement"])
def predict_folder(
    learn: Learner | Predictor,
    items: str | Path | pd.DataFrame | Iterable[Source],
    out: str | Path,
    names: Sequence[str] | None = None,
    suffix: str = ".nii.gz",
    form: str | None = None,
    overwrite: bool = False,
    report: str | Path | None = "report.csv",
    truths: str | Sequence[Any] | None = None,
    **kwargs: Any,
) -> pd.DataFrame:
    """Predict many volumes and save each as a file. Files that are there already are not made again.

    Each file is written whole or not at all, so a run that was stopped goes on where it stopped. A file that is there
    of another scan, of one that changed since, or by another model, by the report of the earlier run (without one: on
    another grid), is an error of its case. A case that fails does not stop the rest: the report and a warning at the
    end name it. The progress bars, of the cases and of the windows of each, obey ``learn.no_bar()``.

    Args:
        learn: Learner whose model gives scores of each voxel, or an :class:`Ensemble` of such.
        items: sources as :func:`predict_volume` takes them, a DICOM inventory, or a folder, whose volumes are found. If
            that folder holds ``out``, what an earlier run has written there is no source.
        out: folder to write to; it is made if need be.
        names: name of each file, without ``suffix``. Default: the name of the source's file or DICOM folder, with
            those of the folders above it where two are alike; of an inventory folder and description of the series.
        suffix: format of the files.
        form: 'seg' or 'rtstruct': of each DICOM scan a DICOM Segmentation or RT Structure Set (``.dcm``) that refers to
            its images, and no file of ``suffix``. Of a case without any class nothing is written, with a warning.
        overwrite: predict and write again what is there.
        report: CSV file of the report, in ``out`` if it is relative, written anew after each case; volumes in ml. Rows
            of earlier runs stay in it while their files are there. None: no file. ``'report.html'``: that, and at the
            end one page beside it that any browser opens from the disk: a list of the cases with a small picture,
            volumes and what is implausible, and each in the viewer of ``view_3d``, reduced so that the page holds 64
            million voxels. It names cases as their files are named.
        truths: true masks for that page, one for each item, paths or tensors (None where there is none), or the
            column of ``items`` that has them. The page then shows Dice and errors, the worst cases first.
        kwargs: of :func:`predict_volume`.

    Returns:
        DataFrame with one row per case: ``source``, ``folder``, ``series`` and ``key`` (of an inventory), ``output``,
        ``seconds`` (NaN for what was there already), ``disagreement`` of mirrored predictions (NaN without ``tta``),
        ``background``, ``total_mask_volume`` and each class by its name (else ``class 1``, ``class 2``, ...) in mm3,
        ``model`` and ``state`` (short names of the weights, and of the files of the source as they are), ``warnings``,
        and ``error`` (empty if none).

    Raises:
        ValueError: two cases would be written to one file, or one over a source; a source without a name and no
            ``names``; ``names`` or ``truths`` do not fit ``items``; ``suffix`` or ``form`` is none that can be written;
            ``report`` is another file that is there.

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
    if form is not None:
        check_form(form)
        suffix = SUFFIX
    if isinstance(items, str | Path):
        items = _scans_in(items, out, names, suffix)
    if isinstance(truths, str):
        truths = _column(items, truths)
    if isinstance(items, pd.DataFrame):
        items = [row for _, row in items.iterrows()]
    items = list(items)
    sources = [source_of_row(learn, item) for item in items]
    if suffix and form is None and volume_suffix(f"case{suffix}") not in WRITE_SUFFIXES:
        known = ", ".join(WRITE_SUFFIXES)
        raise ValueError(f"suffix must end like {known}, or be empty for folders of DICOM series; got {suffix!r}")
    if truths is not None and len(truths) != len(sources):
        raise ValueError(f"there are {len(sources)} items and {len(truths)} truths: each item needs one, or None")
    page = None
    if report is not None and Path(report).suffix.lower() in (".html", ".htm"):
        require_engine("a report as a page")
        page, report = out / report, Path(report).with_suffix(".csv")
    elif report is not None and Path(report).suffix.lower() != ".csv":
        raise ValueError(f"report must end in .csv, or in .html for a page, got {str(report)!r}")
    report = None if report is None else out / report
    earlier = rows_of(report)
    outputs = _outputs(sources, out, names, suffix)
    _refuse_sources(items, outputs, getattr(learn.dls, "path", "."))
    out.mkdir(parents=True, exist_ok=True)
    cases = list(zip(sources, outputs, strict=True))
    if hasattr(learn, "progress"):
        cases = progress_bar(cases)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
    mark = mark_of_model(learn)
    rows: list[dict[str, Any]] = []
    table = _report(rows, class_codes(learn))
    for source, output in cases:
        rows.append(_case(learn, source, output, form, overwrite, kwargs, earlier, mark))
        table = _report(rows, class_codes(learn))
        if report is not None:
            _write_csv(table, report, out, earlier)
    if page is not None:
        write_case_page(learn, page, sources, table, truths, form, kwargs)
    failed = table[table["error"] != ""]
    if len(failed):
        warnings.warn(
            f"{len(failed)} of {len(table)} cases failed, see the column error of the report; the first is "
            f"{failed['source'].iloc[0]}: {failed['error'].iloc[0]}",
            stacklevel=2,
        )
    return table


patch_to(Learner)(predict_folder)  # fastai's own way: a new name, none replaced


def _column(items, name):
    """The cells of a column of a table of items."""
    if not isinstance(items, pd.DataFrame) or name not in items:
        has = f"has {', '.join(map(str, items.columns))}" if isinstance(items, pd.DataFrame) else "items is no table"
        raise ValueError(f"truths names the column {name!r} of items, which {has}")
    return items[name].tolist()


def _case(learn, source, output, form, overwrite, kwargs, earlier, mark):
    """Predict and save one volume, and say how it went; volumes of the classes are under ``volumes``."""
    first = first_of(source)
    row = {"source": text_of(source), "folder": _folder_of(first), "series": "", "key": ""}
    if isinstance(first, pd.Series) and "key" in first:
        series = first.get("description")
        row |= {"key": first["key"], "series": series if isinstance(series, str) else ""}
    row |= {"output": str(output), "seconds": float("nan"), "disagreement": float("nan")}
    row |= {"model": mark, "state": _state_of(source)}
    row |= {"volumes": {}, "warnings": "", "error": ""}
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            mask = None
            if output.exists() and not overwrite:
                with contextlib.suppress(ReadError):  # a damaged file is written again
                    mask = _result_there(learn, source, output, form, kwargs)
                if mask is not None and (form is None or as_written(output.name) in earlier):
                    refuse_of_another(learn, source, output, mask, earlier, row, kwargs)
                    mask.codes = class_codes(learn) if mask.codes is None else mask.codes
            if mask is None:
                begin = time.perf_counter()
                mask, *_, row["disagreement"] = predict_volume(learn, source, **kwargs, disagreement=True)
                if form is None:
                    mask.save(output)
                else:
                    save_object(mask, output, source, form, algorithm_of(learn))
                row["seconds"] = time.perf_counter() - begin
            row["volumes"] = mask.calc_volume()
        row["warnings"] = "; ".join(dict.fromkeys(str(one.message) for one in said))
        for one in said:  # whoever listens hears them too
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    except Exception as error:  # whatever is wrong with one case is reported, and the next one begins
        row["error"] = f"{type(error).__name__}: {error}"
        row["foreign"] = not is_ours(error)
    return row


def _result_there(learn, source, output, form, told):
    """The mask that an earlier run has left; a DICOM object on the grid of its scan, which is read for that."""
    if form is None:
        return TensorMask3D.create(output, dtype=None)
    first = read_as_told(learn, first_of(source), told.get("strict", True), told.get("series"), told.get("like"))
    return object_there(output, form, read_as_prepared(learn, first))


def _state_of(source):
    """A short name for the state of the files of a source; '' where they are not known, as in an archive."""
    channels = source if isinstance(source, list | tuple) else [source]
    return mark_of_files(file for one in channels for file in _files_behind(one))


def _files_behind(source):
    """The files that the voxels of a source come from, so far as they are known."""
    if isinstance(source, pd.Series) and "files" in source:
        return source["files"]
    return [file for path in _files_of(source) for file in (path, *data_files_of(str(path)))]


def _folder_of(source):
    """Where a source lies, for the report; empty for what is in memory."""
    files = _files_of(source)
    if isinstance(source, pd.Series) and "folder" in source:
        return str(source["folder"])
    return (str(files[0]) if Path(files[0]).is_dir() else str(Path(files[0]).parent)) if files else ""


def _report(rows, codes):
    """The table of the cases; a class that a case does not show has 0 mm3 there."""
    named = [class_name(label, codes) for label in sorted(codes or ()) if label]
    found = dict.fromkeys(name for row in rows for name in row["volumes"])
    others = [name for name in found if name not in ("background", "total_mask_volume", *named)]
    others.sort(key=lambda name: int(name.split()[1]) if re.fullmatch(r"class \d+", name) else 0)
    classes = named + others
    start = ["source", "folder", "series", "key", "output", "seconds", "disagreement"]
    start += ["background", "total_mask_volume"]
    report = pd.DataFrame([{**row["volumes"], **row} for row in rows])
    report = report.reindex(columns=[*start, *classes, "model", "state", "warnings", "error"])
    done = report["error"] == ""
    report.loc[done, classes] = report.loc[done, classes].fillna(0.0)
    report.attrs["classes"] = classes
    report.attrs["foreign"] = [row["output"] for row in rows if row.get("foreign")]  # whose errors may quote a header
    return report


def _write_csv(table: pd.DataFrame, path: Path, out: Path, earlier: Rows) -> None:
    """The report as a file, volumes in ml, whole or not at all; what earlier runs have left here keeps its rows."""
    volumes = ["background", "total_mask_volume", *table.attrs["classes"]]
    in_ml = table.assign(**{name: table[name] / 1000 for name in volumes})
    in_ml = in_ml.rename(columns={name: f"{name.removesuffix('_mask_volume')} (ml)" for name in volumes})
    # where a case failed, what is there is still that of the earlier run
    done = {as_written(Path(output).name) for output in table["output"][table["error"] == ""]}
    others = [row for name, row in earlier.items() if name not in done and (out / name).exists()]
    if others:
        in_ml = pd.concat([in_ml.astype(object), pd.DataFrame(others)])
    unfinished = path.with_name(f".{path.name}.unfinished")
    in_ml.to_csv(unfinished, index=False, errors="backslashreplace")
    unfinished.replace(path)


def _outputs(sources, out, names, suffix):
    """The file of each source; an error if two would share one."""
    names = case_names(sources) if names is None else [str(name) for name in names]
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


def _scans_in(folder, out, names, suffix):
    """Volumes of a folder, without the predictions that an earlier run has left in ``out`` somewhere below it."""
    files = get_volumetric_files(folder)
    if out.resolve() == Path(folder).resolve():
        return files
    in_out = [file.resolve().parent == out.resolve() for file in files]
    if names is None:
        names = case_names([file for file, inside in zip(files, in_out, strict=True) if not inside])
    written = {f"{name}{suffix}" for name in names}
    if suffix == SUFFIX and {path.name for path in out.glob(f"*{SUFFIX}")} <= written:  # a folder of DICOM, it seems
        in_out = [inside or file.resolve() == out.resolve() for file, inside in zip(files, in_out, strict=True)]
        written.add(out.name)
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
