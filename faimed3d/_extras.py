"""Packages that only some functions need: imported when one is called, and named with their extra if absent."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

_OF_IMAGES = ("SimpleITK", "nibabel", "monai", "torchio")


def library_of(thing: Any) -> str:
    """The library of medical images whose class, or a class derived from it, an object is of; '' for all others.

    Nothing is imported: who has such an object has its library.

    >>> import nibabel
    >>> library_of(nibabel.Nifti1Header()), library_of([])
    ('nibabel', '')
    """
    homes = [base.__module__.partition(".")[0] for base in type(thing).__mro__]
    return next((home for home in homes if home in _OF_IMAGES), "")


def import_extra(module: str, extra: str, what: str) -> ModuleType:
    """Import a package of one of the extras of ``settings.ini``.

    Args:
        module: name of the module.
        extra: name of the extra that installs it.
        what: what needs it, for the message.

    Raises:
        ImportError: it is not installed; the message names the extra.

    >>> import_extra("json", "viewer", "the viewer").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{what} needs {package}: pip install {package} (or faimed3d with its extra {extra!r})"
        ) from error
