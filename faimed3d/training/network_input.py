"""What a network was trained on is kept with it, and every loader brings its images to that, exactly once."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.transforms import CategoryMap, MultiCategorize, Normalize
from fastcore.foundation import L
from fasttransform import Transform
from torch import nn

from faimed3d.augment import Normalize3D, Reorient3D, ZScore3D
from faimed3d.augment.input_statistics import measure_inputs
from faimed3d.cache.descriptions import settings_of
from faimed3d.data.block_transforms import CheckLabels
from faimed3d.data.done_before import all_steps, done_before
from faimed3d.data.label_regions import regions_of
from faimed3d.data.one_orientation import OneOrientation
from faimed3d.data.regions import NameRegions
from faimed3d.data.trained_on import TrainedOn, trained_on
from faimed3d.volume import TensorDicom3D

_KEY = "faimed3d.trained_on"  # in the metadata of a state dict
_FEW = 20  # items that are looked at where only their spacing is wanted
_AFTER_CHANNEL = 91


def look_at(dls: DataLoaders, normalize: bool | str) -> TrainedOn:
    """What a network that is trained with ``dls`` is trained on.

    Args:
        dls: loaders whose transforms may scale the images already.
        normalize: as for ``unet_learner_3d``.
    """
    if normalize not in (True, False, "volume"):
        raise ValueError(f"normalize must be True, False or 'volume', got {normalize!r}")
    if not isinstance(dls.train, TfmdDL):
        warnings.warn(
            f"the training loader is a {type(dls.train).__name__}, not one of fastai's: its batches go to the network "
            "as they are, not normalized, and nothing is known of their spacing and orientation",
            stacklevel=5,
        )
        return TrainedOn()
    for number, dl in enumerate(dls.loaders):
        _leave_out_normalize(dl, silent=number > 0)
    present = _normalizer(dls.train)
    scaling = _scaling(dls.train)
    if normalize is True and present is None and not scaling and _is_mr(dls.train_ds):
        normalize = "volume"
    measure = normalize is True and present is None and not scaling
    how: dict[str, Any] = {"scaling": scaling, "each_volume": normalize == "volume" and present is None}
    then = [ZScore3D("minimum")] if how["each_volume"] and step_text(ZScore3D("minimum")) not in scaling else []
    found = measure_inputs(dls.train, [Normalize3D], **({} if measure else {"most": _FEW}), then=then)
    if normalize == "volume":
        own = step_text(ZScore3D("minimum"))
        how["scaling"] = tuple(text for text in scaling if text != own)
    if present is not None and present.mean is not None:
        how.update(mean=present.mean, std=present.std)
    elif measure and found is not None:
        how.update(mean=found.mean, std=found.std)
    known = trained_on(found, classes_of(dls.train), **how)
    spread = known.spread()
    if spread is not None and found is not None and not found.resampled:
        warnings.warn(spread, stacklevel=5)
    return known


def _is_mr(dataset: Any) -> bool:
    """Whether the first training item says in its DICOM header that it is of MR."""
    item = dataset[0] if len(dataset) else ()
    image = next((x for x in item if isinstance(x, TensorDicom3D)), None) if isinstance(item, tuple | list) else None
    return image is not None and image.metadata.get("0008|0060") == "MR"


def carry(dl: Any, known: TrainedOn, file_wins: bool = False) -> None:
    """Let a loader bring its images to what the network was trained on; refuse one that would bring other images.

    Args:
        dl: loader of fastai; another is left as it is.
        known: of the network.
        file_wins: the numbers of the network take the place of those that the user gave to the loader, with a warning.

    Raises:
        ValueError: the loader scales its images otherwise, stores them in another order, or has other classes.
    """
    dl = inner(dl)
    if not isinstance(dl, TfmdDL):
        return
    if not file_wins:
        compare_classes(dl, known)
    _carry_orientation(dl, known)
    _leave_out_normalize(dl, silent=True)
    _carry_each_volume(dl, known)
    here = tuple(text for text in _scaling(dl) if not (known.each_volume and text == step_text(ZScore3D("minimum"))))
    if here != known.scaling:
        raise ValueError(
            f"the network was trained on images that are scaled by {', '.join(known.scaling) or 'no transform'}, but "
            f"these loaders scale theirs by {', '.join(here) or 'none'}: give them the same item_tfms and batch_tfms"
        )
    _carry_normalization(dl, known, file_wins)


def classes_of(dl: TfmdDL) -> tuple[str, ...] | None:
    """The names of the classes of a loader's targets; None where there are none, or none but numbers for voxels."""
    regions = regions_of(dl)
    vocab = getattr(dl, "vocab", None) if regions is None else regions.vocab
    if not isinstance(vocab, CategoryMap | list | tuple | L) or not all(isinstance(name, str | Real) for name in vocab):
        return None  # of several targets the vocabulary is one of vocabularies
    if _of_voxels(dl) and not all(isinstance(name, str) for name in vocab):
        return None
    return tuple(name if isinstance(name, str) else f"{name:g}" for name in vocab)


