"""Tables of the cases of data sets that lie in a published layout: Medical Segmentation Decathlon, nnU-Net, BIDS."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from faimed3d._keywords import strict_keywords
from faimed3d.data.files import get_volumetric_files
from faimed3d.data.pairs import by_name
from faimed3d.data.paths import stem_below
from faimed3d.errors import ReadError
from faimed3d.io.formats import volume_suffix

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_SPLITS = ("splits_final.json", "folds.json")
_ENTITY = re.compile(r"([A-Za-z0-9]+)-([A-Za-z0-9+]+)")


@strict_keywords
def msd_table(folder: str | Path) -> pd.DataFrame:
    """Table of the training cases of a folder as of the Medical Segmentation Decathlon or nnU-Net.

    ``dataset.json`` names channels and labels, as in the Decathlon (Antonelli et al. 2022, doi:10.1038/
    s41467-022-30695-9) or in nnU-Net v2; ``labelsTr`` holds a mask for each case, and ``imagesTr`` its image: either
    ``case.nii.gz``, or ``case_0000.nii.gz``, ``case_0001.nii.gz``, ... for its channels.

    Args:
        folder: holds ``dataset.json``, ``imagesTr`` and ``labelsTr``.

    Returns:
        DataFrame with the columns ``case``, ``image`` and ``mask`` (absolute paths); of several files a case one column
        for each channel, by its name. A column ``fold`` where ``splits_final.json`` or ``folds.json`` says which cases
        are validated together. ``attrs``: ``fn_col`` (the column or columns of the images), ``codes`` (names of the
        labels from 0 on), ``channels`` (their names), ``ignore_index`` and, where labels are lists, ``regions``.

    Raises:
        FileNotFoundError: a folder, ``dataset.json``, an image, a channel of a case, or a case that ``dataset.json``
            lists is not there.
        ValueError: ``dataset.json`` cannot be understood, or two files have one name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("imagesTr/ann_0000.nii.gz", "imagesTr/ann_0001.nii.gz", "labelsTr/ann.nii.gz"):
    ...         Path(folder, name).parent.mkdir(exist_ok=True)
    ...         Path(folder, name).touch()
    ...     content = {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "tumour": 1}}
    ...     _ = Path(folder, "dataset.json").write_text(json.dumps(content))
    ...     table = msd_table(folder)
    >>> list(table.columns), table.attrs["codes"]
    (['case', 'T1', 'FLAIR', 'mask'], ['background', 'tumour'])
    """
    folder = Path(folder).absolute()
    content = _dataset_json(folder / "dataset.json")
    channels = _named(content.get("channel_names", content.get("modality", {})), folder)
    masks = by_name(get_volumetric_files(folder / "labelsTr"), folder / "labelsTr", "masks")
    images = by_name(get_volumetric_files(folder / "imagesTr"), folder / "imagesTr", "images")
    if not masks:
        raise FileNotFoundError(f"{folder / 'labelsTr'}: no masks")
    _check_listed(content, masks, folder)
    rows = [{"case": case, **_images_of(case, images, channels, folder), "mask": str(masks[case])} for case in masks]
    columns = [name for name in rows[0] if name not in ("case", "mask")]
    if odd := next((row for row in rows if [*row] != [*rows[0]]), None):
        raise ValueError(
            f"{folder}: the case {rows[0]['case']} has the images {columns}, the case {odd['case']} "
            f"{[name for name in odd if name not in ('case', 'mask')]}: of all cases or of none a channel is one file"
        )
    table = pd.DataFrame(rows)
    if (folds := _folds(folder, table["case"])) is not None:
        table["fold"] = folds
    table.attrs.update(fn_col=columns if len(columns) > 1 else columns[0], channels=[*channels.values()])
    table.attrs.update(_labels(content.get("labels"), folder))
    return table


def _dataset_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; a folder of the Decathlon or of nnU-Net holds dataset.json, imagesTr and labelsTr"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ReadError(f"{file}: is no JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        raise ReadError(f"{file}: expected an object with the entry 'labels', such as {{'background': 0, 'tumour': 1}}")
    return content


def _named(channels: Any, folder: Path) -> dict[int, str]:
    """Number of each channel -> its name, a different one for each."""
    if not isinstance(channels, Mapping):
        raise ReadError(f"{folder / 'dataset.json'}: 'channel_names' must name channels by number, got {channels!r}")
    named = {int(number): str(name) for number, name in channels.items()}
    names = [*named.values()]
    return {number: name if names.count(name) == 1 else f"{name}_{number}" for number, name in sorted(named.items())}


def _images_of(case: str, images: Mapping[str, Path], channels: Mapping[int, str], folder: Path) -> dict[str, str]:
    """The image of a case, or its channels by name."""
    if case in images:
        return {"image": str(images[case])}
    found = {}
    for name, file in images.items():
        channel = _CHANNEL.fullmatch(name)
        if channel and channel[1] == case:
            found[int(channel[2])] = str(file)
    if not found:
        raise FileNotFoundError(f"{folder / 'imagesTr'}: no image of the case {case}, neither {case}.* nor {case}_0000")
    wanted = dict(channels) or {number: f"channel {number}" for number in found}
    if missing := [f"{name} ({case}_{number:04d})" for number, name in wanted.items() if number not in found]:
        raise FileNotFoundError(
            f"{folder / 'imagesTr'}: the case {case} has no {', '.join(missing)}; dataset.json names the channels "
            f"{', '.join(wanted.values())}"
        )
    if unnamed := sorted(set(found) - set(wanted)):
        raise ValueError(
            f"{folder / 'dataset.json'}: names the channels {', '.join(wanted.values())}, but there is also "
            f"{case}_{unnamed[0]:04d}"
        )
    return (
        {"image": found[min(wanted)]} if len(wanted) == 1 else {name: found[number] for number, name in wanted.items()}
    )


def _check_listed(content: Mapping[str, Any], masks: Mapping[str, Path], folder: Path) -> None:
    """Refuse a folder that lacks a case which dataset.json lists: a download that was cut off."""
    listed = content.get("training")
    for entry in listed if isinstance(listed, list) else ():
        file = folder / str(entry.get("label", "")) if isinstance(entry, dict) else None
        if file is not None and stem_below(folder / "labelsTr" / file.name, folder / "labelsTr") not in masks:
            raise FileNotFoundError(f"{file}: no such file, but dataset.json lists it among the training cases")


def _labels(labels: Any, folder: Path) -> dict[str, Any]:
    """``codes``, ``ignore_index`` and ``regions`` of dataset.json."""
    number_first = all(str(key).isdigit() for key in labels)
    pairs = {str(name): int(key) for key, name in labels.items()} if number_first else dict(labels)
    found: dict[str, Any] = {"codes": None, "ignore_index": None}
    if "ignore" in pairs and not number_first:
        found["ignore_index"] = pairs.pop("ignore")
    if any(isinstance(label, list | tuple) for label in pairs.values()):
        found["regions"] = {
            name: tuple(label) if isinstance(label, list) else label
            for name, label in pairs.items()
            if name != "background"
        }
        return found
    names = {int(label): name for name, label in pairs.items()}
    if len(names) < len(pairs) or min(names, default=-1) < 0:
        raise ReadError(f"{folder / 'dataset.json'}: 'labels' must give each name a number from 0 on, got {labels!r}")
    found["codes"] = [names.get(label, f"class {label}") for label in range(max(names) + 1)]
    return found


def _folds(folder: Path, cases: pd.Series) -> list[int] | None:
    """Number of the fold in which each case is validated, where a file says so of every case, once."""
    file = next((folder / name for name in _SPLITS if (folder / name).is_file()), None)
    if file is None:
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    parts = content.get("folds", [*content.values()]) if isinstance(content, dict) else content
    parts = parts if isinstance(parts, list) else []
    of_case: dict[str, int] = {}
    for number, part in enumerate(parts):
        names: Any = part.get("val", part.get("valid", [])) if isinstance(part, dict) else part
        for name in names:
            case = str(name)[: len(str(name)) - len(volume_suffix(str(name)))]
            if of_case.setdefault(case, number) != number:
                return None  # a case is validated twice: no folds, but some other splits
    return [of_case[case] for case in cases] if set(cases) <= set(of_case) else None


@strict_keywords
def bids_table(
    folder: str | Path,
    image: str | Sequence[str] = "T1w",
    mask: str | None = "dseg",
    derivatives: str | Path | None = None,
    skip_incomplete: bool = False,
) -> pd.DataFrame:
    """Table of the cases of a BIDS data set and its derivatives (Brain Imaging Data Structure, bids.neuroimaging.io).

    One row for each subject, session and run. ``participants.tsv`` adds its columns.

    Args:
        folder: the data set: holds ``sub-*`` folders.
        image: which images: the suffix, and entities where several have it, such as ``'T1w'``, ``'acq-mprage_T1w'``
            or ``'space-T1w_desc-preproc_FLAIR'``. Several become channels.
        mask: which masks, in the same way, such as ``'dseg'``, ``'desc-lesion_mask'``; None: a table without masks.
        derivatives: where masks lie. Default: ``folder`` with its ``derivatives``.
        skip_incomplete: leave out cases that lack a channel or a mask, instead of an error.

    Returns:
        DataFrame with ``subject``, ``session`` and ``run`` (where there are any), the images (``image``, or a column
        for each of several) and ``mask``, as absolute paths. ``attrs``: ``fn_col`` and ``codes`` (from ``dseg.tsv``
        beside the masks, where there is one).

    Raises:
        FileNotFoundError: no such folder, no image at all, or a case without a channel or mask; it is named.
        ValueError: several files of a case fit; both are named.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("sub-01/anat/sub-01_T1w.nii.gz", "derivatives/hand/sub-01/sub-01_desc-lesion_mask.nii.gz"):
    ...         Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
    ...         Path(folder, name).touch()
    ...     table = bids_table(folder, "T1w", "desc-lesion_mask")
    >>> list(table.columns), table["subject"].tolist()
    (['subject', 'image', 'mask'], ['01'])
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    kinds = [image] if isinstance(image, str) else list(image)
    names = ["image"] if len(kinds) == 1 else kinds
    raw = [file for file in _bids_files([folder]) if not {"derivatives", "sourcedata"} & {*_below(file, folder)}]
    found = {name: _of_kind(raw, kind) for name, kind in zip(names, kinds, strict=True)}
    if mask is not None:
        places = [folder] if derivatives is None else [Path(derivatives).absolute()]
        found["mask"] = _of_kind(_bids_files(places), mask)
    cases = sorted({case for name in names for case in found[name]})
    if not cases:
        raise FileNotFoundError(f"{folder}: no image sub-*_{kinds[0]}.nii.gz below it, derivatives left out")
    rows = []
    for case in cases:
        files = {name: of_case.get(case) or _more_general(of_case, case) for name, of_case in found.items()}
        if missing := [name for name, file in files.items() if file is None]:
            if skip_incomplete:
                continue
            kind = dict(zip([*names, "mask"], [*kinds, mask], strict=True))
            raise FileNotFoundError(
                f"{folder}: {'_'.join(f'{key}-{value}' for key, value in case)} has no "
                f"{', '.join(f'{name} (*_{kind[name]}.*)' for name in missing)}; "
                "skip_incomplete=True leaves such cases out"
            )
        rows.append({_WORDS[key]: value for key, value in case} | {name: str(file) for name, file in files.items()})
    if not rows:
        raise FileNotFoundError(f"{folder}: none of the {len(cases)} cases has all of {', '.join(found)}")
    table = pd.DataFrame(rows)
    order = [word for word in _WORDS.values() if word in table]
    table = _with_participants(table[[*order, *found]], folder)
    table.attrs.update(fn_col=names if len(names) > 1 else names[0], codes=_codes_of(rows, mask))
    return table


