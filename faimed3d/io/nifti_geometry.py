"""Where a NIfTI or Analyze file lies: voxel sizes, units, sform and qform to one Geometry, or a refusal.

Reference: nifti1.h of the NIfTI Data Format Working Group, methods 1 to 3. NIfTI's world is RAS, ours LPS (see
:mod:`faimed3d.geometry`).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from faimed3d.errors import MissingGeometry
from faimed3d.geometry import POSITION_TOLERANCE, Geometry

if TYPE_CHECKING:  # nibabel takes a third of a second to import
    from nibabel.analyze import AnalyzeHeader
    from nibabel.nifti1 import Nifti1Header

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # and back
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown (taken as mm), metre, millimetre, micrometre


def analyze_geometry(path: str, header: AnalyzeHeader, shape: tuple[int, int, int], strict: bool) -> Geometry:
    """The grid of an Analyze file: it has voxel sizes alone."""
    spacing = np.abs(header["pixdim"][1:4].astype(float))
    _check_spacing(path, spacing, "")
    warnings.warn(
        f"{path}: an Analyze file says neither where the patient lies nor which side is left; origin 0 and axes "
        "L, P, S are assumed",
        stacklevel=4,
    )
    return Geometry(shape, spacing, assumed="position")


def nifti_geometry(path: str, header: AnalyzeHeader, shape: tuple[int, int, int], strict: bool) -> Geometry:
    """The grid of a NIfTI file: see :func:`~faimed3d.io.nifti.read_nifti`."""
    scale = millimetres(path, header)
    codes = {name: int(header[name]) for name in ("sform_code", "qform_code")}
    for name, code in codes.items():
        if strict and not 0 <= code <= 5:
            raise MissingGeometry(
                f"{path}: {name} should be 0 to 5, it is {code}. Correct the header, or pass strict=False to take "
                "every positive code as set"
            )
    spacing = header["pixdim"][1:4].astype(float)
    usable = np.isfinite(spacing).all() and spacing.min() > 0
    known = _known_codes(codes["sform_code"], codes["qform_code"])
    sform = _sform(header, shape, scale, known) if codes["sform_code"] > 0 else None
    if strict or sform is None:
        _check_spacing(path, spacing, ", or pass strict=False to take the sform alone" if sform is not None else "")
    if codes["sform_code"] > 0 and sform is None:
        if strict:
            rows = [header[f"srow_{axis}"].tolist() for axis in "xyz"]
            raise MissingGeometry(
                f"{path}: sform_code is {codes['sform_code']}, but srow_x, srow_y, srow_z {rows} describe no grid in "
                "space. Correct the header, or pass strict=False to do without the sform"
            )
        warnings.warn(f"{path}: the sform is set but describes no grid in space; it is left out", stacklevel=4)
    qform = None
    if codes["qform_code"] > 0 and usable:
        qform = _qform(path, header, shape, scale, strict and sform is None, (0, known[1]))
    if sform is not None:
        same = qform is not None and qform.distance(sform) <= _noticeable(sform)
        if qform is not None and not same:
            warnings.warn(
                f"{path}: sform and qform differ by up to {qform.distance(sform):.3g} mm; the sform is taken",
                stacklevel=4,
            )
        elif usable and np.abs(np.array(sform.spacing) / (spacing * scale) - 1).max() > 1e-2:
            warnings.warn(
                f"{path}: pixdim says spacing {(spacing * scale).tolist()} mm, the sform {sform.spacing}; "
                "the sform is taken",
                stacklevel=4,
            )
        if same or not known[1]:
            return sform
        return Geometry(shape, sform.spacing, sform.origin, sform.direction, nifti_codes=(known[0], 0))
    if qform is not None:
        return qform
    unset = "no form is usable" if max(codes.values()) > 0 else "neither sform_code nor qform_code is set"
    warnings.warn(
        f"{path}: {unset}, so the file does not say where the patient lies or which side is left; origin 0 and axes "
        "L, P, S are assumed",
        stacklevel=4,
    )
    return Geometry(shape, spacing * scale, assumed="position")


def millimetres(path: str, header: AnalyzeHeader) -> float:
    """How many mm the unit of length of a header has."""
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        raise MissingGeometry(
            f"{path}: xyzt_units gives length unit {unit}; NIfTI has 0 unknown, 1 m, 2 mm, 3 micrometre"
        )
    return _MILLIMETRES[unit]


def set_forms(header: Nifti1Header, geometry: Geometry) -> None:
    """Write where a volume lies into a NIfTI header: see :func:`~faimed3d.io.nifti.nifti_header_bytes`."""
    affine = RAS_TO_LPS @ geometry.affine
    header.set_qform(affine)
    header.set_sform(affine)
    sform_code, qform_code = geometry.nifti_codes or ((1, 1) if geometry.stated else (2, 2))
    qform = Geometry.from_affine(RAS_TO_LPS @ header.get_qform(), geometry.shape)
    if not geometry.agrees(qform, POSITION_TOLERANCE):
        sform_code, qform_code = sform_code or qform_code, 0
    header["sform_code"], header["qform_code"] = sform_code, qform_code


def _known_codes(sform, qform):
    """Codes of sform and qform; one that is none of NIfTI's is 2, aligned to something."""
    return tuple(code if 0 <= code <= 5 else 2 for code in (sform, qform))


