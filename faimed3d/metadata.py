"""``t.metadata``: a read-only mapping over a volume's geometry and the headers of the files it was read from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from faimed3d.geometry import Geometry

if TYPE_CHECKING:
    from faimed3d.io import SourceHeader

__all__ = ["Metadata"]

_GEOMETRY = ("spacing", "origin", "direction")


class Metadata(Mapping[str, Any]):  # numbers, texts, a table
    """``spacing``, ``origin``, ``direction`` where the geometry is known; ``table`` where there are files to read.

    Header values are read from the files at the moment they are asked for and are not kept. Tags that the user has set
    on the tensor come after these keys, and stand in for the header's own.

    Args:
        geometry: Geometry or None.
        header: of the files that were read, or None.
        tags: those set by the user; a value of None hides the tag of the file.

    >>> metadata = Metadata(Geometry((2, 3, 4), spacing=(1, 2, 3)), tags={"note": "checked"})
    >>> metadata["spacing"], metadata["note"], "table" in metadata
    ((1.0, 2.0, 3.0), 'checked', False)
    """

    def __init__(
        self,
        geometry: Geometry | None = None,
        header: SourceHeader | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        self._geometry, self._header, self._tags = geometry, header, dict(tags or {})

    def __getitem__(self, key: str) -> Any:
        if key in self._tags and self._tags[key] is not None:
            return self._tags[key]
        if key in _GEOMETRY:
            if self._geometry is None:
                raise KeyError(f"{key}: this tensor has no geometry (or one per item: index the batch first)")
            return getattr(self._geometry, key)
        if key == "table":
            if self._header is None:
                raise KeyError("table: this tensor was not read from files, or was sent here without its headers")
            return self._header.table()
        if self._header is None or key in self._tags:
            raise KeyError(key)
        rows = self._header.table().set_index("tags")
        if key not in rows.index:
            raise KeyError(key)
        return _one_or_all(rows.loc[key].tolist())

    @property
    def assumed(self) -> str | None:
        """What of the geometry nobody has stated, as its ``assumed`` says; None where there is no geometry."""
        return None if self._geometry is None else self._geometry.assumed

    def __iter__(self) -> Iterator[str]:
        if self._geometry is not None:
            yield from _GEOMETRY
        if self._header is not None:
            yield "table"
        yield from (key for key, value in self._tags.items() if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return key in list(self)

    def __setitem__(self, key: str, value: object) -> None:
        raise TypeError(
            f"metadata is read-only; use t.set_spacing, t.set_origin, t.set_direction or t.set_metadata({key!r})"
        )

    def __repr__(self) -> str:
        return f"Metadata({self._geometry!r}, keys: {', '.join(self) or 'none'})"

    def to_json(self) -> str:
        """JSON text of the geometry, the tags set by the user, and the header (one value, or one per slice, by tag)."""
        content = {key: self[key] for key in self if key != "table"}
        if self._header is not None:
            rows = self._header.table().set_index("tags")
            content["header"] = {tag: _one_or_all(row) for tag, row in zip(rows.index, rows.to_numpy(), strict=True)}
        return json.dumps(content, indent=2, default=str)


def _one_or_all(of_slices: Iterable[Any]) -> Any:
    """The value that all slices share, or the list of theirs."""
    values = list(of_slices)
    return values[0] if all(value == values[0] for value in values) else values
