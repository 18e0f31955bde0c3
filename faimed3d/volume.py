"""Volumes as tensors: ``TensorDicom3D`` for images, ``TensorMask3D`` for labels.

Axes are ``(..., D, H, W)``; spacing, origin and direction are SimpleITK's (x, y, z), LPS, mm: ``faimed3d.geometry``.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from fastai.torch_core import TensorBase
from fastai.torch_core import tensor as as_tensor
from torch import Tensor

from faimed3d import histogram, io, spatial
from faimed3d.display import show_volume
from faimed3d.geometry import Geometry
from faimed3d.metadata import Metadata
from faimed3d.surface import render_3d
from faimed3d.tracking import MUTATIONS, Placed, fits, follows_first, grid_of, note_foreign_write, track, writes

__all__ = ["TensorDicom3D", "TensorMask3D"]

_NUMPY = {torch.float32: np.float32}  # what is converted while reading; other types are cast afterwards
_ALIASES = frozenset({Tensor.grad.__get__, Tensor._grad.__get__, Tensor._base.__get__})  # tensors held by a tensor


class TensorDicom3D(TensorBase):
    """A volume (..., D, H, W) that knows where it lies in the patient.

    Every torch operation keeps the geometry exact or drops it (``t.geometry is None``); see ``faimed3d.tracking``.

    Args:
        x: tensor, array or nested sequence. A ``TensorDicom3D`` hands on its geometry (or its lack of one); anything
            else of at least three axes starts at spacing 1 mm, origin 0 and identity direction.
        metadata: a ``Geometry``, or a mapping with some of ``spacing``, ``origin``, ``direction``.
        kwargs: further attributes to set, as fastai's TensorBase does.
    """

    # Not in __dict__: fastai copies that between tensors of any shape.
    __slots__ = ("_grid", "_header", "_tags", "_writes")

    interpolation = "linear"

    def __new__(cls, x, metadata=None, **kwargs):
        if isinstance(x, TensorDicom3D):
            self = x.as_subclass(cls)
        else:
            plain = _plain_tensor(x)
            self = torch.as_subclass(plain, cls)
            if plain.ndim >= 3 and 0 not in plain.shape[-3:]:
                self._state_place(Geometry(plain.shape[-3:]))
        if metadata is not None:
            self._state_place(_geometry_from(metadata, self))
        for name, value in kwargs.items():
            setattr(self, name, value)
        return self

    # Torch -----------------------------------------------------------------------------------------------------------

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if len(types) > 1:
                cls = _result_type(func, types, args, kwargs)
                if cls is None:
                    return NotImplemented
            source = args[0] if args else kwargs.get("input")
            shape = source.shape if isinstance(source, Tensor) else None
            result = func(*args, **kwargs)
            if isinstance(result, Tensor):
                if func in _ALIASES or result.layout is not torch.strided:
                    return result
                if isinstance(result, TensorDicom3D):
                    if "out" in kwargs or func.__name__.endswith("_"):
                        _rewrite(result, track(func, args, kwargs, shape, result), moved=follows_first(func))
                    return result
                return _place(torch.as_subclass(result, cls), track(func, args, kwargs, shape, result), source)
            if result is None:
                if func in MUTATIONS and isinstance(source, TensorDicom3D):
                    MUTATIONS[func](args)
                for target in _listed(kwargs.get("out")):
                    _rewrite(target, None)
            elif isinstance(result, tuple | list) and type(result) is not torch.Size:
                grids = track(func, args, kwargs, shape, result)
                return _place_each(result, grids, cls, source, "out" in kwargs)
        return result

    def __getattr__(self, name):
        if name in TensorDicom3D.__slots__:  # not set yet
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def set_meta(self, x, as_copy=False):
        """Take over the attributes of ``x``, as fastai's ``retain_type`` does after a transform.

        A plain tensor that a transform returns is taken to lie where ``x`` lies if it has the same shape. A tensor that
        has been placed already, or has lost its place, is left alone.
        """
        self.__dict__.update(getattr(x, "__dict__", {}))
        if isinstance(x, TensorDicom3D):
            if not _is_placed(self):
                self._grid = grid_of(x) if fits(grid_of(x), self.shape) else None
                self._writes = writes(self)
            self._header, self._tags = x._header, x._tags

    def as_subclass(self, typ):
        """Cast to ``typ``; only a type of this module keeps the geometry."""
        result = torch.as_subclass(self, typ)
        if issubclass(typ, TensorDicom3D):
            result._grid, result._writes = self._grid, self._writes
            result.set_meta(self)
        elif typ is not Tensor:
            result.__dict__.update(self.__dict__)
        return result

    def clone(self, *, memory_format=torch.preserve_format):
        """Copy of the voxels, at the same place."""
        return Tensor.clone(self, memory_format=memory_format)

    def new_empty(self, *args, **kwargs):
        """Tensor of uninitialised values; on the same grid if it has the same shape."""
        return Tensor.new_empty(self, *args, **kwargs)

    def new_ones(self, *args, **kwargs):
        """Tensor of ones; on the same grid if it has the same shape."""
        return Tensor.new_ones(self, *args, **kwargs)

    def set_(self, *args, **kwargs):
        """Take over other memory, which lies nowhere that is known."""
        result = Tensor.set_(self, *args, **kwargs)
        self._grid = None
        return result

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("only leaf tensors can be deep-copied; use t.detach() first")
        result = self.detach().clone().requires_grad_(self.requires_grad)
        if self.grad is not None:
            result.grad = copy.deepcopy(self.grad, memo)
        memo[id(self)] = result
        return result

    def __reduce_ex__(self, protocol):
        """Pickle the voxels (of a view not the storage behind it) and the geometry; header and file names stay here."""
        plain = self.as_subclass(Tensor).detach()
        if plain.numel() * plain.element_size() < plain.untyped_storage().nbytes():
            plain = plain.clone()
        return _rebuild, (type(self), plain, _pack(grid_of(self)), self.requires_grad, dict(self.__dict__), self._tags)

    def __repr__(self):
        if self.ndim < 3:
            return super().__repr__()
        text = f"{type(self).__name__} {'x'.join(map(str, self.shape))} {self.dtype}"
        if self.device.type != "cpu":
            text += f" on {self.device}"
        if self.geometry is not None:
            return f"{text}, spacing {self.geometry.spacing_text}"
        return f"{text}, {'no geometry' if grid_of(self) is None else 'one geometry per item'}"

    # Geometry --------------------------------------------------------------------------------------------------------

    @property
    def geometry(self):
        """The ``Geometry`` of the last three axes; None if unknown, or if the items of a batch differ."""
        grid = grid_of(self)
        if isinstance(grid, np.ndarray):
            first = grid.flat[0]
            grid = first if first is not None and all(entry == first for entry in grid.flat) else None
        return grid if fits(grid, self.shape) else None

    def require_geometry(self, what):
        """Return the geometry, or raise a ValueError that says why ``what`` cannot be done and what to do."""
        geometry = self.geometry
        if geometry is not None:
            return geometry
        shape = "x".join(map(str, self.shape))
        if isinstance(grid_of(self), np.ndarray):
            raise ValueError(f"{what} needs one geometry, but the items of this {shape} batch differ: take one, t[0]")
        raise ValueError(
            f"{what} needs a geometry, and this {shape} tensor has none: an operation moved its voxels off any "
            "straight grid. Work on the volume as it was before that, or say where it lies with set_spacing, "
            "set_origin and set_direction"
        )

    @property
    def metadata(self):
        """Mapping of ``spacing``, ``origin``, ``direction`` and ``table`` (the files' headers, read when asked for)."""
        return Metadata(self.geometry, self._header, self._tags)

    def get_spacing(self):
        """Spacing (x, y, z) mm."""
        return self.require_geometry("get_spacing").spacing

    def get_origin(self):
        """Origin (x, y, z) mm, LPS."""
        return self.require_geometry("get_origin").origin

    def get_direction(self):
        """Direction: nine numbers, row-major; the columns are the x, y, z storage axes."""
        return self.require_geometry("get_direction").direction

    def set_spacing(self, spacing):
        """Set the spacing (x, y, z) mm of this tensor alone; its views and copies keep theirs."""
        self._set_geometry(spacing=spacing)

    def set_origin(self, origin):
        """Set the origin (x, y, z) mm, LPS, of this tensor alone."""
        self._set_geometry(origin=origin)

    def set_direction(self, direction):
        """Set the direction (nine numbers, row-major) of this tensor alone."""
        self._set_geometry(direction=direction)

    def _set_geometry(self, **changes):
        if self.ndim < 3:
            raise ValueError(
                f"a geometry needs at least three axes (D, H, W), this tensor has shape {tuple(self.shape)}"
            )
        if isinstance(grid_of(self), np.ndarray) and self.geometry is None:
            raise ValueError("the items of this batch lie at different places: set those of each item before stacking")
        self._state_place((self.geometry or Geometry(self.shape[-3:])).replace(**changes))

    def _state_place(self, grid):
        """Say where this tensor lies, whatever was written into its memory before."""
        self._grid, self._writes = grid, writes(self)

    def get_metadata(self, tag):
        """Value of ``spacing``, ``origin``, ``direction``, ``table``, or a header tag such as ``'0008|0060'``."""
        return self.metadata[tag]

    def set_metadata(self, tag, value):
        """Set a value on this tensor alone; the files it was read from are not touched."""
        if tag in ("spacing", "origin", "direction"):
            return self._set_geometry(**{tag: value})
        self._tags = {**(self._tags or {}), tag: value}

    def del_metadata(self, tag):
        """Remove a value that was set, and hide the tag of that name in the files' headers."""
        self.metadata[tag]
        self._tags = {**(self._tags or {}), tag: None}

    def metadata_to_json(self):
        """JSON text of the geometry and of the whole header: patient data included, where the files hold it."""
        return self.metadata.to_json()

    def print_metadata(self, full=False):
        """Print the geometry; with ``full=True`` the header too: patient data included, where the files hold it."""
        print(self.metadata_to_json() if full else repr(self.geometry))

    def with_voxels(self, voxels, change=None):
        """Wrap other voxels like this tensor.

        Args:
            voxels: plain tensor with the same leading axes.
            change: ``Geometry -> Geometry | None``, applied to every geometry of this tensor; None keeps them.
        """
        result = torch.as_subclass(voxels, type(self))
        result.__dict__.update(self.__dict__)
        result._header, result._tags = self._header, self._tags
        grid = grid_of(self)
        if grid is not None and change is not None:
            grid = Placed(grid, self.shape).each(change)
        result._state_place(grid if fits(grid, voxels.shape) else None)
        return result

    # Files -----------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, source, series=None, strict=True, dtype=torch.float32):
        """Make a volume from a file, a DICOM folder, an array, a tensor or a SimpleITK image.

        Args:
            source: path (str or Path), row of a DICOM inventory, numpy array, tensor (which hands on its geometry), or
                ``sitk.Image``. Arrays and plain tensors have no place of their own: spacing 1 mm, origin 0, identity.
            series: which volume of a DICOM folder, where it holds several.
            strict: refuse a faulty DICOM folder instead of mending it.
            dtype: of the voxels; None keeps the stored type. A float type that cannot hold the values is refused.

        Returns:
            (D, H, W), or (C, D, H, W) for files with several components or time points.
        """
        if isinstance(source, np.ndarray | Tensor):
            volume = cls(source)
            return volume if dtype is None or volume.dtype == dtype else volume.to(_lossless(volume, dtype))
        if type(source).__module__.startswith("SimpleITK"):
            array, geometry = io.from_sitk(source)
            return cls.create(cls(torch.from_numpy(array), geometry), dtype=dtype)
        if type(source).__module__.startswith("pandas") and "folder" in source:
            source, series = source["folder"], source
        if not isinstance(source, str | Path):
            raise TypeError(
                "source must be a path, a row of a DICOM inventory, a numpy array, a tensor or a SimpleITK image, "
                f"got {type(source).__name__}"
            )
        array, geometry, header = io.read(source, series=series, strict=strict, dtype=_NUMPY.get(dtype))
        volume = cls(torch.from_numpy(array), geometry)
        volume._header = header
        return volume if dtype is None or volume.dtype == dtype else volume.to(dtype)

    load = create
    from_sitk = create
    read_dicom_series = create

    @staticmethod
    def read_metadata_from_series(fn):
        """Header table of a DICOM folder or file: a row per tag, a column per slice. No pixels are kept."""
        return io.read(fn)[2].table()

    def as_sitk(self):
        """The volume as a ``sitk.Image`` with its geometry; channels become components."""
        return io.to_sitk(self.detach().cpu().as_subclass(Tensor).numpy(), self.require_geometry("as_sitk"))

    def save(self, path):
        """Write voxels and geometry to ``path`` (``.nii.gz``, ``.nrrd``, ``.mha``, ...): the whole file, or none."""
        io.write(path, self.detach().cpu().as_subclass(Tensor).numpy(), self.require_geometry("save"))

    # Intensity -------------------------------------------------------------------------------------------------------

    def freqhist_bins(self, n_bins=100):
        """Edges of ``n_bins`` bins that hold equally many voxels: see ``faimed3d.histogram.freqhist_bins``."""
        return histogram.freqhist_bins(self.as_subclass(Tensor), n_bins)

    def hist_scaled(self, brks=None):
        """Spread the values evenly over 0..1: see ``faimed3d.histogram.hist_scaled``."""
        return self.with_voxels(histogram.hist_scaled(self.as_subclass(Tensor), brks))

    # Space and display -----------------------------------------------------------------------------------------------

    crop_3d = spatial.crop_3d
    resize_3d_tensor = spatial.resize_3d_tensor
    pad_or_crop = spatial.pad_or_crop
    strip = spatial.strip
    reorient = spatial.reorient
    resample = spatial.resample
    resample_like = spatial.resample_like

    def show(self, ctx=None, **kwargs):
        """Draw a mosaic of slices and return the axes: see ``faimed3d.display.show_volume``."""
        return show_volume(self, ctx=ctx, **kwargs)


class TensorMask3D(TensorDicom3D):
    """Labels (..., D, H, W), 0 is background: interpolated by the nearest voxel, left alone by changes of intensity.

    It is a ``TensorDicom3D`` for type dispatch. An operation on an image and a mask gives an image.
    """

    __slots__ = ()

    interpolation = "nearest"

    def calc_volume(self):
        """Volume in mm3 of the background, of all classes together, and of each class, from whole voxel counts.

        Returns:
            ``{'background': ..., 'total_mask_volume': ..., 'class 1': ..., ...}``; the classes are those present.

        Raises:
            ValueError: no geometry, several volumes, or values that are no labels (fractions, NaN).
        """
        geometry = self.require_geometry("calc_volume")
        if self.numel() != np.prod(geometry.shape):
            raise ValueError(
                f"calc_volume takes one volume, this tensor is {'x'.join(map(str, self.shape))}: index it first"
            )
        labels, counts = torch.unique(self.detach().as_subclass(Tensor), return_counts=True)
        if labels.is_floating_point() and not bool((labels == labels.round()).all()):
            raise ValueError("the mask holds values that are no whole numbers, so no labels: was it interpolated?")
        voxels = dict(zip((int(label) for label in labels.tolist()), counts.tolist(), strict=True))
        background = voxels.pop(0, 0)
        size = geometry.voxel_volume
        volumes = {"background": background * size, "total_mask_volume": sum(voxels.values()) * size}
        return volumes | {f"class {label}": count * size for label, count in voxels.items()}

    def render_3d(self, colors=None, alpha=None, **kwargs):
        """Draw the surface of each class in mm and return the axes: see ``faimed3d.surface.render_3d``."""
        return render_3d(self, colors=colors, alpha=alpha, **kwargs)


# How tensors are made ------------------------------------------------------------------------------------------------


def _place(tensor, grid, source):
    """Give the result of an operation its grid and, where there is one source, the attributes and header of that."""
    tensor._grid = grid if fits(grid, tensor.shape) else None
    if isinstance(source, TensorDicom3D) and source is not tensor:
        if source.__dict__:
            tensor.__dict__.update(source.__dict__)
        tensor._header, tensor._tags, tensor._writes = source._header, source._tags, source._writes
    return tensor


def _place_each(results, grids, cls, source, rewritten):
    if not isinstance(grids, list):
        grids = [grids] * len(results)
    placed = []
    for result, grid in zip(results, grids, strict=True):
        if isinstance(result, TensorDicom3D):  # given as an argument: as it was, or written into
            if rewritten:
                _rewrite(result, grid)
        elif isinstance(result, Tensor):
            result = _place(torch.as_subclass(result, cls), grid, source)
        placed.append(result)
    return type(results)(placed)


def _rewrite(tensor, grid, moved=False):
    """Set the grid of a tensor that an operation has changed; ``moved``: its axes changed, nothing was written."""
    if not isinstance(tensor, TensorDicom3D):
        return
    if not moved and grid_of(tensor) is not None and not (grid is tensor._grid or grid == tensor.geometry):
        note_foreign_write(tensor)
    tensor._grid, tensor._writes = grid if fits(grid, tensor.shape) else None, writes(tensor)


def _is_placed(tensor):
    """Whether a grid, or the lack of one, has been stated for the tensor since it was made."""
    try:
        _grid_slot(tensor)
    except AttributeError:
        return False
    return True


def _listed(value):
    return value if isinstance(value, tuple | list) else (value,)


def _result_type(func, types, args, kwargs):
    """The type of what an operation on several types gives, or None to leave it to the other type.

    Fastai's other tensors count as plain ones. What moves the voxels of one tensor gives the type of that one. An image
    and a mask give an image; comparisons (bool) decide nothing.
    """
    ours = [t for t in types if issubclass(t, TensorDicom3D)]
    if any(t is not Tensor and not issubclass(t, TensorBase) for t in types):
        return None
    if follows_first(func) and args and type(args[0]) in ours:
        return type(args[0])
    given = [*args, *(value for name, value in kwargs.items() if name != "out")]
    flat = [operand for value in given for operand in _listed(value)]
    deciding = {type(operand) for operand in flat if type(operand) in ours and operand.dtype != torch.bool}
    images = [t for t in deciding or ours if not issubclass(t, TensorMask3D)]
    return max(images or deciding or ours, key=lambda t: len(t.__mro__))


def _plain_tensor(x):
    if isinstance(x, Tensor):
        return x.as_subclass(Tensor)
    if isinstance(x, np.ndarray):
        if not x.dtype.isnative:
            x = x.astype(x.dtype.newbyteorder("="))
        return torch.from_numpy(x if x.flags.writeable and min(x.strides, default=0) >= 0 else x.copy())
    return as_tensor(x)


def _geometry_from(metadata, tensor):
    shape = tensor.shape
    if isinstance(metadata, Geometry):
        if not fits(metadata, shape):
            raise ValueError(f"the geometry is for {metadata.shape} voxels (D, H, W), the tensor has {tuple(shape)}")
        return metadata
    known = {key: metadata[key] for key in ("spacing", "origin", "direction") if key in metadata}
    if len(shape) < 3:
        raise ValueError(f"a geometry needs at least three axes (D, H, W), this tensor has shape {tuple(shape)}")
    return (tensor.geometry or Geometry(tuple(shape[-3:]))).replace(**known)


def _lossless(volume, dtype):
    """``dtype``, unless it is a float type that cannot hold the whole numbers of ``volume``."""
    if volume.is_complex() and not dtype.is_complex:
        raise ValueError("complex values do not fit a real type; take .real, .imag, .abs() or .angle() first")
    wide = (torch.int32, torch.int64, torch.uint32, torch.uint64)
    if dtype == torch.float32 and volume.dtype in wide and volume.numel():
        values = volume.detach().cpu().as_subclass(Tensor).numpy()
        largest = max(int(values.max()), -int(values.min()))
        if largest > 2**24:
            raise ValueError(
                f"{volume.dtype} values up to {largest} do not fit float32, which would merge some of them; "
                "pass dtype=None to keep the type"
            )
    return dtype


def _pack(grid):
    return (grid.shape, list(grid.flat)) if isinstance(grid, np.ndarray) else grid


def _rebuild(cls, plain, grid, requires_grad, attributes, tags):
    """Undo ``__reduce_ex__``."""
    self = torch.as_subclass(plain, cls)
    if isinstance(grid, tuple):
        shape, entries = grid
        grid = np.empty(len(entries), dtype=object)
        grid[:] = entries
        grid = grid.reshape(shape)
    self._state_place(grid)
    self._tags = tags
    self.__dict__.update(attributes)
    return self.requires_grad_(requires_grad)


_grid_slot = TensorDicom3D._grid.__get__


def _write_part(name):
    """The property ``t.real`` or ``t.imag``; torch does not report that it is set."""
    part = getattr(Tensor, name)
    return property(part.__get__, lambda t, value: part.__get__(t).copy_(value))


TensorDicom3D.real, TensorDicom3D.imag = _write_part("real"), _write_part("imag")

# What torch.load(weights_only=True), its default, may build
torch.serialization.add_safe_globals([TensorDicom3D, TensorMask3D, Geometry, _rebuild])
