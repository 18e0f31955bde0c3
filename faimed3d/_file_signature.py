"""How a reader notices that another process replaced or changed a file meanwhile."""

from __future__ import annotations

import os


def file_signature(status: os.stat_result) -> tuple[int, int, int]:
    """Size, time of the last change of the content and time of the last change of the status, both in ns.

    Two equal signatures of one path mean the same content. The number of the file (inode) is no part of them: some
    network file systems give a file a new number when they have forgotten it.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
