"""Whether a scan is such as a network was trained on: a verdict for each rule that it breaks, as values.

A network says something of any voxels, and shows no sign that it was not trained on such ones. So the rules look at the
scan, not at the result. docs/model_file.md has them in a table.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from faimed3d.augment.input_statistics import Ends, extent_of
from faimed3d.data.trained_on import Span, TrainedOn
from faimed3d.errors import UnsuitedScan
from faimed3d.geometry import Geometry

OTHER_UNITS = 4.0  # times as wide or as narrow: grey values of 8 bits are 5 times narrower than CT and more
SHIFTED = 0.25  # of the widest span: CT without its intercept of -1024 HU is shifted by a third of its span and more
OTHER_EXTENT = 2.0  # times as long or as short: scans of one part vary less; a whole body is as long as 4 abdomens

ACTIONS = ("refuse", "warn")


@dataclass(frozen=True)
class Seen:
    """What is known of a scan on its way to the network.

    Args:
        modality: that its DICOM header names; '' where there is none.
        source: its grid as it was read.
        working: grid on which the network gets it.
        uncropped: that before anything crops it to a size.
        ends: of each channel, in the units before ``mean`` and ``std``.
    """

    modality: str
    source: Geometry
    working: Geometry
    uncropped: Geometry
    ends: tuple[Ends, ...]


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a scan that breaks it.

    Args:
        rule: its name.
        refused: the scan is refused; else a warning does.
        text: in words.
    """

    rule: str
    refused: bool
    text: str


def judge(known: TrainedOn, seen: Seen) -> tuple[Verdict, ...]:
    """The verdicts on a scan, the worst first; none where it is as those of the training, or nothing is known of them.

    Args:
        known: of the network.
        seen: of the scan.

    >>> known = TrainedOn("LPS", modalities=("CT",))
    >>> grid = Geometry((2, 3, 4))
    >>> [(verdict.rule, verdict.refused) for verdict in judge(known, Seen("MR", grid, grid, grid, ()))]
    [('modality', True)]
    """
    found = [_modality(known, seen), _sides(known, seen), judge_spacing(known, seen.source, seen.working)]
    found += [*_intensities(known, seen), _extent(known, seen)]
    verdicts = [verdict for verdict in found if verdict is not None]
    return tuple(sorted(verdicts, key=lambda verdict: not verdict.refused))


def obey(verdicts: Sequence[Verdict], outside: str, scan: str) -> None:
    """Refuse a scan, or warn of it.

    Args:
        verdicts: on it.
        outside: ``'refuse'``, or ``'warn'`` where the caller wants no refusal.
        scan: its name, for messages.

    Raises:
        UnsuitedScan: a verdict refuses it, and ``outside`` does not say otherwise.
    """
    refused = [verdict.text for verdict in verdicts if verdict.refused]
    if refused and outside == "refuse":
        raise UnsuitedScan(f"{scan}: {'. And '.join(refused)}. To predict all the same pass outside='warn'")
    if verdicts:
        warnings.warn(f"{scan}: {'. And '.join(verdict.text for verdict in verdicts)}", stacklevel=4)


def _modality(known: TrainedOn, seen: Seen) -> Verdict | None:
    if not seen.modality or not known.modalities or seen.modality in known.modalities:
        return None
    text = (
        f"its header says that it is {seen.modality}, but the network was trained on {' and '.join(known.modalities)}"
    )
    return Verdict("modality", True, text)


def _sides(known: TrainedOn, seen: Seen) -> Verdict | None:
    if known.orientation is None or not known.stated or seen.source.stated:
        return None
    text = (
        "nothing says how it lies in the patient, so left could be right, and of all scans of the training this was "
        "known: pass like=, a volume that lies there"
    )
    return Verdict("sides", True, text)


def judge_spacing(known: TrainedOn, source: Geometry, working: Geometry) -> Verdict | None:
    """The verdict on the spacing of a scan.

    Args:
        known: of the network.
        source: grid of the scan as it was read.
        working: grid on which the network gets it.
    """
    text = known.spacing_error(working)
    if text is None:
        return None
    if not source.stated:
        text += ". Or is it only that nothing says where it lies? Then pass like=, a volume that lies there"
    return Verdict("spacing", True, text)


def _intensities(known: TrainedOn, seen: Seen) -> list[Verdict]:
    if known.intensities is None or len(known.intensities) != len(seen.ends):
        return []
    several = len(seen.ends) > 1
    verdicts = []
    for number, (spans, ends) in enumerate(zip(known.intensities, seen.ends, strict=True), 1):
        verdict = _of_channel(spans, ends, f"of channel {number} " if several else "")
        verdicts += [] if verdict is None else [verdict]
    return verdicts


def _of_channel(spans: tuple[Span, Span, Span], ends: Ends, channel: str) -> Verdict | None:
    (first, last), (low, high) = spans[0], ends
    narrowest, widest = spans[2]
    if not widest:
        return None
    text = (
        f"its values {channel}run from {low:.4g} to {high:.4g} (0.5th to 99.5th percentile, as the network gets them), "
        f"but those of the training began between {first:.4g} and {last:.4g}, and ended between {spans[1][0]:.4g} and "
        f"{spans[1][1]:.4g}"
    )
    if not narrowest / OTHER_UNITS <= high - low <= widest * OTHER_UNITS:
        return Verdict("intensity", True, f"{text}: these may be other units, such as grey values or a window of CT")
    below, above = (_beyond(value, span) / (SHIFTED * widest) for value, span in ((low, spans[0]), (high, spans[1])))
    if min(below, above) > 1 or max(below, above) < -1:
        return Verdict("intensity", True, f"{text}: all of them are shifted, as CT that lacks its rescale intercept is")
    if max(abs(below), abs(above)) > 1:
        return Verdict("intensity", False, text)
    return None


def _beyond(value: float, span: Span) -> float:
    """How far a value lies above a span, or, negative, below it."""
    return max(value - span[1], 0.0) + min(value - span[0], 0.0)


def _extent(known: TrainedOn, seen: Seen) -> Verdict | None:
    if known.extent is None or known.orientation is None or not (known.stated and seen.source.stated):
        return None
    here, (low, _, high) = extent_of(seen.uncropped), known.extent
    if all(a / OTHER_EXTENT <= mm <= b * OTHER_EXTENT for a, mm, b in zip(low, here, high, strict=True)):
        return None
    ranges = " x ".join(f"{a:.0f} to {b:.0f}" for a, b in zip(low, high, strict=True))
    text = (
        f"it shows {' x '.join(f'{mm:.0f}' for mm in here)} mm, and the scans of the training {ranges} mm: it may be "
        "of another part of the body, where the network has never looked"
    )
    return Verdict("field of view", False, text)
