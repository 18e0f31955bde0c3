"""Values of text headers (NRRD, MetaImage): numbers, names of data files, and what of them a message may quote."""

from __future__ import annotations

import difflib
import os
import re

from faimed3d._decimals import decimal_number
from faimed3d.errors import DamagedFile, UnsupportedImage

__all__ = ["close_match", "data_file", "readable", "real_number", "shown"]

_LONGEST = 80
_LIST = re.compile(r"LIST *([0-9]+D?)?")
_FILE_NAME = re.compile(r"([A-Za-z]:)?[^:=\x00-\x1f\x7f]{1,255}")  # without what begins the value of another field


def real_number(word):
    """The number of a word, NaN and infinity among them.

    Raises:
        ValueError: the word is no number.
    """
    return decimal_number(word, nonfinite=True)


def _is_number(word):
    try:
        real_number(word)
    except ValueError:
        return False
    return True


def shown(text, known=()):
    """A header value as a message quotes it: not at all, unless all its words are numbers or known to the format.

    A line that has lost its end swallows those behind it, the patient's name among them.
    """
    words = [word for word in re.split(r'[\s,()"]+', text) if word]
    if len(text) <= _LONGEST and all(_is_number(word) or word.lower() in known for word in words):
        return repr(text)
    return "a damaged value"


def close_match(name, known):
    """The known name that a damaged one stands for, or None."""
    return next(iter(difflib.get_close_matches(name, known, 1, 0.8)), None)


def data_file(path, name):
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


def readable(text):
    """A value that was decoded with ``surrogateescape``, for people to read: bytes that are no UTF-8 are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