def _noticeable(geometry):
    """mm by which two forms of one grid may differ: half a voxel, or what the float32 of a quaternion costs."""
    extent = max(n * s for n, s in zip(geometry.shape[::-1], geometry.spacing, strict=True))
    return max(min(geometry.spacing) / 2, 1e-3 * extent)


def _check_spacing(path, spacing, way_out):
    if not (np.isfinite(spacing).all() and spacing.min() > 0):
        raise MissingGeometry(
            f"{path}: pixdim[1..3] should be the voxel sizes, positive numbers, got {spacing.tolist()}. "
            f"Correct the header{way_out}"
        )


def _sform(header, shape, scale, codes):
    """The Geometry of method 3 in nifti1.h; None if it describes no grid in space."""
    affine = header.get_sform()
    affine[:3] *= scale
    try:
        return Geometry.from_affine(RAS_TO_LPS @ affine, shape, codes)
    except ValueError:
        return None


def _qform(path, header, shape, scale, strict, codes):
    """The Geometry of method 2 in nifti1.h: a unit quaternion, an offset, and qfac in pixdim[0].

    The first part of the quaternion is not taken from nibabel, which makes it 0 where it is below 6e-4: that turns the
    grid by up to 0.07 degrees.
    """
    from nibabel.quaternions import quat2mat

    qfac = float(header["pixdim"][0])
    b, c, d = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    offset = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], float) * scale
    norm = b * b + c * c + d * d
    if not (norm <= 1 + 1e-5 and np.isfinite(offset).all() and np.isfinite(qfac)):
        if strict:
            raise MissingGeometry(
                f"{path}: qform_code is set, but quatern_b, c, d ({b}, {c}, {d}) and qoffset {offset.tolist()} "
                "describe no grid in space. Correct the header, or pass strict=False to do without position and "
                "orientation"
            )
        return None
    if strict and qfac not in (-1, 0, 1):
        raise MissingGeometry(
            f"{path}: pixdim[0] (qfac, the side to which the third axis turns) should be -1, 0 or 1, it is {qfac}. "
            "Correct the header, or pass strict=False to take its sign"
        )
    to_lps = RAS_TO_LPS[:3, :3]
    rotation = quat2mat([np.sqrt(max(1 - norm, 0)), b, c, d])
    if qfac < 0:
        rotation[:, 2] *= -1
    spacing = header["pixdim"][1:4].astype(float) * scale
    return Geometry(shape, spacing, to_lps @ offset, to_lps @ rotation, nifti_codes=codes)