def _of_voxels(dl: TfmdDL) -> bool:
    return any(isinstance(step, CheckLabels) for step in dl.after_item.fs)


def compare_classes(dl: TfmdDL, known: TrainedOn) -> None:
    """Raise a ValueError if a label of a loader means another class than to a network.

    Args:
        dl: loader.
        known: of the network.
    """
    here = classes_of(dl)
    if here is None or known.classes is None or here == known.classes:
        return
    several = any(isinstance(step, MultiCategorize) for tl in getattr(dl.dataset, "tls", ()) for step in tl.tfms.fs)
    if here == known.classes[: len(here)] and not several:  # each label means what it means to the network
        return
    names = [*known.classes]
    if regions_of(dl) or any(isinstance(step, NameRegions) for step in dl.after_item.fs):
        way = f"regions of the names {names}, in this order"
    else:
        way = f"codes={names}" if _of_voxels(dl) else f"y_block=CategoryBlock(vocab={names}, sort=False)"
    raise ValueError(
        f"the network was trained for the classes {', '.join(names)}, but these loaders have {', '.join(here)}: a "
        f"label would mean another class. Make them with {way}, or a new learner for theirs"
    )


def _carry_orientation(dl: TfmdDL, known: TrainedOn) -> None:
    if known.orientation is None:
        return
    before = done_before(dl)
    if before is not None:
        if before.orientation not in (None, known.orientation):
            raise ValueError(
                f"the network was trained on scans stored {known.orientation}, but those of this cache are stored "
                f"{before.orientation}: make it with preprocess(..., orientation={known.orientation!r})"
            )
        return
    asked = [step.code.upper() for step in dl.after_item.fs if isinstance(step, Reorient3D)]
    if asked:
        if asked[-1] != known.orientation:
            raise ValueError(
                f"the network was trained on scans stored {known.orientation}, but these loaders bring theirs to "
                f"{asked[-1]}: use Reorient3D({known.orientation!r}), or leave it out"
            )
        return
    steps = dl.after_item.fs
    if [step.orientation for step in steps if isinstance(step, OneOrientation)] != [known.orientation]:
        rest = [step for step in steps if not isinstance(step, OneOrientation)]
        _set_steps(dl.after_item, [*rest, OneOrientation(known.orientation)])


def _carry_each_volume(dl: TfmdDL, known: TrainedOn) -> None:
    scale = ZScore3D("minimum")
    if known.each_volume and step_text(scale) not in _scaling(dl):
        before = done_before(dl)
        if before is not None and before.parts:
            raise ValueError(
                "each volume is to be scaled by its own foreground (normalize='volume'), but these loaders give "
                "patches: put ZScore3D('minimum') into the item_tfms of the cache"
            )
        scale.order = _AFTER_CHANNEL
        _set_steps(dl.after_item, [*dl.after_item.fs, scale])


def _carry_normalization(dl: TfmdDL, known: TrainedOn, file_wins: bool) -> None:
    present = _normalizer(dl)
    wanted = None if known.mean is None else Normalize3D(known.mean, known.std)
    if present is not None and not present.measured and not _same(present, known):
        numbers = TrainedOn(mean=present.mean, std=present.std).normalization
        text = f"the network was trained with the normalization {known.normalization}, but these loaders have {numbers}"
        if not file_wins:
            raise ValueError(
                f"{text}: leave Normalize3D out of their batch_tfms, the learner adds its own; or train a new network"
            )
        warnings.warn(f"{text}: those of the network are used", stacklevel=5)
    elif present is not None and _same(present, known):
        return
    for pipeline in (dl.after_item, dl.after_batch):
        if any(isinstance(step, Normalize3D) for step in pipeline.fs):
            _set_steps(pipeline, [step for step in pipeline.fs if not isinstance(step, Normalize3D)])
    if wanted is not None:
        wanted.measured = True
        _set_steps(dl.after_batch, [*dl.after_batch.fs, wanted])


