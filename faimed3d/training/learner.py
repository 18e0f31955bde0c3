"""Learners for volumes: U-Net and DeepLab for labels of voxels, classifiers and regressors of whole volumes.

Everything else of training is fastai's: ``fit_one_cycle``, ``fine_tune``, ``to_fp16``, ``GradientAccumulation`` and any
network with a plain ``Learner``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any  # of arguments that are handed on to fastai and to the networks

import fastai.callback.all  # noqa: F401 - gives Learner fit_one_cycle, fine_tune, lr_find, to_fp16, no_bar
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.transforms import get_c
from fastai.learner import Learner, Metric
from fastai.torch_core import trainable_params
from fastcore.foundation import L
from fastcore.meta import delegates
from torch import Tensor, nn

from faimed3d import inference  # noqa: F401 - gives Learner its predict_volume and predict_folder
from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.data import CheckLabels
from faimed3d.data.flat_transforms import warn_of_flat_transforms
from faimed3d.data.loaders import Loaders3D
from faimed3d.data.regions import NameRegions
from faimed3d.data.volume_dl import VolumeDL
from faimed3d.inference.sides import warn_of_mixed_sides
from faimed3d.losses import DiceCELoss3D, RegionLoss3D
from faimed3d.models import UNet3D, create_cnn_model_3d, create_deeplab_model_3d, create_unet_model_3d
from faimed3d.models.cnn import cnn_split
from faimed3d.models.unet import encoder_split
from faimed3d.training.callbacks import KeepGeometry
from faimed3d.training.check_sources import CheckSources
from faimed3d.training.dice import Dice3D
from faimed3d.training.ignored import agree_on_ignored
from faimed3d.training.label_loss import WarnOfLostLabels
from faimed3d.training.network_input import look_at
from faimed3d.training.pairing import refuse_loss_for_pictures
from faimed3d.training.volume_learner import VolumeLearner
from faimed3d.volume import TensorMask3D

_NAMED = ["dls", "model", "loss_func", "splitter", "cbs"]  # arguments of Learner that our learners name themselves


@strict_keywords(more=lambda args, kwargs: [*keywords_of(create_unet_model_3d), *keywords_of(UNet3D)])
@delegates(Learner.__init__, but=_NAMED)
def unet_learner_3d(
    dls: DataLoaders,
    arch: Callable[..., nn.Module] | nn.Module,
    *,
    n_out: int | None = None,
    pretrained: bool = False,
    n_in: int | None = None,
    loss_func: Callable | None = None,
    splitter: Callable | None = None,
    cbs: Callback | Sequence[Callback] | None = None,
    cut: int | Callable | None = None,
    model_args: Mapping[str, Any] | None = None,
    normalize: bool | str = True,
    **kwargs: Any,
) -> VolumeLearner:
    """Make a Learner with a U-Net over the encoder of ``arch``.

    Args:
        dls: batches of images (B, C, D, H, W) and labels (B, D, H, W). ``DataLoaders(train, valid)`` of torch's own
            loaders train and validate; ``n_out`` and ``loss_func`` are then needed, and ``get_preds`` needs ``dl``.
        arch: builds the encoder, such as torchvision's ``r3d_18``, ``mc3_18``, ``r2plus1d_18``; or ``UNet3D`` for the
            small network that trains from scratch.
        n_out: classes. Default: those of the ``dls``.
        pretrained: load the weights that ``arch`` offers (Kinetics-400 for torchvision's; downloaded once, hash
            checked) and freeze the encoder. False, the default, needs no network connection.
        n_in: channels. Default: those of a batch.
        loss_func: default: :func:`default_loss`.
        splitter: model -> parameter groups. Default with ``pretrained``: first half of the encoder, second half, way
            up. Default without: one group, as no weights are worth freezing; ``freeze`` and ``fine_tune`` then train
            all of them.
        cbs: callbacks, besides ``KeepGeometry``, ``WarnOfLostLabels`` and ``CheckSources``.
        cut: where to cut ``arch``; see ``create_body``.
        model_args: arguments of ``DynamicUnet3D`` or ``UNet3D``, such as ``norm_type``.
        normalize: True: ``Normalize3D`` with mean and std of the training set (of 100 volumes where there are more),
            for every loader that the learner gets, unless a transform of the ``dls`` scales the images already. HU and
            the units of MR are far too large for a network. 'volume': each volume by mean and std of its foreground,
            ``ZScore3D('minimum')``, for MR, whose units differ from scan to scan; True means this, too, where the first
            training item is of MR by its DICOM header. False: the images as they are.
        kwargs: of fastai's ``Learner``; others go to the network, as those of ``model_args`` do. Default of
            ``metrics``: ``Dice3D()``, the mean Dice of the foreground; ``dice_per_class(dls)`` gives each class a
            column. ``evaluate`` measures whole scans on their own grid.

    Raises:
        TypeError: a metric is none, such as a name.
        ValueError: the ``dls`` do not tell channels, classes or loss; ``UNet3D`` with ``pretrained``; a loss of fastai
            for 2D images; or the loss leaves out another label (``ignore_index``) than the ``dls``.

    >>> import torch
    >>> from faimed3d.volume import TensorDicom3D
    >>> items = [(TensorDicom3D(torch.rand(1, 4, 6, 8)), TensorMask3D(torch.zeros(4, 6, 8).long()))] * 2
    >>> dls = DataLoaders.from_dsets(items, items, bs=2, num_workers=0)
    >>> learn = unet_learner_3d(dls, UNet3D, n_out=2, model_args={"widths": (4, 8)})
    >>> learn.loss_func
    DiceCELoss3D(dice_weight=1.0, ce_weight=1.0)
    """
    refuse_loss_for_pictures(loss_func)
    channels, classes, loss = _read_off(dls, n_in, n_out, loss_func)
    model_args, kwargs = _divided(model_args, kwargs)
    kwargs = {"metrics": default_metrics(dls), **kwargs}
    if arch is UNet3D:
        if pretrained:
            raise ValueError("UNet3D has no pretrained weights: pass pretrained=False")
        model: nn.Module = UNet3D(channels, classes, **model_args)
    else:
        model = create_unet_model_3d(arch, classes, pretrained=pretrained, cut=cut, n_in=channels, **model_args)
    return _learner(dls, model, loss, splitter, encoder_split, cbs, pretrained, normalize, kwargs)


@strict_keywords(more=lambda args, kwargs: keywords_of(create_deeplab_model_3d))
@delegates(Learner.__init__, but=_NAMED)
def deeplab_learner_3d(
    dls: DataLoaders,
    arch: Callable[..., nn.Module] | nn.Module,
    *,
    n_out: int | None = None,
    pretrained: bool = False,
    n_in: int | None = None,
    loss_func: Callable | None = None,
    splitter: Callable | None = None,
    cbs: Callback | Sequence[Callback] | None = None,
    cut: int | Callable | None = None,
    model_args: Mapping[str, Any] | None = None,
    normalize: bool | str = True,
    **kwargs: Any,
) -> VolumeLearner:
    """Make a Learner with a DeepLab over the encoder of ``arch``: as :func:`unet_learner_3d`.

    Args:
        dls, arch, n_out, pretrained, n_in, loss_func, splitter, cbs, cut, normalize, kwargs: see
            :func:`unet_learner_3d`.
        model_args: arguments of ``DynamicDeepLab``, such as ``width``.

    >>> import torch
    >>> from faimed3d.volume import TensorDicom3D
    >>> items = [(TensorDicom3D(torch.rand(1, 4, 6, 8)), TensorMask3D(torch.zeros(4, 6, 8).long()))] * 2
    >>> dls = DataLoaders.from_dsets(items, items, bs=2, num_workers=0)
    >>> encoder = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, stride=2, padding=1))
    >>> learn = deeplab_learner_3d(dls, encoder, n_out=2, model_args={"width": 8})
    >>> learn.model(torch.rand(2, 1, 4, 6, 8)).shape
    torch.Size([2, 2, 4, 6, 8])
    """
    refuse_loss_for_pictures(loss_func)
    channels, classes, loss = _read_off(dls, n_in, n_out, loss_func)
    model_args, kwargs = _divided(model_args, kwargs)
    kwargs = {"metrics": default_metrics(dls), **kwargs}
    model = create_deeplab_model_3d(arch, classes, pretrained=pretrained, cut=cut, n_in=channels, **model_args)
    return _learner(dls, model, loss, splitter, encoder_split, cbs, pretrained, normalize, kwargs)


@strict_keywords(more=lambda args, kwargs: keywords_of(create_cnn_model_3d))
@delegates(Learner.__init__, but=_NAMED)
def cnn_learner_3d(
    dls: DataLoaders,
    arch: Callable[..., nn.Module] | nn.Module,
    *,
    n_out: int | None = None,
    pretrained: bool = False,
    n_in: int | None = None,
    loss_func: Callable | None = None,
    splitter: Callable | None = None,
    cbs: Callback | Sequence[Callback] | None = None,
    cut: int | Callable | None = None,
    model_args: Mapping[str, Any] | None = None,
    normalize: bool | str = True,
    **kwargs: Any,
) -> VolumeLearner:
    """Make a Learner that predicts classes or numbers from whole volumes.

    Args:
        dls: batches of images (B, C, D, H, W) and categories, several categories or numbers.
        arch, pretrained, n_in, loss_func, cbs, cut, normalize, kwargs: see :func:`unet_learner_3d`.
        n_out: classes or numbers. Default: those of the ``dls``.
        splitter: model -> parameter groups. Default with ``pretrained``: first half of the encoder, second half, head.
            Default without: one group.
        model_args: arguments of ``create_cnn_model_3d``, such as ``ps``, ``lin_ftrs`` or ``custom_head``.

    Raises:
        ValueError: the ``dls`` do not tell channels, classes or loss.

    >>> import torch
    >>> from fastai.losses import CrossEntropyLossFlat
    >>> items = [(torch.rand(1, 4, 6, 8), torch.tensor(number)) for number in range(2)]
    >>> dls = DataLoaders.from_dsets(items, items, bs=2, num_workers=0)
    >>> encoder = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, stride=2, padding=1))
    >>> learn = cnn_learner_3d(dls, encoder, n_out=2, loss_func=CrossEntropyLossFlat(), normalize=False)
    >>> learn.model(torch.rand(2, 1, 4, 6, 8)).shape
    torch.Size([2, 2])
    """
    channels, classes, loss = _read_off(dls, n_in, n_out, loss_func)
    model_args, kwargs = _divided(model_args, kwargs)
    model = create_cnn_model_3d(arch, classes, pretrained=pretrained, cut=cut, n_in=channels, **model_args)
    return _learner(dls, model, loss, splitter, cnn_split, cbs, pretrained, normalize, kwargs)


@strict_keywords
@delegates(Learner.__init__, but=_NAMED)
def volume_learner(
    dls: DataLoaders,
    model: nn.Module,
    *,
    loss_func: Callable | None = None,
    splitter: Callable | None = None,
    cbs: Callback | Sequence[Callback] | None = None,
    normalize: bool | str = True,
    **kwargs: Any,
) -> VolumeLearner:
    """Make a Learner with a network that is there: one of MONAI's, or your own.

    Args:
        dls: batches of images (B, C, D, H, W) and labels, categories or numbers.
        model: takes the images; gives scores (B, n_out, D, H, W) for labels of voxels, or a list of them on several
            scales; (B, n_out) for volumes.
        loss_func, cbs, normalize, kwargs: see :func:`unet_learner_3d`.
        splitter: model -> parameter groups. Default: one group.

    Raises:
        TypeError: ``model`` is a class or a function and no network.
        ValueError: the ``dls`` do not tell the loss.

    >>> import torch
    >>> from faimed3d.volume import TensorDicom3D
    >>> items = [(TensorDicom3D(torch.rand(1, 4, 6, 8) + 6.5), TensorMask3D(torch.zeros(4, 6, 8).long()))] * 2
    >>> dls = DataLoaders.from_dsets(items, items, bs=2, num_workers=0)
    >>> learn = volume_learner(dls, nn.Conv3d(1, 2, 3, padding=1))
    >>> learn.loss_func, round(learn.trained_on.mean[0])
    (DiceCELoss3D(dice_weight=1.0, ce_weight=1.0), 7)
    """
    refuse_loss_for_pictures(loss_func)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a network, an nn.Module, got {model!r}: call it, or use unet_learner_3d or cnn_learner_3d, "
            "which build a network from a function"
        )
    _, _, loss = _read_off(dls, 1, 1, loss_func)  # what the network takes and gives is its own matter
    kwargs = {"metrics": default_metrics(dls), **kwargs}
    return _learner(dls, model, loss, splitter, None, cbs, False, normalize, kwargs)


def default_loss(dls: DataLoaders, batch: tuple | None = None) -> Callable:
    """The loss that suits the targets of ``dls``.

    Dice + cross-entropy for labels of voxels (``TensorMask3D``), Dice + binary cross-entropy for regions; else what
    fastai's blocks bring: cross-entropy for categories, binary cross-entropy for several at once, mean
    squares for numbers.

    Args:
        dls: loaders of training and validation.
        batch: one of the ``dls``, where it is at hand.

    Raises:
        ValueError: the ``dls`` bring no loss.

    >>> import torch
    >>> items = [(torch.rand(1, 4, 6, 8), TensorMask3D(torch.zeros(4, 6, 8).long()))] * 2
    >>> default_loss(DataLoaders.from_dsets(items, items, bs=2, num_workers=0))
    DiceCELoss3D(dice_weight=1.0, ce_weight=1.0)
    """
    batch = _batch_of_one(dls) if batch is None else batch
    targets = batch[getattr(dls, "n_inp", len(batch) - 1) :]
    if targets and isinstance(targets[0], TensorMask3D):
        ignored = getattr(dls, "ignore_index", None)
        labels = DiceCELoss3D(ignore_index=ignored if isinstance(ignored, int) else None)
        return labels if targets[0].ndim == 4 else RegionLoss3D()
    loss = getattr(dls.train_ds, "loss_func", None)
    if loss is None:
        raise ValueError(
            "the dls do not say which loss suits their targets: use blocks such as MaskBlock3D, CategoryBlock or "
            "RegressionBlock, or pass loss_func"
        )
    return loss


def default_metrics(dls: DataLoaders) -> list[Metric]:
    """The metrics of a learner that is given none: Dice of the foreground where the targets are masks, else none.

    Args:
        dls: loaders of training and validation.
    """
    checks = [step for dl in dls.loaders for step in getattr(getattr(dl, "after_item", None), "fs", ())]
    return [Dice3D()] if any(isinstance(step, CheckLabels | NameRegions) for step in checks) else []


def _read_off(dls, n_in, n_out, loss_func):
    """Channels, classes and loss: as the caller says, or else as the data say."""
    if not isinstance(dls, DataLoaders):
        raise TypeError(
            f"dls must be DataLoaders, one loader for training and one for validation, got one {type(dls).__name__}: "
            "pass DataLoaders(train, valid)"
        )
    agree_on_ignored(dls, loss_func)
    batch = _batch_of_one(dls) if n_in is None or loss_func is None else None
    if n_in is None:
        n_in = _channels(batch[0])
    n_out = get_c(dls) if n_out is None else n_out
    if not n_out:
        raise ValueError("the dls do not say how many classes there are: give MaskBlock3D its codes, or pass n_out")
    return n_in, n_out, default_loss(dls, batch) if loss_func is None else loss_func


def _divided(model_args, kwargs):
    """The arguments of the network, and those of the Learner."""
    given = dict(model_args or {})
    ours = keywords_of(Learner.__init__)
    for name in [name for name in kwargs if name not in ours]:
        if name in given:
            raise TypeError(f"{name} is given twice: as an argument and in model_args")
        given[name] = kwargs.pop(name)
    return given, kwargs


def _batch_of_one(dls):
    if isinstance(dls.train, TfmdDL):
        return dls.train.new(bs=1, shuffle=False, drop_last=False, num_workers=0).one_batch()
    batch = next(iter(dls.train))
    if not isinstance(batch, tuple | list):
        raise TypeError(
            f"the loaders must give tuples (images, targets), got a {type(batch).__name__}: let the collate_fn of your "
            "torch DataLoader return (batch['image'], batch['label'])"
        )
    return tuple(batch)


def _channels(images):
    if not isinstance(images, Tensor) or images.ndim != 5:
        came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"expected batches of images (B, C, D, H, W), got {came}: ImageBlock3D gives images their channel axis"
        )
    return images.shape[1]


def _learner(dls, model, loss_func, splitter, pretrained_splitter, cbs, pretrained, normalize, kwargs):
    if not isinstance(dls, Loaders3D):  # they have said so themselves
        warn_of_flat_transforms(dls, stacklevel=4)
    if isinstance(dls.train, VolumeDL):  # transforms may have been added since the loaders were made
        dls.train.check_transforms()
    known = look_at(dls, normalize)
    splitter = splitter or (pretrained_splitter if pretrained else trainable_params)
    given = {cb if isinstance(cb, type) else type(cb) for cb in L(cbs)}
    brought = [cb for cb in L(getattr(dls, "learner_cbs", None)) if type(cb) not in given]
    cbs = L(KeepGeometry, WarnOfLostLabels, CheckSources) + L(brought) + L(cbs)
    learn = VolumeLearner(dls, model, loss_func=loss_func, splitter=splitter, cbs=cbs, **kwargs)
    learn.trained_on = known
    learn.dls = dls  # brings the loaders to it
    learn._trained_with = dls.train
    warn_of_mixed_sides(learn)
    if pretrained:
        learn.freeze()
    return learn
