"""The JavaScript of the viewer: NiiVue out of the package ``ipyniivue``, and ours."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from faimed3d._extras import import_extra

_STATIC = Path(__file__).parent / "static"
_ADVICE = "pip install 'ipyniivue>=2.4.4,<2.5'"


def require_engine(what: str) -> None:
    """Check that the packages of the extra ``viewer`` are there.

    Args:
        what: what needs them, for the message.

    Raises:
        ImportError: one is not installed.
    """
    try:
        import_extra("ipyniivue", "viewer", what)
    except ImportError as error:
        raise ImportError(f"{error}. Without it, .show() draws slices with matplotlib") from error


@cache
def engine_source() -> str:
    """NiiVue as one JavaScript module that exports ``Niivue`` and ``NVImage`` and asks for nothing on the network.

    ipyniivue's bundle holds it whole, percent-encoded, for the pages that it saves. Its own widget is not used: that
    one sends every volume back to Python once it is loaded.

    Raises:
        ImportError: ipyniivue is not installed, or its bundle is of another make.
    """
    package = import_extra("ipyniivue", "viewer", "view_3d")
    assert package.__file__ is not None  # it is no namespace
    bundle = (Path(package.__file__).parent / "static" / "widget.js").read_text(encoding="utf-8")
    found = re.search(r'="([^"\n]*export%7B[^"\n]*Niivue[^"\n]*)"', bundle)
    if found is None:
        raise ImportError(
            f"the JavaScript of ipyniivue {getattr(package, '__version__', '')} does not hold NiiVue in the form that "
            f"view_3d knows: {_ADVICE}"
        )
    return unquote(found.group(1))


@cache
def packed_engine() -> bytes:
    """The module of :func:`engine_source`, packed by gzip."""
    return packed(engine_source().encode())


def packed(data: bytes) -> bytes:
    """Bytes by gzip, the same for the same bytes."""
    from isal import igzip  # only pages and notebooks need it

    return igzip.compress(data, compresslevel=3, mtime=0)


def viewer_source() -> str:
    """Our JavaScript: the controls around NiiVue, the same in a notebook and in a saved page."""
    return (_STATIC / "viewer.js").read_text(encoding="utf-8")


def style_source() -> str:
    """The style sheet of the controls."""
    return (_STATIC / "viewer.css").read_text(encoding="utf-8")
