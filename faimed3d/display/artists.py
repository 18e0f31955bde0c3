"""Which keywords matplotlib takes for what it draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any  # of matplotlib's constructors

from matplotlib.artist import Artist, ArtistInspector

from faimed3d._keywords import keywords_of


@cache
def artist_keywords(kind: type[Artist], function: Callable[..., Any]) -> tuple[str, ...]:
    """The keywords of a function of matplotlib that draws artists of a kind: its own, and the properties of the artist.

    >>> from matplotlib.axes import Axes
    >>> from matplotlib.image import AxesImage
    >>> {"vmin", "interpolation", "zorder"} <= set(artist_keywords(AxesImage, Axes.imshow))
    True
    """
    properties = ArtistInspector(kind)
    aliases = [name for names in properties.aliasd.values() for name in names]
    found = [*keywords_of(function), *properties.get_setters(), *aliases]
    return tuple(name for name in found if name not in ("self", "X", "x", "verts"))