_WORDS = {"sub": "subject", "ses": "session", "run": "run"}
_Case = tuple[tuple[str, str], ...]


def _below(file: Path, folder: Path) -> tuple[str, ...]:
    return file.relative_to(folder).parts


def _bids_files(folders: Iterable[Path]) -> list[Path]:
    """The volumes below folders whose names begin with a subject."""
    return [file for folder in folders for file in get_volumetric_files(folder) if file.name.startswith("sub-")]


def _entities(name: str) -> tuple[dict[str, str], str]:
    """Entities and suffix of a BIDS name without its extension: ``sub-01_acq-a_T1w`` has sub, acq and T1w."""
    *parts, suffix = name.split("_")
    pairs = [found for part in parts if (found := _ENTITY.fullmatch(part))]
    return {found[1]: found[2] for found in pairs}, suffix


def _of_kind(files: Iterable[Path], kind: str) -> dict[_Case, Path]:
    """Case -> its file of a suffix and some entities."""
    wanted, suffix = _entities(kind)
    found: dict[_Case, Path] = {}
    for file in files:
        entities, own = _entities(file.name.removesuffix(volume_suffix(file.name)))
        if own != suffix or any(entities.get(key) != value for key, value in wanted.items()):
            continue
        case = tuple((key, entities[key]) for key in _WORDS if key in entities)
        if case in found:
            raise ValueError(
                f"two files of one case are {kind}: {found[case]} and {file}. Say which by entities, such as "
                f"'desc-...{'_' + suffix}', or name the folder of derivatives"
            )
        found[case] = file
    return found


