"""``export_model``: a learner or an ensemble as one file that predicts without what trained it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from fastai.learner import Learner
from fastai.torch_core import get_model
from fastcore.basics import patch_to
from torch import Tensor

from faimed3d._arguments import share
from faimed3d._keywords import strict_keywords
from faimed3d.data.trained_on import known_of
from faimed3d.inference.activations import activation_name
from faimed3d.inference.members import Member, loaded, members_of
from faimed3d.inference.model_file import write_model
from faimed3d.inference.stored_header import check_counts, check_header
from faimed3d.inference.stored_loaders import describe_loaders
from faimed3d.inference.stored_networks import describe_network
from faimed3d.inference.whole_volume import flipped_axes


@strict_keywords
def export_model(
    learn: Any,
    file: str | os.PathLike[str],
    *,
    licence: str | None = None,
    about: Mapping[str, Any] | None = None,
    plan: Any = None,
    overlap: float = 0.5,
    tta: bool | tuple[int, ...] = False,
    network: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model to one file, which :func:`load_model` reads: weights, and as JSON all that a prediction needs.

    The file is one of safetensors. It holds the network by name and arguments, the transforms of validation by name and
    arguments, normalization, storage order, classes, the axes that training has mirrored, what the network was trained
    on (:class:`TrainedOn`), and how often and with which scores at the end. It holds no code, nothing pickled, and no
    value of a header.

    Args:
        learn: Learner whose model gives scores of each voxel, or an :class:`Ensemble` of such.
        file: such as ``'liver.fm3d'``; it is written whole or not at all.
        licence: of the weights, for those who get the file.
        about: further plain values for them, such as what it is for and how it was tested. No patient data.
        plan: the plan of the training; its values go into the file, without the reasons.
        overlap, tta: of :func:`predict_volume`, for all predictions of the file that say nothing else.
        network: ``'module:Class'`` of a network that is none of faimed3d's. Who loads the file must pass that class.
        arguments: plain values with which that class builds it.

    Returns:
        The path of the file.

    Raises:
        TypeError: the network, a transform or the activation of the loss has no name; the dls do not say how a scan is
            read, or are of classes of whole volumes; or ``licence``, ``about`` or ``plan`` are no plain values.
        ValueError: the network is not as its name and arguments build it, or gives scores of other classes than the dls
            name.

    >>> import tempfile
    >>> from faimed3d.data import SegmentationDataLoaders3D
    >>> from faimed3d.models import UNet3D
    >>> from faimed3d.training import unet_learner_3d
    >>> scans = [torch.rand(4, 6, 8) for _ in range(2)]
    >>> dls = SegmentationDataLoaders3D.from_path_func(".", scans, lambda scan: scan > 0.5, valid_pct=0.5, bs=1)
    >>> learn = unet_learner_3d(dls, UNet3D, widths=(4, 8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     learn.export_model(f"{folder}/bright.fm3d", licence="CC0").name
    'bright.fm3d'
    """
    flipped_axes(tta)  # checks it
    members = members_of(learn)
    described: list[dict[str, Any]] = []
    weights: dict[str, Tensor] = {}
    for number, member in enumerate(members):
        with loaded(member):
            described.append(_describe(member, network, arguments))
            check_counts(described[-1], get_model(member.model))
            for name, one in get_model(member.model).state_dict().items():
                # a copy: two names of one tensor are refused by the format
                own = one.detach().as_subclass(Tensor).cpu().clone(memory_format=torch.contiguous_format)
                weights[f"{number}.{name}"] = own
    content = {
        "faimed3d": version("faimed3d"),
        "licence": licence,
        "about": dict(about or {}),
        "plan": None if plan is None else _values(plan),
        "training": [_training(member) for member in members],
        "predict": {"overlap": share(overlap, "overlap"), "tta": tta if isinstance(tta, bool) else list(tta)},
        "members": described,
    }
    try:
        json.dumps([content["about"], content["plan"], licence], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"licence, about and plan must be plain values, as JSON holds them: {error}") from None
    content = json.loads(json.dumps(content, allow_nan=False))
    check_header(content)
    write_model(file, content, weights)
    return Path(file)


patch_to(Learner)(export_model)  # fastai's own way: a new name, none replaced


def _describe(member: Member, network: str | None, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    loaders = describe_loaders(member)
    return {
        "network": describe_network(get_model(member.model), network, arguments),
        "activation": activation_name(member, loaders["regions"]),
        "trained_on": known_of(member).to_dict(),
        **loaders,
    }


def _values(plan: Any) -> Any:
    content = json.loads(plan if isinstance(plan, str) else plan.to_json())
    return content.get("plan", content)


def _training(member: Any) -> dict[str, Any]:
    """Epochs and the last scores of a learner's training; of a stored network nothing is known."""
    recorder = vars(member).get("recorder")
    rows = getattr(recorder, "values", None) or []
    if not rows:
        return {}
    names = [name for name in recorder.metric_names if name not in ("epoch", "time")]
    pairs = zip(names, rows[-1], strict=False)
    scores = {name: float(value) if value is not None and math.isfinite(value) else None for name, value in pairs}
    return {"epochs": len(rows), "last": scores}
