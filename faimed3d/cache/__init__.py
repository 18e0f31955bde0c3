"""Cases as they are after all steps that change nothing from epoch to epoch: one file each, read in boxes.

- ``preprocess``: a table of cases to such files, each named by what it was made of.
- ``cases``: the table with its files, which is what loaders take.
- ``case_file``: one file, and boxes of it.
"""

from faimed3d.cache.case_file import CaseFile, write_case
from faimed3d.cache.cases import Cache, CacheError, StaleCache
from faimed3d.cache.preprocess import preprocess

__all__ = ["Cache", "CacheError", "CaseFile", "StaleCache", "preprocess", "write_case"]
