"""Which class is each volume of? Probabilities of each case, and what is true of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from fastai.data.core import TfmdDL
from fastai.data.transforms import Categorize, MultiCategorize
from fastai.learner import Learner
from fastai.torch_core import get_model
from fastprogress.fastprogress import progress_bar
from torch import Tensor

from faimed3d.augment import RandomDihedral3D
from faimed3d.data.trained_on import TrainedOn
from faimed3d.evaluation.cases import names_of, refuse_other_classes
from faimed3d.evaluation.class_table import PROBABILITY, ClassTable
from faimed3d.geometry import Geometry
from faimed3d.inference import Ensemble
from faimed3d.inference.members import Member, class_codes, loaded, members_of
from faimed3d.inference.network import activation_of
from faimed3d.inference.sides import mirrored_channels, trained_flips, training_steps
from faimed3d.inference.source import device_and_type
from faimed3d.inference.whole_volume import flipped_axes
from faimed3d.models.encoder import evaluating
from faimed3d.spatial.rotations import interchangeable
from faimed3d.training.network_input import carry

View = tuple[tuple[int, int, int], tuple[int, ...]]  # order of the axes D, H, W, and those that are mirrored then


def are_of_classes(learn: Learner | Ensemble) -> bool:
    """Whether the targets of a learner are single classes of whole volumes."""
    parts: Any = getattr(getattr(learn.dls, "train_ds", None), "tls", ())
    steps = list(parts[1].tfms.fs) if len(parts) == 2 else []
    return any(isinstance(step, Categorize) and not isinstance(step, MultiCategorize) for step in steps)


def evaluate_classes(
    learn: Learner | Ensemble, data: Any = None, names: Sequence[str] | None = None, tta: bool | Sequence[int] = False
) -> ClassTable:
    """Predict the classes of whole volumes.

    Args:
        learn: Learner whose model gives scores (B, classes), or an ensemble of such, which predicts the mean.
        data, names: as of :func:`evaluate`.
        tta: the mean over volumes that are mirrored: along these axes; True: along those that training has mirrored,
            and turned by all symmetries of the box where training has drawn them.
    """
    axes = flipped_axes(tta)
    members = members_of(learn)
    loaders = [_loader(member, data) for member in members]
    if not len(loaders[0].dataset):
        raise ValueError("there are no cases to evaluate: the validation set is empty; give a table, evaluate(df)")
    found: Tensor | None = None
    truths: Tensor | None = None
    bar = len(loaders) * len(loaders[0])
    done = iter(progress_bar(range(bar), leave=False) if hasattr(learn, "progress") else range(bar))
    for member, dl in zip(members, loaders, strict=True):
        probabilities, truths = _predicted(member, dl, axes, done)
        found = probabilities if found is None else found + probabilities
    assert found is not None
    assert truths is not None
    found /= len(members)
    classes = [str(name) for name in learn.dls.vocab]
    names = names_of(learn.dls, data) if names is None else [str(name) for name in names]
    if len(names) != len(found):
        raise ValueError(f"there are {len(found)} cases and {len(names)} names: each case needs one")
    rows: dict[str, Any] = {"case": names, "class": [classes[k] for k in truths.tolist()]}
    rows["predicted"] = [classes[k] for k in found.argmax(1).tolist()]
    rows |= {PROBABILITY + name: found[:, k].tolist() for k, name in enumerate(classes)}
    return ClassTable(rows)


def _loader(member: Member, data: Any) -> TfmdDL:
    """The cases in their order, as the network of a member knows them."""
    if data is None:
        return member.dls.valid
    if not isinstance(data, TfmdDL):
        return member.dls.test_dl(data, with_labels=True)
    refuse_other_classes(member, data)
    dl = data.new(shuffle=False, drop_last=False)
    known = getattr(get_model(member.model), "trained_on", None)
    if isinstance(known, TrainedOn):
        carry(dl, known)
    return dl


def _predicted(member: Member, dl: TfmdDL, axes: tuple[int, ...] | None, done: Iterator[int]) -> tuple[Tensor, Tensor]:
    """Probabilities (N, classes) and true classes (N,) of the volumes of a loader."""
    (device, dtype), activation = device_and_type(member), activation_of(member, None)
    model = get_model(member.model)
    found, truths = [], []
    dataset: Any = dl.dataset  # that of training would move and change the volumes at random
    as_validation = dataset.set_split_idx(1) if hasattr(dataset, "set_split_idx") else nullcontext()
    with loaded(member), as_validation, evaluating(model), torch.inference_mode():
        for batch in dl:
            if len(batch) != 2:
                raise TypeError(
                    "evaluate compares predicted classes with true ones, and this loader has none: make it with "
                    "dls.test_dl(table, with_labels=True), or give the table itself, evaluate(table)"
                )
            images, classes = batch
            next(done, None)
            geometry = images[0].geometry or Geometry(images.shape[-3:])
            x = images.as_subclass(Tensor).to(device, dtype)
            several = [activation(model(_seen(x, view)).float()) for view in _views(member, axes, geometry)]
            found.append(torch.stack(several).mean(0).cpu())
            truths.append(torch.as_tensor(classes).as_subclass(Tensor).cpu())
    return torch.cat(found), torch.cat(truths)


def _views(member: Member, axes: tuple[int, ...] | None, geometry: Geometry) -> list[View]:
    """How the network sees a volume: as it is, mirrored, and turned."""
    orders: list[Any] = [(0, 1, 2)]
    if axes is None:
        axes = trained_flips(member)
        if any(isinstance(step, RandomDihedral3D) for step in training_steps(member)):
            every = itertools.permutations(range(3))
            orders = [o for o in every if all(interchangeable(geometry, new, old) for new, old in enumerate(o))]
    mirrored_channels(member, axes, geometry, class_codes(member), 0)  # refuses to mix classes of left and right
    mirrors = itertools.chain.from_iterable(itertools.combinations(axes, count) for count in range(len(axes) + 1))
    return list(itertools.product(orders, mirrors))


def _seen(x: Tensor, view: View) -> Tensor:
    """(B, C, D, H, W) in another order of the axes, mirrored."""
    order, mirrored = view
    turned = x.permute(0, 1, *(axis + 2 for axis in order)).flip([axis + 2 for axis in mirrored])
    return turned.contiguous()