def _same(present: Normalize3D, known: TrainedOn) -> bool:
    if known.mean is None or present.mean is None or present.std is None or known.std is None:
        return known.mean is None and present.mean is None
    if len(present.mean) != len(known.mean):
        return False
    return all(
        abs(one - other) <= 1e-6 * width
        for ours, theirs in ((present.mean, known.mean), (present.std, known.std))
        for one, other, width in zip(ours, theirs, known.std, strict=True)
    )


def _normalizer(dl: TfmdDL) -> Normalize3D | None:
    found = [step for step in all_steps(dl) if isinstance(step, Normalize3D)]
    if len(found) > 1:
        one, two = (
            "numbers of the training set"
            if step.mean is None
            else TrainedOn(mean=step.mean, std=step.std).normalization
            for step in found[:2]
        )
        raise ValueError(f"the loaders have two normalizations, {one} and {two}: leave one out")
    return found[0] if found else None


def _scaling(dl: TfmdDL) -> tuple[str, ...]:
    """The transforms but ``Normalize3D`` that scale images, with their settings."""
    return tuple(
        step_text(step)
        for step in all_steps(dl)
        if getattr(step, "scales", False) and not isinstance(step, Normalize3D)
    )


def step_text(step: Transform) -> str:
    """A transform with its settings: the attributes that its arguments name, none of its state."""
    settings = settings_of(step).items()
    return f"{type(step).__name__}({', '.join(f'{name}={value!r}' for name, value in settings if name != 'p')})"


def _leave_out_normalize(dl: Any, silent: bool = False) -> None:
    """Take fastai's ``Normalize`` out of a loader of volumes: it acts on ``TensorImage``, so it would do nothing."""
    if not isinstance(dl, TfmdDL) or not any(isinstance(step, Normalize) for step in dl.after_batch.fs):
        return
    _set_steps(dl.after_batch, [step for step in dl.after_batch.fs if not isinstance(step, Normalize)])
    if not silent:
        warnings.warn(
            "fastai's Normalize does nothing to volumes and is left out; Normalize3D, with mean and std of the "
            "training set, takes its place. For numbers of your own pass Normalize3D(mean, std) in batch_tfms",
            stacklevel=6,
        )


def _set_steps(pipeline: Any, steps: list) -> None:
    """Give a pipeline other transforms; other loaders may hold the old list."""
    pipeline.fs = type(pipeline.fs)(steps).sorted(key="order")


def widen(known: TrainedOn, dl: Any) -> TrainedOn:
    """What a network is trained on that goes on with another training loader: the ranges of both.

    Args:
        known: of the network so far.
        dl: loader of the further training.
    """
    if not isinstance(dl, TfmdDL):
        return known
    then = [ZScore3D("minimum")] if known.each_volume and step_text(ZScore3D("minimum")) not in _scaling(dl) else []
    found = measure_inputs(dl, [Normalize3D], most=_FEW, then=then)
    return known if found is None else known.widened(trained_on(found))


def inner(dl: Any) -> Any:
    """The loader within one that shares its batches among several processes."""
    return vars(dl).get("dl", dl) if isinstance(dl, TfmdDL) else dl


def remember(model: nn.Module, known: TrainedOn) -> None:
    """Let a network keep what it was trained on: in its state dict, so in every file of its weights."""
    if not hasattr(model, "trained_on"):
        model.register_state_dict_post_hook(_write)
        model.register_load_state_dict_pre_hook(_read)
    setattr(model, "trained_on", known)  # noqa: B010 - type checkers take attributes of networks for modules


def _write(module, state_dict, prefix, local_metadata):
    # torch's own place for what goes with weights and is none: nothing else that reads the file stumbles over it
    if isinstance(module.trained_on, TrainedOn):
        local_metadata[_KEY] = module.trained_on.to_dict()


def _read(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
    if _KEY in local_metadata:
        module.trained_on = TrainedOn.from_dict(local_metadata[_KEY])


def trained_on_in(state_dict: Any) -> TrainedOn | None:
    """What the network of a state dict was trained on; None where it does not say so."""
    for entries in getattr(state_dict, "_metadata", {}).values():
        if _KEY in entries:
            return TrainedOn.from_dict(entries[_KEY])
    return None


def images_of(batch: Any) -> TensorDicom3D | None:
    """The first input of a batch, where it is one of volumes."""
    first = batch[0] if isinstance(batch, tuple | list) and batch else None
    return first if isinstance(first, TensorDicom3D) and first.ndim == 5 else None
