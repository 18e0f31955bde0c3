"""What a model file says of itself, checked: each entry is of its kind, and they fit each other and the network.

The checksum of a file says that it is as it was written, not that somebody who knows what they do has written it.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from torch import nn

from faimed3d._arguments import is_number
from faimed3d._keywords import keywords_of, refuse_unknown
from faimed3d.geometry import Geometry
from faimed3d.models.encoder import in_channels, num_features_model
from faimed3d.models.recipe import NAMES
from faimed3d.volume import TensorDicom3D

Check = Callable[[Any], bool]


def _is(*kinds: type) -> Check:
    return lambda value: isinstance(value, kinds)


def _whole(low: int, high: float = math.inf) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(low: float = -math.inf) -> Check:
    return lambda value: is_number(value) and value > low


def _list(check: Check, count: int | None = None, least: int = 0) -> Check:
    def fits(value: Any) -> bool:
        return (
            isinstance(value, list) and len(value) >= least and count in (None, len(value)) and all(map(check, value))
        )

    return fits


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _different(check: Check) -> Check:
    return lambda value: check(value) and len({*value}) == len(value)


def _rising(check: Check) -> Check:
    """A list of numbers, or of lists of them, none of which is smaller than the one before it."""

    def fits(value: Any) -> bool:
        columns = zip(*value, strict=True) if check(value) and isinstance(value[0], list) else [value]
        return check(value) and all(a <= b for column in columns for a, b in pairwise(column))

    return fits


def _is_orientation(value: Any) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(value, str) and bool(Geometry((1, 1, 1)).reorientation(value))
    return False


_TRIPLES = _or_none(_rising(_list(_list(_number(0), 3), 3)))
_AXES = _different(_list(_whole(0, 2)))
_OF_FILE: dict[str, tuple[Check, str]] = {
    "faimed3d": (_is(str), "a version"),
    "licence": (_or_none(_is(str)), "a text or null"),
    "about": (_is(dict), "an object"),
    "training": (_list(_is(dict)), "a list of objects"),
    "predict.overlap": (lambda value: is_number(value) and 0 <= value < 1, "a number from 0 to below 1"),
    "predict.tta": (lambda value: isinstance(value, bool) or _AXES(value), "true, false or different axes of 0, 1, 2"),
    "members": (_list(_is(dict), least=1), "a list of networks"),
}
_OF_MEMBER: dict[str, tuple[Check, str]] = {
    "network.name": (_is(str), "a text"),
    "network.arguments": (_is(dict), "an object"),
    "activation": (_is(str), "a text"),
    "reader.resample_to_first": (_is(bool), "true or false"),
    "item_tfms": (_list(_is(dict)), "a list of transforms"),
    "batch_tfms": (_list(_is(dict)), "a list of transforms"),
    "patch": (_or_none(_list(_whole(1), 3)), "three whole numbers from 1 up, or null"),
    "mirrored.axes": (_AXES, "different axes of 0, 1, 2"),
    "regions": (_or_none(_different(_list(_is(str), least=1))), "different names, or null"),
    "codes": (_or_none(_list(_is(str), least=1)), "names, or null"),
}
_OF_TRAINING: dict[str, tuple[Check, str]] = {
    "orientation": (_or_none(_is_orientation), "three letters such as LPS, or null"),
    "spacing": (_TRIPLES, "three times three numbers above 0 that rise, or null"),
    "mean": (_or_none(_list(_number(), least=1)), "numbers, or null"),
    "std": (_or_none(_list(_number(0), least=1)), "numbers above 0, or null"),
    "each_volume": (_is(bool), "true or false"),
    "scaling": (_list(_is(str)), "a list of names"),
    "classes": (_or_none(_list(_is(str), least=1)), "names, or null"),
    "items": (_whole(0), "a whole number from 0 up"),
    "modalities": (_list(_is(str)), "a list of names"),
    "stated": (_is(bool), "true or false"),
    "extent": (_TRIPLES, "three times three numbers above 0 that rise, or null"),
    "intensities": (_or_none(_list(_list(_rising(_list(_number(), 2)), 3), least=1)), "three spans a channel, or null"),
}


def check_header(content: Mapping[str, Any]) -> None:
    """Raise an error unless each entry of a model file is of its kind, and names and numbers of a network fit.

    Args:
        content: of ``write_model``.

    Raises:
        ValueError: an entry is something else. KeyError: there is none.
    """
    _check(content, _OF_FILE, "")
    for number, member in enumerate(content["members"]):
        where = f"members[{number}]."
        _check(member, _OF_MEMBER, where)
        known = member["trained_on"]
        _check(known, {name: check for name, check in _OF_TRAINING.items() if name in known}, f"{where}trained_on.")
        given = dict(member["reader"]["create"]["mapping"])
        refuse_unknown(
            given, [name for name in keywords_of(TensorDicom3D.create) if name != "source"], f"{where}reader"
        )
        regions, codes = member["regions"], member["codes"]
        if regions is not None and codes != ["background", *regions]:
            raise ValueError(f"{where}codes must be background and the regions {regions}, got {codes}")
        _check_input(member, known, where)


def check_counts(member: Mapping[str, Any], model: nn.Module) -> None:
    """Raise a ValueError unless what a file says of channels and classes fits a network, if it is one of ours.

    Args:
        member: entry of the file, after :func:`check_header`.
        model: its network.
    """
    if member["network"]["name"] not in NAMES:
        return  # nobody knows what it takes and gives
    channels = in_channels(model)
    scores = num_features_model(model, member["network"]["arguments"].get("img_size"))
    known, regions, codes = member["trained_on"], member["regions"], member["codes"]
    for name, least in (("mean", 1), ("std", 1), ("intensities", channels)):
        counted = known.get(name)
        if counted is not None and len(counted) not in (least, channels):
            raise ValueError(f"trained_on.{name} is of {len(counted)} channels, and the network takes {channels}")
    if regions is not None and len(regions) != scores:
        raise ValueError(f"regions are {len(regions)}, and the network gives scores of {scores}")
    if regions is None and codes is not None and len(codes) not in ((1, 2) if scores == 1 else (scores,)):
        raise ValueError(f"codes are {len(codes)} names, and the network gives scores of {scores} classes")
    if scores == 1 and member["activation"] == "softmax":
        raise ValueError("activation is softmax, which is 1 everywhere of a network of one channel")
    pairs = member["mirrored"]["swap_labels"]
    labels = [] if pairs is None else [label for pair in pairs["mapping"] for label in pair]
    first, last = (1, scores) if regions is not None else (0, max(scores - 1, 1))
    if not _list(_whole(first, last))(labels) or any(len({*side}) < len(side) for side in (labels[::2], labels[1::2])):
        raise ValueError(f"mirrored.swap_labels must pair labels from {first} to {last}, each once, got {pairs}")


def _check(node: Mapping[str, Any], checks: Mapping[str, tuple[Check, str]], where: str) -> None:
    for path, (fits, words) in checks.items():
        value = functools.reduce(lambda inner, name: inner[name], path.split("."), node)
        if not fits(value):
            raise ValueError(f"{where}{path} must be {words}, got {value!r:.80}")


def _check_input(member: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """Storage order and normalization must be those of the training: nothing in a result shows that they were not."""
    steps = [*member["item_tfms"], *member["batch_tfms"]]
    given = {str(step.get("new")).rpartition(".")[2]: step.get("arguments") for step in steps}
    trained, mean, std = known.get("orientation"), known.get("mean"), known.get("std")
    if trained is not None and "OneOrientation" in given and "Reorient3D" not in given:
        order = given["OneOrientation"]["orientation"]
        if order not in (None, trained):
            raise ValueError(f"{where}item_tfms store scans as {order}, and trained_on.orientation is {trained}")
    if mean is None and std is None:
        return
    used = given.get("Normalize3D") or {}
    if not _alike(mean, used.get("mean")) or not _alike(std, used.get("std")):
        raise ValueError(f"{where}trained_on says mean {mean} and std {std}, and the transforms Normalize3D({used})")


def _alike(some: Any, others: Any) -> bool:
    """Whether two numbers, or one for each channel, are the same but for rounding."""
    a, b = ([value] if is_number(value) else value for value in (some, others))
    return bool(a and b) and all(
        math.isclose(x, y, rel_tol=1e-3, abs_tol=1e-6) for x, y in zip(a * len(b), b * len(a), strict=True)
    )
