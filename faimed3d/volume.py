"""Volumes as tensors: ``TensorDicom3D`` for images, ``TensorMask3D`` for labels.

Axes are ``(..., D, H, W)``; spacing, origin and direction are SimpleITK's (x, y, z), LPS, mm: ``faimed3d.geometry``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fastcore.foundation import L
from numpy.typing import ArrayLike
from torch import Tensor
from typing_extensions import Self

from faimed3d import intensity, io, spatial
from faimed3d._assumed import warn_if_assumed
from faimed3d._dicom_masks import DicomMaskMethods, planes_of_scan
from faimed3d._exchange import ExchangeMethods, plain_tensor
from faimed3d._extras import library_of
from faimed3d._keywords import strict_keywords
from faimed3d._like import grid_like, grid_of
from faimed3d._padding import attach_padding, padding_of
from faimed3d._pictures import PictureMethods
from faimed3d._rows import is_row, only_row, place_of
from faimed3d.display import mesh, render_3d
from faimed3d.display.rendering import of_surfaces, per_class
from faimed3d.geometry import Geometry
from faimed3d.io.casting import cast
from faimed3d.io.formats import structure_set_in
from faimed3d.io.nrrd_segments import Segment, codes_of, read_segments, segments_for
from faimed3d.io.other_libraries import NAMED, from_library
from faimed3d.io.source_header import source_name
from faimed3d.io.writing import of_series
from faimed3d.legacy.tensors import LegacyMaskMethods, LegacyVolumeMethods
from faimed3d.masks import class_volumes, is_mask
from faimed3d.masks.codes import Codes, frozen_codes
from faimed3d.masks.labels import as_integers
from faimed3d.masks.regions import region_volumes
from faimed3d.metadata import Metadata, without
from faimed3d.tracking import TrackedTensor, attach_grid, current_grid, fits_shape

if TYPE_CHECKING:
    import pandas as pd
    import SimpleITK as sitk
    from mpl_toolkits.mplot3d import Axes3D
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

__all__ = ["TensorDicom3D", "TensorMask3D"]


class TensorDicom3D(LegacyVolumeMethods, ExchangeMethods, PictureMethods, TrackedTensor):
    """A volume (..., D, H, W) that knows its geometry in the patient.

    Every torch operation keeps the geometry exact or drops it (``t.geometry is None``); see ``faimed3d.tracking``.

    Args:
        x: tensor, array or nested sequence. A ``TensorDicom3D`` hands on its geometry (or its lack of one); anything
            else of at least three axes starts at spacing 1 mm, origin 0 and identity direction, which are known to be
            assumed (``t.geometry.stated`` is False) until they are set.
        metadata: a ``Geometry``, or a mapping with some of ``spacing``, ``origin``, ``direction``.
        like: a volume of the same (D, H, W), in whose place ``x`` lies, voxel by voxel; or a ``Geometry``, a SimpleITK
            image, a path.
        kwargs: further attributes to set, as fastai's TensorBase does.

    Raises:
        ValueError: a geometry of another shape, or for fewer than three axes; ``x`` says itself that it does not lie
            where ``like`` lies.

    >>> image = TensorDicom3D(torch.zeros(2, 3, 4), {"spacing": (1, 2, 3)})
    >>> image
    TensorDicom3D 2x3x4 torch.float32, spacing 1x2x3 mm (x, y, z)
    >>> image[:, ::2].geometry.spacing
    (1.0, 4.0, 3.0)
    >>> TensorMask3D(image.numpy() > 0, like=image)
    TensorMask3D 2x3x4 torch.bool, spacing 1x2x3 mm (x, y, z)
    """

    __slots__ = ("_header", "_tags")
    _carried: tuple[str, ...] = ("_header", "_tags")
    _pickled: tuple[str, ...] = ("_tags",)  # not where the header is: file names may tell a patient's
    _header: io.SourceHeader | None
    _tags: dict[str, Any] | None

    def __new__(
        cls, x: Any, metadata: Geometry | Mapping[str, Any] | None = None, *, like: Any = None, **kwargs: Any
    ) -> Self:  # x: what torch.as_tensor takes
        if isinstance(x, TensorDicom3D):
            self = x.as_subclass(cls)
        else:
            plain = plain_tensor(x)
            self = plain.as_subclass(cls)
            for name in ("_padding", *cls._carried):  # a slot that is not set takes longer to ask
                setattr(self, name, None)
            if plain.ndim >= 3 and 0 not in plain.shape[-3:]:
                attach_grid(self, Geometry(plain.shape[-3:], assumed="all"))
        if metadata is not None and like is not None:
            raise TypeError("metadata and like both say where the tensor lies: pass one of them")
        if metadata is not None:
            attach_grid(self, _geometry_from(metadata, self))
        if like is not None:
            attach_grid(self, grid_like(like, self.shape, current_grid(self)))
        for name, value in kwargs.items():
            if get_close_matches(name, ("metadata", "geometry", "spacing", "origin", "direction"), cutoff=0.8):
                raise TypeError(
                    f"{cls.__name__}() takes no argument {name!r}: say where it lies with like=, or with metadata, "
                    "a Geometry or {'spacing': (x, y, z), 'origin': ..., 'direction': ...}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        if self.ndim < 3:
            return super().__repr__()
        text = f"{type(self).__name__} {'x'.join(map(str, self.shape))} {self.dtype}"
        if self.device.type != "cpu":
            text += f" on {self.device}"
        if self.geometry is not None:
            return f"{text}, spacing {self.geometry.spacing_text}{'' if self.geometry.stated else ', assumed'}"
        return f"{text}, {'no geometry' if current_grid(self) is None else 'one geometry per item'}"

    def require_geometry(self, what: str) -> Geometry:
        """Return the geometry, or raise a ValueError that says why ``what`` cannot be done and what to do."""
        geometry = self.geometry
        if geometry is not None:
            return geometry
        shape = "x".join(map(str, self.shape))
        if isinstance(current_grid(self), np.ndarray):
            raise ValueError(f"{what} needs one geometry, but the items of this {shape} batch differ: take one, t[0]")
        raise ValueError(
            f"{what} needs a geometry, and this {shape} tensor has none: an operation moved its voxels off any "
            "straight grid. Work on the volume as it was before that, or say where it lies with like=image or with "
            "set_spacing, set_origin and set_direction"
        )

    @property
    def padding(self) -> tuple[tuple[float, float], ...]:
        """Ranges (low, high) of the values that stand for no measurement, ends included; ``()`` where none are known.

        Of DICOM images whose header names them, (0028,0120) PixelPaddingValue, in the units of the image. Functions
        that scale or interpolate leave padding out, see ``faimed3d.intensity.fill_padding``. Operations that move
        voxels keep this knowledge, all others drop it.

        >>> TensorDicom3D(torch.zeros(2, 3, 4)).padding
        ()
        """
        return padding_of(self)

    @property
    def metadata(self) -> Metadata:
        """Mapping of ``spacing``, ``origin``, ``direction`` and ``table`` (the files' headers, read when asked for)."""
        return Metadata(self.geometry, self._header, self._tags)

    def get_spacing(self) -> tuple[float, float, float]:
        """Spacing (x, y, z) mm."""
        return self.require_geometry("get_spacing").spacing

    def get_origin(self) -> tuple[float, float, float]:
        """Origin (x, y, z) mm, LPS."""
        return self.require_geometry("get_origin").origin

    def get_direction(self) -> tuple[float, ...]:
        """Direction: nine numbers, row-major; the columns are the x, y, z storage axes."""
        return self.require_geometry("get_direction").direction

    def set_spacing(self, spacing: ArrayLike) -> None:
        """Set the spacing (x, y, z) mm of this tensor alone; its views and copies keep theirs."""
        self._set_geometry(spacing=spacing)

    def set_origin(self, origin: ArrayLike) -> None:
        """Set the origin (x, y, z) mm, LPS, of this tensor alone."""
        self._set_geometry(origin=origin)

    def set_direction(self, direction: ArrayLike) -> None:
        """Set the direction (nine numbers, row-major) of this tensor alone."""
        self._set_geometry(direction=direction)

    def _set_geometry(self, **changes: Any) -> None:
        if self.ndim < 3:
            raise ValueError(_too_few_axes(self))
        if isinstance(current_grid(self), np.ndarray) and self.geometry is None:
            raise ValueError(
                "the items of this batch have different geometries: set those of each item before stacking"
            )
        attach_grid(self, (self.geometry or Geometry(self.shape[-3:])).replace(**changes))

    def get_metadata(self, tag: str) -> Any:  # numbers, texts, a table
        """Value of ``spacing``, ``origin``, ``direction``, ``table``, or of a header: ``'0008|0060'``, ``Modality``."""
        return self.metadata[tag]

    def set_metadata(self, tag: str, value: Any) -> None:
        """Set a value on this tensor alone; the files it was read from are not touched."""
        if tag in ("spacing", "origin", "direction"):
            self._set_geometry(**{tag: value})
        else:
            self._tags = without(self._tags, tag) | {tag: value}

    def del_metadata(self, tag: str) -> None:
        """Remove a value that was set, and hide the tag of that name in the files' headers."""
        self.metadata[tag]
        self._tags = without(self._tags, tag) | {tag: None}

    def metadata_to_json(self) -> str:
        """JSON text of the geometry and of the whole header: patient data included, where the files hold it."""
        return self.metadata.to_json()

    def print_metadata(self, full: bool = False) -> None:
        """Print the geometry; with ``full=True`` the header too: patient data included, where the files hold it."""
        print(self.metadata_to_json() if full else repr(self.geometry))

    @classmethod
    # without types: fastai makes a Transform of this, to which the first type that it finds is a rule of dispatch
    @strict_keywords
    def create(cls, source, series=None, strict=True, dtype=torch.float32, like=None, suv=False):
        """Make a volume from a file, a DICOM folder, an array, a tensor or an image of another library.

        Args:
            source: path, list of the DICOM files of one series, row of a DICOM inventory or of an archive (or a table
                with that row alone), numpy array, tensor (which hands on its geometry), or an image of SimpleITK,
                nibabel, MONAI or TorchIO. Arrays and plain tensors have no geometry of their own: spacing 1 mm,
                origin 0 and identity direction are assumed; their axes are (D, H, W), so what nibabel's
                ``get_fdata()`` gives, (x, y, z), comes out transposed: give the image.
            series: which volume of a DICOM folder, where it holds several.
            strict: refuse a faulty DICOM folder instead of mending it.
            dtype: of the voxels; None keeps the stored type. A type that would change a value is refused: fractions
                never become integers, but values of a mask within 1e-3 of whole numbers do, with a warning.
            like: where the source lies, if it does not say so itself: as of a new ``TensorDicom3D``.
            suv: make standardized uptake values by body weight (g/ml) of a PET volume in DICOM files, by
                :func:`faimed3d.dicom.suv_factor`.

        Returns:
            (D, H, W), or (C, D, H, W) for files with several components or time points.

        Raises:
            TypeError: a source of another kind.
            ValueError: values that ``dtype`` cannot hold: fractions or NaN for integers, numbers beyond its range,
                whole numbers that a float type would merge, complex numbers for real ones. Or ``suv`` of what is no
                DICOM file.
            ReadError: the file or folder cannot be read; see ``faimed3d.errors``.

        >>> TensorDicom3D.create(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
        TensorDicom3D 2x3x4 torch.float32, spacing 1x1x1 mm (x, y, z), assumed
        """
        if like is not None:
            return cls(cls.create(source, series, strict, dtype, **({"suv": suv} if suv else {})), like=like)
        if suv and not isinstance(source, str | Path | Mapping | list | tuple | L) and not hasattr(source, "iloc"):
            raise ValueError(
                f"suv=True needs DICOM files, whose headers hold dose and weight, got {type(source).__name__}"
            )
        source = only_row(source)
        if library_of(source):
            return cls.create(cls(*from_library(source, is_mask(cls))), dtype=dtype)
        if isinstance(source, np.ndarray | Tensor):
            volume = cls(source)
            return volume if dtype is None else cast(volume, dtype, source_name(volume))
        if is_row(source):
            source, series = place_of(source)
        if not isinstance(source, str | os.PathLike | list | tuple | L):
            raise TypeError(
                "source must be a path, a list of the DICOM files of one series, a row of a DICOM inventory, a numpy "
                f"array, a tensor or an image of {NAMED}, got {type(source).__name__}"
            )
        # images are converted while they are read; labels that float32 would merge must be seen first
        direct = np.float32 if dtype == torch.float32 and not is_mask(cls) else None
        source = list(source) if isinstance(source, L) else source
        array, geometry, header = io.read(source, series=series, strict=strict, dtype=direct)
        volume = cls(torch.from_numpy(array), geometry)
        volume._header = header
        attach_padding(volume, header.padding)
        if is_mask(cls) and header.format == "dicom" and series is None and _is_folder(source):
            from faimed3d.dicom.volume_reading import refuse_images_as_mask  # pydicom takes time to import

            refuse_images_as_mask(str(source), header.files)
        if suv:
            volume = _as_suv(volume, header)
        return volume if dtype is None else cast(volume, dtype, source_name(volume))

    @staticmethod
    def read_metadata_from_series(fn: str | Path) -> pd.DataFrame:
        """Header table of a DICOM folder or file: a row per tag, a column per slice. No pixels are kept."""
        return io.read(fn)[2].table()

    def as_sitk(self) -> sitk.Image:
        """The volume as a ``sitk.Image`` with its geometry; channels become components."""
        return io.to_sitk(self._plain(), self.require_geometry("as_sitk"))

    def _plain(self) -> Tensor:
        """The voxels as a tensor of which numpy makes an array."""
        return self.detach().cpu().as_subclass(Tensor).resolve_conj().resolve_neg()

    @strict_keywords(more=of_series)
    def save(self, path: str | Path, **dicom: Any) -> None:
        """Write voxels and geometry to ``path``, whole or not at all.

        Args:
            path: a file (``.nii.gz``, ``.nrrd``, ``.mha``, ...), or a new folder (no extension) for a DICOM series.
                A place that is assumed is written with a warning. The ``.seg.nrrd`` of a mask holds the names of its
                classes (``codes``), for 3D Slicer.
            dicom: for a series: ``template``, ``modality``, ``series_description``, ... of
                :func:`faimed3d.dicom.write_series`; nothing of the source's header is copied without a template.
        """
        geometry, segments = self.require_geometry("save"), self._segments(path)
        io.write(path, as_integers(self._plain()) if segments else self._plain(), geometry, segments, **dicom)

    def _segments(self, path: str | Path) -> tuple[Segment, ...]:
        """What the header of the file lists of the classes; images have none."""
        return ()

    freqhist_bins = intensity.freqhist_bins
    hist_scaled = intensity.hist_scaled

    crop_3d = spatial.crop_3d
    resize_3d_tensor = spatial.resize_3d_tensor
    pad_or_crop = spatial.pad_or_crop
    strip = spatial.strip
    reorient = spatial.reorient
    resample = spatial.resample
    resample_like = spatial.resample_like


class TensorMask3D(LegacyMaskMethods, DicomMaskMethods, TensorDicom3D):
    """Labels (..., D, H, W), 0 is background: interpolated by the nearest voxel, left alone by changes of intensity.

    It is a ``TensorDicom3D`` for type dispatch. An operation on an image and a mask gives an image.

    >>> mask = TensorMask3D(torch.tensor([[[0, 0, 2, 2]]]))
    >>> mask.resize_3d_tensor((1, 1, 7)).tolist()
    [[[0, 0, 0, 2, 2, 2, 2]]]
    """

    __slots__ = ("_codes",)
    _carried = ("_header", "_tags", "_codes")
    _pickled = ("_tags", "_codes")
    _tied = ("_codes",)
    _codes: tuple[tuple[int, str], ...] | None

    interpolation = "nearest"

    @classmethod
    @strict_keywords
    def create(cls, source, series=None, strict=True, dtype=torch.float32, like=None):
        """As of ``TensorDicom3D``; a mask knows the names of the segments of a .seg.nrrd or DICOM SEG (``codes``).

        Of several layers it does where each is one segment of its own; ``faimed3d.data`` takes other ones apart.

        An RT Structure Set, or a DICOM folder with one, becomes a mask on the grid of ``like=image``, see
        :func:`faimed3d.dicom.read_rtstruct`, which can also choose among its ROIs. With ``like=image`` contours and
        segments of another frame of reference than that of the image are refused.
        """
        source = only_row(source)
        if like is not None and series is None and (contours := structure_set_in(source)):
            return _of_contours(cls, contours, like, dtype)
        mask = super().create(source, series, strict, dtype)
        if isinstance(source, str | Path):
            mask.codes = codes_of(read_segments(source), mask.shape)
        if mask._header is not None and mask._header.format == "dicom":
            from faimed3d.dicom.segmentation.segment_names import segment_names  # pydicom takes time to import

            mask.codes = segment_names(mask._header.files) or None
            if like is not None:
                like = _image_of(like)
                mask = planes_of_scan(mask, like)
        return mask if like is None else cls(mask, like=like)

    @property
    def codes(self) -> dict[int, str] | None:
        """Names of the classes by label, or None. Set them as names from label 0 on, or as label -> name.

        They go where the labels go: through flips, crops, resampling, other types of number, pickling and stacking.
        What computes with labels (``mask > 0``, ``mask + 1``) loses them. Of regions (R, D, H, W), 1 names the first.

        >>> mask = TensorMask3D(torch.tensor([[[0, 1, 1, 2]]]), codes=["air", "liver", "spleen"])
        >>> mask.flip(-1).codes[2], (mask > 0).codes
        ('spleen', None)
        """
        return None if self._codes is None else dict(self._codes)

    @codes.setter
    def codes(self, codes: Codes | None) -> None:
        self._codes = frozen_codes(codes)

    def _segments(self, path: str | Path) -> tuple[Segment, ...]:
        named = str(path).lower().endswith(".seg.nrrd")
        return segments_for(self.as_subclass(Tensor), self.codes) if named else ()

    def as_sitk(self) -> sitk.Image:
        """As of images; a mask of floats becomes the smallest of uint8, int16, int32, int64 that holds its labels."""
        return io.to_sitk(as_integers(self._plain()), self.require_geometry("as_sitk"))

    def calc_volume(self) -> dict[str, float]:
        """Volume in mm³ of the background, of all classes together, and of each class, from whole voxel counts.

        Returns:
            ``{'background': ..., 'total_mask_volume': ..., 'class 1': ..., ...}``; the classes are those present, by
            their names where the mask knows them (``codes``). Of regions (R, D, H, W) each one, and what any covers.

        Raises:
            ValueError: no geometry, several volumes, or values that are no labels (fractions, NaN).

        >>> TensorMask3D(torch.tensor([[[0, 1, 1, 2]]]), {"spacing": (1, 2, 3)}).calc_volume()
        {'background': 6.0, 'total_mask_volume': 18.0, 'class 1': 12.0, 'class 2': 6.0}
        """
        geometry = self.require_geometry("calc_volume")
        warn_if_assumed(geometry, "calc_volume", spacing_alone=True)
        if self.ndim == 4 and len(self) > 1 and self.codes and len(self) == max(self.codes):
            return region_volumes(self, geometry.voxel_volume, self.codes)
        if self.numel() != np.prod(geometry.shape):
            raise ValueError(
                f"calc_volume takes one volume, this tensor is {'x'.join(map(str, self.shape))}: index it first"
            )
        return class_volumes(self, geometry.voxel_volume, self.codes)

    def create_mesh(
        self, cl: int = 1, color: Any = None, alpha: float = 1.0, **kwargs: Any
    ) -> Poly3DCollection:  # color: any of matplotlib
        """Surface of class ``cl`` in mm as a matplotlib ``Poly3DCollection``: see ``faimed3d.display.mesh``."""
        return mesh(self, cl, color, alpha, **kwargs)

    @strict_keywords(more=lambda args, kwargs: ["geometry", *of_surfaces(args, kwargs)])
    def create_mesh_for_classes(self, colors: Any = None, alpha: Any = None, **kwargs: Any) -> list[Poly3DCollection]:
        """Surfaces of all classes present, in rising order; ``colors`` and ``alpha`` as of ``render_3d``."""
        classes = [int(label) for label in self.as_subclass(Tensor).unique().tolist() if label]
        color_of, alpha_of = per_class("colors", colors, classes), per_class("alpha", alpha, classes, lambda _: 1.0)
        return [self.create_mesh(label, color_of[label], alpha_of[label], **kwargs) for label in classes]

    def render_3d(self, colors: Any = None, alpha: Any = None, **kwargs: Any) -> Axes3D:
        """Draw the surface of each class in mm and return the axes: see ``faimed3d.display.render_3d``."""
        return render_3d(self, colors=colors, alpha=alpha, **kwargs)


def _is_folder(source: Any) -> bool:
    return isinstance(source, str | Path) and Path(source).is_dir()


def _as_suv(volume: Any, header: io.SourceHeader) -> Any:
    """A PET volume in the units of its file as SUV by body weight, its padding with it."""
    if header.format != "dicom":
        raise ValueError(f"{header.files[0]}: suv=True needs DICOM files, whose headers hold dose and weight")
    from faimed3d.dicom import suv_factor  # pydicom takes time to import

    factor = np.float32(suv_factor(header.files))
    scaled = volume.with_voxels(volume.as_subclass(Tensor).float() * float(factor))
    ends = [[float(np.float32(end) * factor) for end in ends] for ends in header.padding]
    attach_padding(scaled, [(low, high) for low, high in ends])
    return scaled


def _of_contours(cls: type[TensorMask3D], path: str, like: Any, dtype: torch.dtype | None) -> TensorMask3D:
    """The mask of a structure set on the grid of ``like``, whose frame of reference is compared where it is known."""
    from faimed3d.dicom import read_rtstruct  # pydicom takes time to import

    like = _image_of(like)
    array, geometry, codes = read_rtstruct(path, like if isinstance(like, TensorDicom3D) else grid_of(like))
    mask = cls(torch.from_numpy(array), geometry, codes=codes)
    mask._header = io.SourceHeader((path,), "dicom")
    return mask if dtype is None else cast(mask, dtype, path)


def _image_of(like: Any) -> Any:
    """What ``like=`` names, read if it is a path or a row: its files say more than where it lies."""
    like = only_row(like)
    return TensorDicom3D.create(like, dtype=None) if isinstance(like, str | Path) or is_row(like) else like


def _geometry_from(metadata: Geometry | Mapping[str, Any], tensor: TensorDicom3D) -> Geometry:
    shape = tuple(tensor.shape)
    if isinstance(metadata, Geometry):
        if not fits_shape(metadata, shape):
            raise ValueError(f"the geometry is for {metadata.shape} voxels (D, H, W), the tensor has {shape}")
        return metadata
    if len(shape) < 3:
        raise ValueError(_too_few_axes(tensor))
    known = {key: metadata[key] for key in ("spacing", "origin", "direction") if key in metadata}
    known_so_far = tensor.geometry or Geometry(shape[-3:], assumed="all")
    return known_so_far.replace(**known, assumed=metadata.assumed if isinstance(metadata, Metadata) else None)


def _too_few_axes(tensor: Tensor) -> str:
    return f"a geometry needs at least three axes (D, H, W), this tensor has shape {tuple(tensor.shape)}"


# What torch.load(weights_only=True), its default, may build
torch.serialization.add_safe_globals([TensorDicom3D, TensorMask3D])
