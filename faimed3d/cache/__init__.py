"""Cases as they are after all steps that change nothing from epoch to epoch: one file each, read in boxes."""

from faimed3d.cache.case_file import CaseFile, write_case

__all__ = ["CaseFile", "write_case"]
