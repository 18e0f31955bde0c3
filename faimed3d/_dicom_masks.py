"""What masks do with the DICOM scan that they belong to, as methods of ``TensorMask3D``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from faimed3d._assumed import warn_if_assumed
from faimed3d._keywords import strict_keywords
from faimed3d._like import STORED_TOLERANCE, grid_of, is_part
from faimed3d.display.colors import class_color
from faimed3d.geometry import Geometry
from faimed3d.io.writing import of_mask_files
from faimed3d.masks.labels import as_integers

if TYPE_CHECKING:
    from faimed3d.dicom.volume_report import VolumeReport
    from faimed3d.dicom.writing.concepts import GivenConcepts


def planes_of_scan(mask: Any, image: Any) -> Any:
    """A DICOM Segmentation on all planes of its image, stored as the image is: it may leave empty ones out.

    Args:
        mask: as it was read; what is no segmentation, or lies on no part of the image's grid, stays.
        image: the scan.

    Raises:
        UnsupportedImage: it is of another frame of reference.
    """
    if mask._header is None or mask._header.format != "dicom":
        return mask
    from faimed3d.dicom.segmentation.frame_of_reference import is_segmentation  # pydicom takes time to import

    grid = grid_of(image)
    if mask.geometry is None or not isinstance(grid, Geometry) or not is_segmentation(mask._header.files[0]):
        return mask
    refuse_other_scan(mask, image)
    turned = mask.reorient(grid.orientation)
    if is_part(turned.geometry, grid):
        return turned.resample_like(grid)
    return turned if turned.geometry.agrees(grid, STORED_TOLERANCE) else mask


def refuse_other_scan(mask: Any, image: Any) -> None:
    """Refuse a DICOM Segmentation in another frame of reference than an image, where both come from DICOM files.

    Args:
        mask: as it was read.
        image: the scan; of what comes from no DICOM file nothing is known.

    Raises:
        UnsupportedImage: it belongs to another scan.
    """
    of_mask, of_image = mask._header, getattr(image, "_header", None)
    if of_mask is None or of_image is None or not of_mask.format == of_image.format == "dicom":
        return
    from faimed3d.dicom.segmentation.frame_of_reference import refuse_other_frame  # pydicom takes time to import

    refuse_other_frame(of_mask.files[0], of_image.files)


class DicomMaskMethods:
    """Methods of ``TensorMask3D``, which it inherits beside those of ``TensorDicom3D``."""

    __slots__ = ()

    @strict_keywords(more=of_mask_files)
    def save(self: Any, path: str | Path, *, like: Any = None, form: str = "seg", **dicom: Any) -> None:
        """Write labels, geometry and names to ``path``, whole or not at all.

        Args:
            path: as of images; with ``like`` a DICOM file.
            like: the DICOM images that the mask belongs to, which a segmentation or a structure set refers to: a volume
                read from them, a row of ``dicom_inventory``, or their folder. Nothing of a patient but
                ``faimed3d.dicom.writing.TEMPLATE_KEYWORDS`` is taken from them.
            form: with ``like``: 'seg', a DICOM Segmentation, or 'rtstruct', contours of an RT Structure Set; a warning
                says which classes these hold badly.
            dicom: what :func:`faimed3d.dicom.write_seg`, ``write_rtstruct`` or ``write_series`` take.
        """
        if like is None:
            super().save(path, **dicom)  # type: ignore[misc] # of TensorDicom3D
            return
        from faimed3d.dicom.mask_objects import write_mask  # pydicom takes time to import

        geometry = self.require_geometry("save")
        warn_if_assumed(geometry, "save")
        labels = as_integers(self._plain())
        if form == "rtstruct":
            dicom.setdefault("colors", {label: class_color(label) for label in labels.unique().tolist() if label > 0})
        if self.codes is not None:
            known = {label: name for label, name in self.codes.items() if label and (labels == label).any()}
            dicom.setdefault("labels", known)
            if dicom.get("concepts"):  # of classes that this mask could have had
                absent = set(self.codes.values()) - set(known.values())
                dicom["concepts"] = {name: one for name, one in dicom["concepts"].items() if name not in absent}
        write_mask(path, labels.numpy(), geometry, like, form, **dicom)

    def report(
        self: Any,
        like: Any,
        algorithm: str | None = None,
        segmentation: str | Path | None = None,
        concepts: GivenConcepts | None = None,
    ) -> VolumeReport:
        """The volume of each class in mm³: as one line (``str``), ``to_dict()``, and ``save(file)`` as a DICOM SR.

        Args:
            like: the DICOM images that the mask belongs to, as of :meth:`save`.
            algorithm: name of the program or network that made the mask; None: drawn by hand.
            segmentation: the DICOM Segmentation that the mask was saved as, to whose segments the SR refers.
            concepts: codes of classes by name, as of :func:`faimed3d.dicom.write_seg`.
        """
        from faimed3d.dicom.mask_objects import images_of  # pydicom takes time to import
        from faimed3d.dicom.volume_report import volume_report

        geometry = self.require_geometry("report")
        warn_if_assumed(geometry, "report", spacing_alone=True)
        labels = as_integers(self._plain()).numpy()
        return volume_report(labels, geometry, images_of(like), self.codes, algorithm, segmentation, concepts)