def _more_general(of_case: Mapping[_Case, Path], case: _Case) -> Path | None:
    """The file that is of a case without naming its run: one mask drawn for all runs of a session."""
    return of_case.get(tuple(pair for pair in case if pair[0] != "run"))


def _with_participants(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    file = folder / "participants.tsv"
    if not file.is_file():
        return table
    people = pd.read_csv(file, sep="\t", dtype={"participant_id": str})
    if "participant_id" not in people:
        raise ReadError(f"{file}: has no column participant_id")
    people = people.rename(columns={"participant_id": "subject"})
    people["subject"] = people["subject"].str.removeprefix("sub-")
    people = people[[name for name in people if name == "subject" or name not in table]]
    return table.merge(people, how="left", on="subject")


def _codes_of(rows: Sequence[Mapping[str, str]], mask: str | None) -> list[str] | None:
    """Names of labels from a table ``index, name`` beside the masks: ``sub-..._dseg.tsv``, or one of the data set."""
    if mask is None or _entities(mask)[1] != "dseg":
        return None
    file = Path(rows[0]["mask"])
    own = file.with_name(f"{file.name.removesuffix(volume_suffix(file.name))}.tsv")
    above = [
        found for parent in file.parents[:4] for found in sorted(parent.glob("*dseg.tsv")) if "sub-" not in found.name
    ]
    table = next((found for found in (own, *above) if found.is_file()), None)
    if table is None:
        return None
    content = pd.read_csv(table, sep="\t")
    if not {"index", "name"} <= set(content):
        raise ReadError(f"{table}: a table of labels needs the columns index and name")
    names = {int(index): str(name) for index, name in zip(content["index"], content["name"], strict=True)}
    return [names.get(label, "background" if label == 0 else f"class {label}") for label in range(max(names) + 1)]
