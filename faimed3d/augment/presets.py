"""``aug_transforms_3d``: a sensible set of augmentations in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faimed3d._arguments import is_number
from faimed3d._keywords import strict_keywords
from faimed3d.augment import random_intensity, random_spatial
from faimed3d.augment.base import RandomTransform3D

Switch = bool | float | Mapping[str, Any] | RandomTransform3D  # a mapping holds arguments of the part's class
_Parts = dict[str, tuple[type[RandomTransform3D], dict[str, Any]]]

_SPATIAL: _Parts = {
    "affine": (random_spatial.RandomAffine3D, {"p": 0.5, "degrees": (15, 5, 5), "scale": 0.15}),
    "elastic": (random_spatial.RandomElastic3D, {"p": 0.25, "max_displacement": 5.0}),
    "rotate_by": (random_spatial.RandomRotate3DBy, {"p": 0.5}),
    "warp": (random_spatial.RandomWarp3D, {"p": 0.25, "max_magnitude": 0.15}),
    "sheer": (random_spatial.RandomSheer3D, {"p": 0.25, "max_magnitude": 0.15}),
    "trapezoid": (random_spatial.RandomTrapezoid3D, {"p": 0.25, "max_magnitude": 0.15}),
    "perspective": (random_spatial.RandomPerspective3D, {"p": 0.25, "distortion_scale": 0.15}),
    "flip": (random_spatial.RandomFlip3D, {"p": 0.5, "axis": (-1,)}),
    "rotate": (random_spatial.RandomRotate3D, {"p": 0.5}),
    "dihedral": (random_spatial.RandomDihedral3D, {"p": 0.5}),
}
_INTENSITY: _Parts = {
    "low_resolution": (random_intensity.RandomLowResolution3D, {"p": 0.1, "factor": (1.2, 2.0)}),
    "ghosting": (random_intensity.RandomGhosting3D, {"p": 0.1}),
    "bias_field": (random_intensity.RandomBiasField3D, {"p": 0.15, "strength": 0.4}),
    "gamma": (random_intensity.RandomGamma3D, {"p": 0.2}),
    "contrast": (random_intensity.RandomContrast3D, {"p": 0.15}),
    "brightness": (random_intensity.RandomBrightness3D, {"p": 0.15}),
    "blur": (random_intensity.RandomBlur3D, {"p": 0.1}),
    "rician_noise": (random_intensity.RandomRicianNoise3D, {"p": 0.15}),
    "noise": (random_intensity.RandomNoise3D, {"p": 0.15}),
}
_MR = ("bias_field", "ghosting")


@strict_keywords
def aug_transforms_3d(
    p_all: float | None = None,
    *,
    modality: str | None = None,
    flip: Switch = True,
    affine: Switch = True,
    elastic: Switch = True,
    rotate: Switch = False,
    dihedral: Switch = False,
    rotate_by: Switch = False,
    warp: Switch = False,
    sheer: Switch = False,
    trapezoid: Switch = False,
    perspective: Switch = False,
    noise: Switch = True,
    rician_noise: Switch = False,
    blur: Switch = True,
    brightness: Switch = True,
    contrast: Switch = True,
    gamma: Switch = True,
    low_resolution: Switch = True,
    bias_field: Switch | None = None,
    ghosting: Switch | None = None,
    fill: float | str | None = None,
    extra: Sequence[Any] = (),
) -> list[Any]:
    """Return a list of random transforms for ``batch_tfms``; all spatial parts together are one resampling.

    Every part is a switch: True (its defaults below), False (off), a number (its probability), a dict of arguments of
    its class, or a transform of your own in its place. The defaults suit CT and MR, scaled or not, 96 to 200 mm wide
    patches or whole scans: small tilts, 15 degrees in the plane, 15 % in size, 5 mm of elastic displacement, mirrored
    left and right. Switch ``flip`` off where left and right must be told apart.

    Args:
        p_all: one probability for all parts that are on and given no number or dict. Default: each its own.
        modality: ``'MR'`` adds the bias field and ghosting; ``'CT'`` or None leaves them off.
        flip, affine, elastic, rotate, dihedral, rotate_by, warp, sheer, trapezoid, perspective: spatial parts.
        noise, rician_noise, blur, brightness, contrast, gamma, low_resolution, bias_field, ghosting: intensity parts;
            masks are left alone.
        fill: what lies outside the volume: a number, ``'edge'`` or ``'reflect'``. Default: the smallest value of the
            image, 0 for masks.
        extra: further transforms, put at the end.

    >>> [type(t).__name__ for t in aug_transforms_3d(blur=False, low_resolution=False, contrast=0.3)]
    ['RandomSpatial3D', 'RandomGamma3D', 'RandomContrast3D', 'RandomBrightness3D', 'RandomNoise3D']
    """
    switches = dict(locals())
    if modality not in (None, "CT", "MR"):
        raise ValueError(f"modality must be 'CT', 'MR' or None, got {modality!r}")
    for name in _MR:
        switches[name] = modality == "MR" if switches[name] is None else switches[name]
    parts = [part for name in _SPATIAL if (part := _part(name, switches[name], *_SPATIAL[name], p_all))]
    found = [part for name in _INTENSITY if (part := _part(name, switches[name], *_INTENSITY[name], p_all))]
    merged = [random_spatial.RandomSpatial3D(*parts, fill=fill)] if parts else []
    return [*merged, *found, *extra]


def _part(
    name: str, switch: Switch, kind: type[RandomTransform3D], defaults: dict[str, Any], p_all: float | None
) -> RandomTransform3D | None:
    if isinstance(switch, RandomTransform3D):
        return switch
    if switch is False:
        return None
    if switch is True:
        return kind(**(defaults if p_all is None else {**defaults, "p": p_all}))
    if isinstance(switch, Mapping):
        return kind(**{**defaults, **switch})
    if is_number(switch) and 0 <= switch <= 1:
        return kind(**{**defaults, "p": switch}) if switch else None
    raise TypeError(f"{name} must be True, False, a probability, a dict of arguments or a transform, got {switch!r}")
