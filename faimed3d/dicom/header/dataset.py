"""pydicom's data sets, with pydicom's warnings, log lines and exceptions kept inside: they quote values of the header.

Sequences, private blocks and the elements that a caller asks for are read in this way.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from faimed3d.errors import DamagedFile

_BINARY = ("SQ", "OB", "OW", "UN", "OF", "OD", "OL", "OV")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom and highdicom silent: where a value breaks a rule, their warnings and log lines quote it."""

    def never(record: logging.LogRecord) -> bool:
        return False

    names = [name for name in list(logging.root.manager.loggerDict) if name.split(".")[0] in ("pydicom", "highdicom")]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(never)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(never)


def read_dataset(path: str | os.PathLike[str], tags: list[int] | list[str] | None = None) -> Dataset:
    """Read the header of a file with pydicom.

    Args:
        path: the file.
        tags: tags or keywords of the elements to read; None for all.

    Raises:
        DamagedFile: pydicom cannot make sense of the file.
    """
    with open(path, "rb") as file, quiet():
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags, force=True)
            dataset.decode()
        except Exception as error:  # pydicom raises many kinds on damaged input; their texts may quote the header
            raise DamagedFile(f"{path}: pydicom cannot read the header ({type(error).__name__})") from None
    return dataset


def dataset_bytes(dataset: Dataset, name: str) -> memoryview:
    """A data set as the bytes of its file.

    Args:
        dataset: with its file meta information.
        name: of the file to be written, for the error.

    Raises:
        ValueError: pydicom cannot write a value.
    """
    stream = io.BytesIO()
    try:
        dataset.save_as(stream, enforce_file_format=True)
    except Exception as error:  # its text quotes the value and holds a traceback
        raise ValueError(
            f"{name}: pydicom cannot write a value of the header ({type(error).__name__}); is it one of the template?"
        ) from None
    return stream.getbuffer()


def value_text(element: DataElement) -> str:
    """Value of an element as tables show it: several joined by a backslash, '' for binary values and sequences.

    >>> value_text(DataElement(0x00280030, "DS", ["0.5", "0.75"]))
    '0.5\\\\0.75'
    """
    value = element.value
    if value is None or element.VR in _BINARY:
        return ""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__") or (element.VR == "PN" and element.VM == 1):
        return str(value)
    return "\\".join(map(str, value))
