"""What a check found in a volume: a value. Who reads it decides whether to raise, to warn and mend, or to list it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from faimed3d.dicom.planes import Plane
from faimed3d.errors import ReadError


class Severity(IntEnum):
    """How bad a finding is, the worst first: reading raises the first finding in this order."""

    UNREADABLE = 0
    """A file, or a slice's position, is lost: what the volume was cannot be known."""
    FOREIGN = 1
    """Images of something else lie among the slices, or slices lie somewhere else."""
    AMBIGUOUS = 2
    """Which image belongs at a position, or to the volume, is not clear."""
    INCOMPLETE = 3
    """Slices are missing or unevenly spaced."""
    SKEWED = 4
    """Slices are shifted in their own plane."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a check saw.

    Attributes:
        error: the exception that it becomes.
        text: names the volume or file and the fault, without the way out.
        planes: those that are concerned.
        way_out: what the user can do, as an imperative; ``''`` where the text says it or nothing can be done.
        repair: what ``strict=False`` does about it, as an infinitive; ``''`` where it can do nothing.
    """

    error: type[ReadError]
    text: str
    planes: tuple[Plane, ...] = ()
    way_out: str = ""
    repair: str = ""

    @classmethod
    def from_error(cls, error: ReadError, *planes: Plane) -> Fault:
        """The fault that an error of a reader tells of; it cannot be mended."""
        return cls(type(error), str(error), planes)


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault with its place in the order of all faults.

    Attributes:
        kind: name of the check that found it.
        severity: how bad it is.
        fault: what was seen.
    """

    kind: str
    severity: Severity
    fault: Fault

    @property
    def mendable(self) -> bool:
        """Whether ``strict=False`` can mend it."""
        return bool(self.fault.repair)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes concerned."""
        return self.fault.planes

    @property
    def message(self) -> str:
        """The whole text: the fault, and the way out."""
        fault, lenient = self.fault, f"pass strict=False to {self.fault.repair}"
        if fault.way_out and fault.repair:
            return f"{fault.text}. {fault.way_out}, or {lenient}."
        if fault.repair:
            return f"{fault.text}. {lenient[0].upper()}{lenient[1:]}."
        return f"{fault.text}. {fault.way_out}." if fault.way_out else fault.text

    @property
    def exception(self) -> ReadError:
        """The error that it becomes when it is raised."""
        return self.fault.error(self.message)
