"""What the writers of segmentations, structure sets and reports share: where the file goes, and how it gets there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from faimed3d._atomic import replace_file, unfinished_folder

Found = TypeVar("Found")


def target_file(path: str | bytes | os.PathLike[str]) -> str:
    """The absolute path of a file that can be written.

    Raises:
        FileNotFoundError: its folder does not exist. IsADirectoryError: it is a folder.
    """
    path = os.path.abspath(os.fsdecode(path))
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: the folder {folder} does not exist; create it first")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder, not a file")
    return path


def write_checked(path: str, content: bytes | memoryview, check: Callable[[str], Found]) -> Found:
    """Write a file whole or not at all: it gets its name when it was read back.

    Args:
        path: of :func:`target_file`.
        content: the bytes.
        check: reads the file back, under another name, and raises an error if it is wrong. What it returns is returned.
    """
    with unfinished_folder(path) as unfinished:
        made = os.path.join(unfinished, "object.dcm")
        with open(made, "wb") as file:
            file.write(content)
        found = check(made)
        replace_file(made, path)
    return found


@contextmanager
def highdicom_errors(path: str, what: str, image: str) -> Iterator[None]:
    """Say what highdicom could not make: it raises many kinds of errors, and quotes the images in their texts.

    Args:
        path: file that was to be written.
        what: what was to be made of the images, such as 'segmentation'.
        image: one of the images.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path}: highdicom makes no {what} of these images ({type(error).__name__}): a value in the headers of "
            f"{image} and its neighbours breaks a rule of DICOM"
        ) from None
