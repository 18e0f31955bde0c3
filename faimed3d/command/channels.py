"""Of a model of several channels: how many there must be, and which series of a study they are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any  # of a model

import pandas as pd

from faimed3d._rows import wildcard
from faimed3d.dicom.header.frames import other_frame
from faimed3d.errors import NoImages, SeveralVolumes, UnsupportedImage


def refuse_other_count(model: Any, given: int, advice: str) -> None:
    """Raise a ValueError unless as many channels are given as the network of a model takes, where that is known.

    Args:
        model: of a model file.
        given: channels of a case.
        advice: how to give several.
    """
    wanted = model.channels
    if wanted in (None, given):
        return
    if wanted == 1:
        raise ValueError(f"the model takes scans of 1 channel, and {given} are given: leave the others out")
    plan = model.about.get("plan")
    names = plan.get("fn_col") if isinstance(plan, dict) else None
    called = f" ({', '.join(map(str, names))})" if isinstance(names, list) and len(names) == wanted else ""
    raise ValueError(
        f"the model takes {wanted} channels{called}, and {given} {'is' if given == 1 else 'are'} given. {advice}"
    )


def channels_in(table: pd.DataFrame, descriptions: Sequence[str]) -> list[pd.Series]:
    """The series of a study that are its channels, one for each description, in their order.

    Args:
        table: rows of one study.
        descriptions: a pattern for each channel, as of :func:`~faimed3d.command.scans.chosen`.

    Returns:
        Rows; none where no series is so described, so that the study is none of those that are meant.

    Raises:
        NoImages: there is no series for a channel. SeveralVolumes: there are several, or one is that of two channels.
    """
    patterns = [wildcard(one) for one in descriptions]
    found = [[row for _, row in table.iterrows() if one.fullmatch(row["description"])] for one in patterns]
    if not any(found):
        return []
    for number, (pattern, rows) in enumerate(zip(descriptions, found, strict=True), 1):
        if not rows:
            raise NoImages(f"it has no series described as {pattern!r}, which is channel {number}")
        if len(rows) > 1:
            several = ", ".join(repr(row["description"]) for row in rows[:4]) + ", ..." * (len(rows) > 4)
            raise SeveralVolumes(
                f"it has {len(rows)} volumes described as {pattern!r} ({several}), and channel {number} is one: choose "
                "it by a narrower --description"
            )
    channels = [rows[0] for rows in found]
    refuse_twice([row["files"] or row["series_uid"] for row in channels], "narrower --description")
    return channels


def refuse_twice(channels: Sequence[Any], advice: str) -> None:
    """Raise a SeveralVolumes if one scan would be two channels.

    Args:
        channels: what tells scans apart.
        advice: what to pass instead.
    """
    for number, one in enumerate(channels):
        if one in channels[:number]:
            first = channels.index(one) + 1
            raise SeveralVolumes(f"channels {first} and {number + 1} are one and the same scan: pass {advice}")


def refuse_other_frames(channels: Sequence[Any], strict: bool = True) -> None:
    """Refuse DICOM series as channels of one image whose headers say that they do not share their space.

    Args:
        channels: rows of an inventory; of other sources nothing is known.
        strict: False: warn.

    Raises:
        UnsupportedImage: they lie in two frames of reference.
    """
    rows = [one for one in channels if isinstance(one, pd.Series) and len(one["files"])]
    text = other_frame([row["files"][0] for row in rows], [row["description"] or row["folder"] for row in rows])
    if text is None:
        return
    if strict:
        raise UnsupportedImage(f"{text}faimed3d predict --no-strict")
    warnings.warn(f"{text}faimed3d predict --no-strict", stacklevel=2)
