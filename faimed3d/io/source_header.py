"""Where the header of a volume can be read again: the names of its files, and no value of it but its padding."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faimed3d.io.metaimage import read_metaimage_header
from faimed3d.io.mgh import read_mgh_header
from faimed3d.io.nifti import read_nifti_header
from faimed3d.io.npy import read_npy_header
from faimed3d.io.nrrd import read_nrrd_header

if TYPE_CHECKING:
    import pandas as pd

_HEADER_READERS = {
    "nifti": read_nifti_header,
    "nrrd": read_nrrd_header,
    "metaimage": read_metaimage_header,
    "mgh": read_mgh_header,
    "npy": read_npy_header,
}
_TECHNICAL = frozenset(
    (  # of NRRD, MetaImage and npy, whose fields are all text
        *("type", "dimension", "space", "space dimension", "sizes", "space directions", "space origin", "space units"),
        *("kinds", "endian", "encoding", "spacings", "axis mins", "axis maxs", "centers", "thicknesses"),
        *("ObjectType", "NDims", "DimSize", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "Offset"),
        *("CompressedData", "CompressedDataSize", "TransformMatrix", "CenterOfRotation", "AnatomicalOrientation"),
        *("ElementSpacing", "ElementSize", "ElementType", "ElementNumberOfChannels", "HeaderSize"),
        *("shape", "fortran_order", "descr"),
    )
)


@dataclass(frozen=True, slots=True, repr=False)
class SourceHeader:
    """Where the header of a volume can be read; it holds file names, and no header value of a patient.

    Args:
        files: the files that the volume came from; of DICOM one a slice, in slice order.
        format: 'dicom', 'nifti', 'nrrd', 'metaimage', 'mgh' or 'npy'; '' without files.
        padding: ranges (low, high) of values that are padding, in the units of the image.

    >>> SourceHeader(("scan.hdr", "scan.img"), "nifti")
    SourceHeader(2 files)
    """

    files: tuple[str, ...] = ()
    format: str = ""
    padding: tuple[tuple[float, float], ...] = ()

    def table(self, deidentify: bool = False) -> pd.DataFrame:
        """Read the header from the files, anew at each call: it is data about a patient.

        Args:
            deidentify: leave out identifying tags; of formats other than DICOM keep technical fields alone. No
                substitute for a reviewed de-identification.

        Returns:
            Column ``tags`` (of DICOM like ``0008|0005``, else names of header fields), then one column for each slice
            file (of other formats for the header file), named by its path. Of DICOM the index has the keywords.
        """
        import pandas as pd

        if self.format == "dicom":
            from faimed3d.dicom import header_table  # pydicom takes time to import

            return header_table(list(self.files), deidentify=deidentify)
        if not self.files:
            return pd.DataFrame({"tags": []})
        path = self.files[0]
        fields = _HEADER_READERS[self.format](path)
        if deidentify:
            fields = {name: value for name, value in fields.items() if _is_technical(name, value)}
        return pd.DataFrame({"tags": list(fields), path: list(fields.values())}, dtype=object)

    def values_of(self, names: Sequence[str]) -> list[Any] | None:
        """What the files hold under the first of some names that they know, one value for each file; None for none.

        Args:
            names: tags of DICOM like ``0008|0005``, names of header fields of other formats.
        """
        if self.format == "dicom":
            from faimed3d.dicom.header.header_table import header_values  # pydicom takes time to import

            tags = (int(name.replace("|", ""), 16) for name in names if re.fullmatch(r"[0-9a-f]{4}\|[0-9a-f]{4}", name))
            return next((found for tag in tags if (found := header_values(self.files, tag)) is not None), None)
        rows = self.table().set_index("tags")
        row = next((name for name in names if name in rows.index), None)
        return None if row is None else rows.loc[row].tolist()

    def __repr__(self) -> str:
        return f"SourceHeader({len(self.files)} file{'' if len(self.files) == 1 else 's'})"


def _is_technical(name, value):
    """Whether a header field is known to hold no text about a patient; numbers in a text field may be an ID."""
    return isinstance(value, int | float | list) or name in _TECHNICAL


def modality_of(volume: Any) -> str:
    """(0008,0060) Modality of the DICOM files that a volume was read from, such as 'CT'; '' where there are none.

    Args:
        volume: a tensor that may know its files.
    """
    header = getattr(volume, "_header", None)
    if header is None or header.format != "dicom" or not header.files or not os.path.isfile(header.files[0]):
        return ""
    from pydicom import dcmread  # takes time to import

    found = dcmread(header.files[0], stop_before_pixels=True, specific_tags=["Modality"], force=True)
    return str(found.get("Modality", "") or "")


def source_name(volume: object) -> str:
    """How messages name a volume: its file, of a DICOM series the folder."""
    header = getattr(volume, "_header", None)
    files = header.files if header is not None else ()
    if not files:
        from faimed3d.masks import is_mask  # brings torch, which reading does without

        return "a mask from memory" if is_mask(volume) else "an image from memory"
    return files[0] if len(files) == 1 else os.path.dirname(files[0])
