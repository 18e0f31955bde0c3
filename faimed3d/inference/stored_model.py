"""``load_model``: a model out of its file, ready to predict, without anything that trains."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from fastai.learner import load_model as load_into
from fastai.torch_core import default_device
from fastcore.meta import delegates
from torch import Tensor, nn

from faimed3d._by_name import UnknownName
from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.data.trained_on import TrainedOn
from faimed3d.errors import DamagedFile, ReadError, UnsupportedModel
from faimed3d.inference.activations import activation_named
from faimed3d.inference.folder import predict_folder
from faimed3d.inference.members import Member, Members, ShowsBars, class_codes, refuse_differences
from faimed3d.inference.model_file import read_model
from faimed3d.inference.source import Source
from faimed3d.inference.stored_header import check_counts, check_header
from faimed3d.inference.stored_loaders import loaders_from
from faimed3d.inference.stored_networks import build_network, give_weights
from faimed3d.inference.whole_volume import predict_volume
from faimed3d.models.encoder import in_channels

# what constructors raise of arguments that nobody has exported
_OF_CONSTRUCTORS = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError, ArithmeticError)


class StoredModel(Members, ShowsBars):
    """A model out of its file: it predicts as the learner or ensemble that was exported, to the bit.

    Args:
        file: where it was read.
        about: what the file says of it: version, licence, plan, training.
        members: its networks.
        defaults: arguments of ``predict_volume`` that hold where nothing else is said.

    >>> import tempfile
    >>> from faimed3d.data import SegmentationDataLoaders3D
    >>> from faimed3d.models import UNet3D
    >>> from faimed3d.training import unet_learner_3d
    >>> scans = [torch.rand(4, 6, 8) for _ in range(2)]
    >>> dls = SegmentationDataLoaders3D.from_path_func(
    ...     ".", scans, lambda scan: scan > 0.5, codes=["dark", "bright"], valid_pct=0.5, bs=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = load_model(unet_learner_3d(dls, UNet3D, widths=(4, 8)).export_model(f"{folder}/bright.fm3d"))
    >>> model
    StoredModel('bright.fm3d': dark, bright)
    >>> model.trained_on.orientation, model.about["training"]
    ('LPS', [{}])
    """

    outside = "refuse"  # what predict_volume does with a scan that is not such as the networks were trained on

    def __init__(
        self, file: Path, about: Mapping[str, Any], members: list[Member], defaults: Mapping[str, Any]
    ) -> None:
        self.file, self.about, self.members, self._defaults = file, dict(about), members, dict(defaults)
        refuse_differences(members)

    @property
    def trained_on(self) -> TrainedOn:
        """What the first of its networks was trained on."""
        known = self.members[0].model.trained_on
        assert isinstance(known, TrainedOn)  # load_model has set it
        return known

    @property
    def classes(self) -> dict[int, str] | None:
        """Names of the classes or regions by label, or None."""
        return class_codes(self)

    @property
    def channels(self) -> int | None:
        """How many channels a scan must have; None where the network has no 3D convolution that tells it."""
        try:
            return in_channels(self.members[0].model)
        except ValueError:
            return None

    @strict_keywords
    @delegates(predict_volume, but=["learn", "source"])
    def predict_volume(self, source: Source, **kwargs: Any) -> Any:
        """Predict one volume.

        Args:
            source, kwargs: as of :func:`predict_volume`; defaults are those that the file was exported with.
        """
        return predict_volume(self, source, **{**self._defaults, **kwargs})

    @strict_keywords
    @delegates(predict_folder, but=["learn", "items", "out"])
    def predict_folder(self, items: Any, out: str | Path, **kwargs: Any) -> pd.DataFrame:
        """Predict many volumes and save each as a file.

        Args:
            items, out, kwargs: as of :func:`predict_folder`; defaults are those that the file was exported with.
        """
        return predict_folder(self, items, out, **{**self._defaults, **kwargs})

    def __repr__(self) -> str:
        networks = f", {len(self.members)} networks" if len(self.members) > 1 else ""
        names = "" if self.classes is None else f": {', '.join(self.classes.values())}"
        return f"StoredModel({self.file.name!r}{networks}{names})"


@strict_keywords(more=lambda args, kwargs: keywords_of(load_into) if "model" in kwargs or len(args) > 1 else [])
def load_model(
    file: str | os.PathLike[str],
    model: nn.Module | None = None,
    opt: Any = None,
    *,
    device: str | torch.device | int | None = None,
    networks: Mapping[str, Callable[..., nn.Module]] | None = None,
    resample_to_first: bool | None = None,
    **of_fastai: Any,
) -> Any:  # of a network fastai's None
    """Load a model that ``learn.export_model`` has written, to predict with it.

    Nothing is unpickled and no code of the file is run, for there is none. Networks and transforms go by name, and only
    those of faimed3d are known. What trains is not imported.

    Args:
        file: the model file.
        model, opt, of_fastai: fastai has a function of this name, which loads weights into a network, and this is it
            where a network is given. Of a model file leave them out.
        device: where it computes. Default: the GPU where there is one.
        networks: classes or functions of other networks that you know and trust, by their names in the file, such as
            ``{"monai.networks.nets:DynUNet": DynUNet}``.
        resample_to_first: bring all channels of a scan to the grid of its first; False makes another grid an error.
            Default: as in training.

    Returns:
        :class:`StoredModel`.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFile: the file is damaged, or what it says does not fit together: weights, network, channels, classes.
        UnsupportedModel: it is of another format, or names a network or transform that is not known.
        ValueError: nothing can be computed on the device.

    >>> import tempfile
    >>> from faimed3d.data import SegmentationDataLoaders3D
    >>> from faimed3d.models import UNet3D
    >>> from faimed3d.training import unet_learner_3d
    >>> scans = [torch.rand(4, 6, 8) for _ in range(2)]
    >>> dls = SegmentationDataLoaders3D.from_path_func(".", scans, lambda scan: scan > 0.5, valid_pct=0.5, bs=1)
    >>> learn = unet_learner_3d(dls, UNet3D, widths=(4, 8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = learn.export_model(f"{folder}/bright.fm3d", licence="CC0")
    ...     model = load_model(file, device="cpu")
    >>> model.about["licence"], bool((model.predict_volume(scans[0]) == learn.predict_volume(scans[0])).all())
    ('CC0', True)
    """
    if model is not None:
        return load_into(file, model, opt, device=device, **of_fastai)
    place = _checked_device(default_device() if device is None else device)
    content, weights = read_model(file)
    try:
        check_header(content)
        described = content.pop("members")
        if resample_to_first is not None:
            for one in described:
                one["reader"]["resample_to_first"] = bool(resample_to_first)
        members = [_member(number, one, weights, networks or {}, file, place) for number, one in enumerate(described)]
        defaults = {"overlap": content["predict"]["overlap"], "tta": content["predict"]["tta"]}
        return StoredModel(Path(file), content, members, defaults)
    except UnknownName as error:
        raise UnsupportedModel(
            f"{file}: names {error}, which is no network, transform or setting that this version of faimed3d knows. It "
            f"was written by faimed3d {content.get('faimed3d', 'unknown')}: use that or a newer one"
        ) from None
    except ReadError:
        raise
    except _OF_CONSTRUCTORS as error:
        raise DamagedFile(
            f"{file}: what it says of its model cannot be built ({type(error).__name__}: {error}). It was changed"
        ) from error


def _checked_device(device: Any) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # of torch, which was built without it or finds none
        raise ValueError(
            f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}. Pass 'cpu', or leave it out"
        ) from None


def _member(
    number: int, described: Mapping[str, Any], weights: Mapping[str, Tensor], networks: Any, file: Any, device: Any
) -> Any:
    start = f"{number}."
    own = {name.removeprefix(start): one for name, one in weights.items() if name.startswith(start)}
    with torch.random.fork_rng(devices=[]):
        model = build_network(described["network"], networks, file)
    give_weights(model, own, file)
    check_counts(described, model)
    setattr(model, "trained_on", TrainedOn.from_dict(described["trained_on"]))  # noqa: B010 - no module
    loss = SimpleNamespace(activation=activation_named(described["activation"]))
    return SimpleNamespace(dls=loaders_from(described, device), model=model.to(device), loss_func=loss)
