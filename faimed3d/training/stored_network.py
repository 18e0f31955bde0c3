"""A trained network whose weights lie in a file, and are in memory while it predicts."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any  # of the loaders and of what else a file says

import numpy as np
import torch
from fastai.learner import Learner
from fastai.torch_core import get_model
from fastcore.foundation import L
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d.data.trained_on import TrainedOn, known_of
from faimed3d.inference.members import ShowsBars
from faimed3d.training.network_input import carry, remember, trained_on_in

_KEY = "faimed3d"
_PICKLED = (".pth", ".pt")
# what the optimizers in files of ``learn.save`` are made of; fastai's ``load_model`` allows the same
_SCALAR: Any = np.float64(0).__reduce__()[0]
_OF_OPTIMIZERS = [L, _SCALAR, np.dtype, *(getattr(np.dtypes, name) for name in np.dtypes.__all__)]


class StoredNetwork(ShowsBars):
    """A member of an :class:`Ensemble` whose weights stay in their file until its turn comes, and go after it.

    So of any number of stored networks one is in memory at a time. Each prepares scans as its file says that the
    network was trained: normalization and storage order.

    Args:
        file: of :meth:`save`, or of ``learn.save``.
        learn: a learner whose network has the same layers, and whose ``dls`` read and prepare scans as in training. It
            stays what it is, and nothing of it is kept but copies without items and weights.

    Raises:
        ValueError: the file holds no weights, those of other layers, or of a network for other classes.
        FileNotFoundError: there is no such file.

    >>> import tempfile
    >>> from faimed3d.models import UNet3D
    >>> from faimed3d.training import unet_learner_3d
    >>> from faimed3d.data import SegmentationDataLoaders3D
    >>> scans = [torch.rand(4, 6, 8) for _ in range(2)]
    >>> dls = SegmentationDataLoaders3D.from_path_func(".", scans, lambda scan: scan > 0.5, valid_pct=0.5, bs=1)
    >>> learn = unet_learner_3d(dls, UNet3D, widths=(4, 8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     network = StoredNetwork.save(f"{folder}/fold0.safetensors", learn)
    ...     with network.loaded():
    ...         print(next(network.model.parameters()).numel() > 0)
    True
    >>> next(network.model.parameters()).numel()
    0
    """

    def __init__(self, file: str | os.PathLike[str], learn: Learner) -> None:
        self.file = Path(file)
        weights, known, _ = read_network(self.file)
        self.model: nn.Module = copy.deepcopy(get_model(learn.model))
        self.loss_func: Any = learn.loss_func
        self._bars = hasattr(learn, "progress")
        self._compare({name: tuple(one.shape) for name, one in weights.items()})
        self._release()
        known = known_of(learn) if known is None else known
        remember(self.model, known)
        self.dls: Any = _own(learn.dls)
        for dl in self.dls.loaders:
            carry(dl, known)

    @classmethod
    def save(
        cls, file: str | os.PathLike[str], learn: Learner, about: Mapping[str, Any] | None = None
    ) -> StoredNetwork:
        """Write the weights of a learner and what its network was trained on, whole or not at all, without pickle.

        Args:
            file: a safetensors file; other programs find the weights by their names.
            learn: Learner.
            about: further values to keep in the file, as JSON holds them.

        Returns:
            The network of the file.
        """
        model = get_model(learn.model)
        # a copy of each: two names of one tensor are refused by the format
        weights = {name: one.detach().as_subclass(Tensor).cpu().clone(memory_format=torch.contiguous_format)
                   for name, one in model.state_dict().items()}  # fmt: skip
        text = json.dumps({"trained_on": known_of(learn).to_dict(), **(about or {})})
        with unfinished_folder(file) as folder:
            inner = os.path.join(folder, "network")
            save_file(weights, inner, metadata={"format": "pt", _KEY: text})
            replace_file(inner, os.path.abspath(file))
        return cls(file, learn)

    @contextmanager
    def loaded(self) -> Iterator[nn.Module]:
        """The network with its weights, in memory until the end."""
        weights = read_network(self.file)[0]
        self._compare({name: tuple(one.shape) for name, one in weights.items()})
        for name, own in self._tensors.items():
            own.data = weights[name].to(own.device, own.dtype)
        try:
            yield self.model
        finally:
            self._release()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.file)!r})"

    @property
    def _tensors(self) -> dict[str, Any]:
        return self.model.state_dict(keep_vars=True)

    def _compare(self, found: Mapping[str, tuple[int, ...]]) -> None:
        if not hasattr(self, "_shapes"):
            self._shapes = {name: tuple(one.shape) for name, one in self._tensors.items()}
        if found == self._shapes:
            return
        name = next(name for name in (*self._shapes, *found) if self._shapes.get(name) != found.get(name))
        here, there = (_shape(shapes.get(name)) for shapes in (self._shapes, found))
        raise ValueError(
            f"{self.file}: holds weights of another network: {name} is {there} there, and {here} in the network of the "
            "learner. Give a learner with the same network"
        )

    def _release(self) -> None:
        for own in self._tensors.values():
            own.data = own.data.new_empty(0)


def read_network(file: Path) -> tuple[dict[str, Tensor], TrainedOn | None, dict[str, Any]]:
    """The weights in a file, on the CPU; what the network was trained on, if the file says it; what else it says.

    Args:
        file: of :meth:`StoredNetwork.save` or of ``learn.save``.

    Raises:
        ValueError: it is none.
    """
    if file.suffix in _PICKLED:
        with torch.serialization.safe_globals(_OF_OPTIMIZERS):
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        state = state["model"] if set(state) == {"model", "opt"} else state
        return dict(state), trained_on_in(state), {}
    try:
        with safe_open(file, framework="pt") as opened:
            said = json.loads((opened.metadata() or {}).get(_KEY, "{}"))
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{file}: holds no weights, or is damaged ({error})") from None
    known = said.pop("trained_on", None)
    return weights, None if known is None else TrainedOn.from_dict(known), said


def _own(dls: Any) -> Any:
    """The loaders without items, and with lists of transforms of their own."""
    empty = dls.new_empty()
    for dl in empty.loaders:
        for event in ("after_item", "after_batch"):
            pipeline = copy.copy(getattr(dl, event))
            pipeline.fs = type(pipeline.fs)(list(pipeline.fs))
            setattr(dl, event, pipeline)
    return empty


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "one number"
