"""Training from a cache stops where the files that its cases were made of have changed."""

from __future__ import annotations

from fastai.callback.core import Callback

from faimed3d._keywords import StrictKeywords
from faimed3d.cache import Cache


class CheckSources(StrictKeywords, Callback):
    """Look before each fit whether the sources of a cache are what they were: one look at the status of each file.

    The learners for volumes bring it. It acts where ``learn.dls.cache`` is a :class:`faimed3d.cache.Cache`.

    Raises:
        StaleCache: a source file has changed, or is gone.

    >>> CheckSources().order
    -20
    """

    order = -20  # before anything is prepared for a fit that may not come

    def __init__(self) -> None:
        super().__init__()

    def before_fit(self) -> None:
        """Check."""
        cache = getattr(self.learn.dls, "cache", None)
        if isinstance(cache, Cache):
            cache.check()
