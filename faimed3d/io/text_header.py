"""What the text headers of NRRD and MetaImage share: numbers, names of data files, and what messages may quote."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection

from faimed3d._decimals import decimal_number
from faimed3d.errors import DamagedFile, UnsupportedImage

_LONGEST = 80
_LIST = re.compile(r"LIST *([0-9]+D?)?")
_FILE_NAME = re.compile(r"([A-Za-z]:)?[^:=\x00-\x1f\x7f]{1,255}")  # without what begins the value of another field


def real_number(word: str) -> float:
    """The number of a word; NaN and infinity are numbers in these headers.

    Raises:
        ValueError: the word is no number.
    """
    return decimal_number(word, nonfinite=True)


def quote_known(text: str, known: Collection[str] = ()) -> str:
    """A header value as a message quotes it: not at all, unless all its words are numbers or known to the format.

    A line that has lost its end swallows those behind it, the patient's name among them.

    >>> quote_known("none (1,0,0)", known=("none",)), quote_known("3 Doe^Jane")
    ("'none (1,0,0)'", 'a damaged value')
    """
    words = [word for word in re.split(r'[\s,()"]+', text) if word]
    if len(text) <= _LONGEST and all(word.lower() in known or _is_number(word) for word in words):
        return repr(text)
    return "a damaged value"


def _is_number(word):
    try:
        real_number(word)
    except ValueError:
        return False
    return True


def close_match(name: str, known: Collection[str]) -> str | None:
    """The known name that a damaged one stands for, or None."""
    return next(iter(difflib.get_close_matches(name, known, 1, 0.8)), None)


def data_file(path: str, name: str) -> str:
    """Path of the file that a header names for its voxels, relative to the header's own folder.

    A file of just that name counts first, even if the format would take the name for a pattern; its bytes are those of
    the header, or those that they mean as Latin-1.

    Args:
        path: the header.
        name: the name in it, decoded as UTF-8 with ``surrogateescape``.

    Raises:
        UnsupportedImage: the name stands for several files.
        FileNotFoundError: no such file. DamagedFile: it is a folder or a device.
    """
    raw = name.encode("utf-8", "surrogateescape")
    found = [os.path.join(os.path.dirname(path), text) for text in (os.fsdecode(raw), raw.decode("latin-1"))]
    if not _LIST.fullmatch(name):
        for file in found:
            if name and os.path.isfile(file):
                return file
    if _LIST.fullmatch(name) or "%" in name:
        raise UnsupportedImage(f"{path}: its voxels lie in several files; save them as one file")
    if not _FILE_NAME.fullmatch(name):
        raise DamagedFile(f"{path}: the name of the file of its voxels is damaged")
    if os.path.exists(found[0]):
        raise DamagedFile(f"{path}: its voxels should lie in {found[0]}, which is a folder or a device")
    raise FileNotFoundError(f"{path}: its voxels should lie in {found[0]}, which does not exist")


def readable(text: str) -> str:
    """A value that was decoded with ``surrogateescape``, for people to read: bytes that are no UTF-8 are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
