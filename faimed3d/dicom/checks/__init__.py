"""The checks of a volume before it is read: each looks and says what it found, and changes nothing.

``check_volume`` runs the ordered table ``CHECKS`` and returns the findings, the worst first.
"""

from faimed3d.dicom.checks.table import CHECKS, ELSEWHERE, check_volume

__all__ = ["CHECKS", "ELSEWHERE", "check_volume"]
