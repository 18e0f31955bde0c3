"""Names of 0.0.6 that work and are not listed: completion shows what to use today."""

from __future__ import annotations


class HiddenFromDir:
    """Base of classes that add methods of 0.0.6 to a type: ``dir()`` of its instances leaves them out."""

    __slots__ = ()

    def __dir__(self) -> list[str]:
        added = [vars(kind) for kind in type(self).__mro__ if kind.__module__.startswith("faimed3d.legacy.")]
        hidden = {name for names in added for name in names if not name.startswith("_")}
        return sorted(set(super().__dir__()) - hidden)
