"""Where compiled loops are kept on disk: what cannot be read there is compiled anew, never used and never an error.

Numba's own cache refuses to work where a file of it is cut off or the disk is full, and can take one file for another
where several processes write, or one was stopped while it did: it names files by the line of a function and a number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache


class LoopCache(FunctionCache):
    """Numba's cache of one function, whose files are named for its sources as well.

    Args:
        loop: the function.
        version: text that changes with any of the sources.

    Raises:
        RuntimeError: no folder can be written.
    """

    def __init__(self, loop: Callable[..., Any], version: str):
        class Named(CompileResultCacheImpl):
            def get_filename_base(self, fullname: str, abiflags: str) -> str:
                return f"{super().get_filename_base(fullname, abiflags)}-{version}"

        self._impl_class = Named
        super().__init__(loop)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for these types; None where there is nothing that can be used."""
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # whatever unpickling a damaged file raises
            return None
        return found if found is not None and found.signature.args == tuple(sig) else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, where it can be kept."""
        with suppress(OSError):  # the disk is full, or the folder was closed or deleted
            try:
                super().save_overload(sig, data)
            except OSError:
                raise
            except Exception:  # whatever unpickling a damaged index raises
                self.flush()
                super().save_overload(sig, data)


def version_of(sources: list[str]) -> str:
    """A short text that changes with the sources and with Numba; the same for sources that cannot be read."""
    found = hashlib.sha256(numba.__version__.encode())
    for source in sources:
        with suppress(OSError):  # in an archive, beside which nothing is kept anyway
            found.update(Path(source).read_bytes())
    return found.hexdigest()[:8]
