"""``t.metadata``: a read-only mapping over a volume's geometry and the headers of the files it was read from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from faimed3d.geometry import Geometry

if TYPE_CHECKING:
    from faimed3d.io import SourceHeader

__all__ = ["Metadata"]

_GEOMETRY = ("spacing", "origin", "direction")


class Metadata(Mapping[str, Any]):  # numbers, texts, a table
    """``spacing``, ``origin``, ``direction`` where the geometry is known; ``table`` where there are files to read.

    Header values are read from the files at the moment they are asked for and are not kept: by tag (``'0010|0010'``) or
    DICOM keyword (``'PatientName'``), one value where all slices share it, else the list of theirs. Tags that the
    user has set on the tensor come after these keys, and stand in for the header's own.

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
        names = names_of(key)
        set_by_user = next((name for name in names if name in self._tags), None)
        if set_by_user is not None and self._tags[set_by_user] is not None:
            return self._tags[set_by_user]
        if key in _GEOMETRY:
            if self._geometry is None:
                raise KeyError(f"{key}: this tensor has no geometry (or one per item: index the batch first)")
            return getattr(self._geometry, key)
        if key == "table":
            if self._header is None:
                raise KeyError("table: this tensor was not read from files, or was sent here without its headers")
            return self._header.table()
        if self._header is None or set_by_user is not None:
            raise KeyError(key)
        values = self._header.values_of(names)
        if values is None:
            raise KeyError(f"{key}{_hint(key, self._header.format)}")
        return _one_or_all(values)

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


def names_of(key: str) -> tuple[str, ...]:
    """The names of a header value: as it was asked for, and of a tag of the standard the keyword, or the tag of one.

    >>> names_of("PatientName"), names_of("0010|0010"), names_of("note")
    (('PatientName', '0010|0010'), ('0010|0010', 'PatientName'), ('note',))
    """
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]+|[0-9a-f]{4}\|[0-9a-f]{4}", key):
        return (key,)
    from pydicom.datadict import keyword_for_tag, tag_for_keyword  # pydicom takes time to import

    if "|" in key:
        number = int(key.replace("|", ""), 16)
        other = keyword_for_tag(number)
        return (
            (key, other) if other and tag_for_keyword(other) == number else (key,)
        )  # groups that repeat share keywords
    tag = tag_for_keyword(key)
    return (key,) if tag is None else (key, f"{tag >> 16:04x}|{tag & 0xFFFF:04x}")


def without(tags: Mapping[str, Any] | None, key: str) -> dict[str, Any]:
    """Tags that the user has set, but for a value, by whatever name."""
    return {name: value for name, value in (tags or {}).items() if name not in names_of(key)}


def _hint(key: str, kind: str) -> str:
    """What a message says of a header value that is not there."""
    if kind != "dicom":
        return ": no field of this header; metadata['table'] lists them"
    from pydicom.datadict import keyword_dict

    near = [] if len(names_of(key)) > 1 else get_close_matches(key, keyword_dict, n=1, cutoff=0.8)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f": no such tag or keyword in this header, whose values metadata['table'] lists{meant}"


def _one_or_all(of_slices: Iterable[Any]) -> Any:
    """The value that all slices share, or the list of theirs."""
    values = list(of_slices)
    return values[0] if all(value == values[0] for value in values) else values
