"""``learn.distrib_ctx``, until fastai's own is imported: that import ends in a NameError without accelerate."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Any  # of arguments that are handed on

from fastai.learner import Learner
from fastcore.basics import patch_to

from faimed3d._extras import import_extra


def distrib_ctx(learn: Learner, *args: Any, **kwargs: Any) -> AbstractContextManager:
    """fastai's ``learn.distrib_ctx``: train in as many processes as ``accelerate launch`` or ``torchrun`` has started.

    Args:
        learn: Learner.
        args, kwargs: of fastai's, such as ``sync_bn``.

    Raises:
        ImportError: accelerate is not installed; the message names the extra.
    """
    import_extra("accelerate", "distributed", "learn.distrib_ctx")
    importlib.import_module("fastai.distributed")  # puts its own in the place of this one
    return type(learn).distrib_ctx(learn, *args, **kwargs)


if not hasattr(Learner, "distrib_ctx"):
    patch_to(Learner)(distrib_ctx)  # fastai's own way: a new name, none replaced
