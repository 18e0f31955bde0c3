"""The ordered table of all checks, the worst faults first; ``docs/dicom.md`` shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from faimed3d.dicom.checks import completeness, nearby_images, pixel_layout, stack
from faimed3d.dicom.finding import Fault, Finding, Severity
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.surroundings import Surroundings


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Attributes:
        name: what the check looks for.
        severity: of all its findings; it never falls from row to row.
        find: pure function of a volume and what lies around it; yields faults.
        of_stacks: whether it needs slices that have positions.
        of_headers: whether headers alone tell; else files are looked at, which reading does anyway.
    """

    name: str
    severity: Severity
    find: Callable[[Volume, Surroundings], Iterator[Fault]]
    of_stacks: bool = True
    of_headers: bool = True


ELSEWHERE = "slices in other folders"

CHECKS = (
    Check("damaged files", Severity.UNREADABLE, nearby_images.find_damaged_files, of_stacks=False),
    Check("images without a position", Severity.UNREADABLE, nearby_images.find_unplaced, of_stacks=False),
    Check("unknown thickness", Severity.UNREADABLE, stack.find_unknown_thickness),
    Check("bad pixel layout", Severity.UNREADABLE, pixel_layout.find_bad_pixel_layout, of_headers=False),
    Check(ELSEWHERE, Severity.FOREIGN, nearby_images.find_elsewhere, of_stacks=False),
    Check("slices of another series UID in line", Severity.FOREIGN, nearby_images.find_in_line),
    Check("slices in line without an identifier", Severity.FOREIGN, nearby_images.find_unidentified),
    Check(
        "another series number, study or patient",
        Severity.FOREIGN,
        nearby_images.find_renumbered,
        of_stacks=False,
    ),
    Check("slices in colour", Severity.FOREIGN, nearby_images.find_coloured),
    Check("single images of another kind", Severity.FOREIGN, nearby_images.find_odd),
    Check("stacks side by side", Severity.AMBIGUOUS, stack.find_stacks_side_by_side),
    Check("doubled slices", Severity.AMBIGUOUS, stack.find_doubled),
    Check("mixed slices", Severity.AMBIGUOUS, stack.find_mixture),
    Check("an end before its siblings'", Severity.INCOMPLETE, completeness.find_early_end),
    Check("uneven gaps", Severity.INCOMPLETE, stack.find_uneven_gaps),
    Check("every n-th slice alone", Severity.INCOMPLETE, completeness.find_every_nth),
    Check("positions that siblings have in between", Severity.INCOMPLETE, completeness.find_between),
    Check("lost parts of a concatenation", Severity.INCOMPLETE, completeness.find_lost_parts),
    Check("fewer slices than the header says", Severity.INCOMPLETE, completeness.find_few_slices),
    Check("drift in the plane", Severity.SKEWED, stack.find_drift),
)


def check_volume(volume: Volume, around: Surroundings, files: bool = False) -> tuple[Finding, ...]:
    """Run all checks on a volume.

    Args:
        volume: the Volume.
        around: what lies around it.
        files: run those checks as well that look at files.

    Returns:
        The findings in the order of the table, the worst first.
    """
    return tuple(
        Finding(check.name, check.severity, fault)
        for check in CHECKS
        if (volume.stackable or not check.of_stacks) and (files or check.of_headers)
        for fault in check.find(volume, around)
    )
