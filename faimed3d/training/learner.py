"""Learners for volumes: ``unet_learner_3d`` for labels of voxels, ``cnn_learner_3d`` for labels of whole volumes.

Everything else of training is fastai's: ``fit_one_cycle``, ``fine_tune``, ``to_fp16``, ``GradientAccumulation`` and any
network with a plain ``Learner``.
"""

from __future__ import annotations

import fastai.callback.all  # noqa: F401 - gives Learner fit_one_cycle, fine_tune, lr_find, to_fp16, no_bar
from fastai.data.core import TfmdDL
from fastai.data.transforms import Normalize, get_c
from fastai.learner import Learner
from fastai.torch_core import trainable_params
from fastcore.foundation import L
from fastcore.meta import delegates
from torch import Tensor

from faimed3d import inference  # noqa: F401 - gives Learner its predict_volume and predict_folder
from faimed3d.augment.scaling import Normalize3D
from faimed3d.models.cnn import cnn_split, create_cnn_model_3d
from faimed3d.models.deeplab import create_deeplab_model_3d
from faimed3d.models.unet import UNet3D, create_unet_model_3d, encoder_split
from faimed3d.training.losses import DiceCELoss3D
from faimed3d.training.metrics import KeepGeometry
from faimed3d.volume import TensorMask3D

__all__ = ["cnn_learner_3d", "deeplab_learner_3d", "default_loss", "unet_learner_3d"]


@delegates(Learner.__init__, but=["dls", "model", "loss_func", "splitter", "cbs"])
def unet_learner_3d(
    dls,
    arch,
    n_out=None,
    pretrained=False,
    n_in=None,
    loss_func=None,
    splitter=None,
    cbs=None,
    cut=None,
    model_args=None,
    normalize=True,
    **kwargs,
):
    """Make a Learner with a U-Net over the encoder of ``arch``.

    Args:
        dls: batches of images (B, C, D, H, W) and labels (B, D, H, W).
        arch: builds the encoder, such as torchvision's ``r3d_18``, ``mc3_18``, ``r2plus1d_18``; or ``UNet3D`` for the
            small net that trains from scratch.
        n_out: classes. Default: those of the ``dls``.
        pretrained: begin with the weights that ``arch`` offers (Kinetics-400 for torchvision's; downloaded once, hash
            checked) and with the encoder frozen. False, the default, works without a network.
        n_in: channels. Default: those of a batch.
        loss_func: default: :func:`default_loss`.
        splitter: model -> parameter groups. Default: first half of the encoder, second half, way up; one group where
            nothing is pretrained, so that ``fine_tune`` and ``freeze`` leave no random weights as they are.
        cbs: callbacks, besides :class:`KeepGeometry`.
        cut: where to cut ``arch``; see ``create_body``.
        model_args: dict of arguments of ``DynamicUnet3D`` or ``UNet3D``, such as ``norm_type``.
        normalize: add ``Normalize3D`` to the ``dls``, with mean and sd of a training batch, if nothing in them scales
            the images yet: in HU or the units of MR they are far too large for a network.
        kwargs: of fastai's ``Learner``.
    """
    n_in, n_out, loss_func = _questions(dls, n_in, n_out, loss_func)
    model_args = dict(model_args or {})
    if arch is UNet3D:
        if pretrained:
            raise ValueError("UNet3D has no weights to begin with: pass pretrained=False")
        model = UNet3D(n_in, n_out, **model_args)
    else:
        model = create_unet_model_3d(arch, n_out, pretrained=pretrained, cut=cut, n_in=n_in, **model_args)
    return _learner(
        dls, model, loss_func, splitter or (pretrained and encoder_split), cbs, pretrained, normalize, kwargs
    )


@delegates(Learner.__init__, but=["dls", "model", "loss_func", "splitter", "cbs"])
def deeplab_learner_3d(
    dls,
    arch,
    n_out=None,
    pretrained=False,
    n_in=None,
    loss_func=None,
    splitter=None,
    cbs=None,
    cut=None,
    model_args=None,
    normalize=True,
    **kwargs,
):
    """Make a Learner with a DeepLab over the encoder of ``arch``: as :func:`unet_learner_3d`.

    Args:
        dls, arch, n_out, pretrained, n_in, loss_func, splitter, cbs, cut, normalize, kwargs: see
            :func:`unet_learner_3d`.
        model_args: dict of arguments of ``DynamicDeepLab``, such as ``width``.
    """
    n_in, n_out, loss_func = _questions(dls, n_in, n_out, loss_func)
    model = create_deeplab_model_3d(arch, n_out, pretrained=pretrained, cut=cut, n_in=n_in, **(model_args or {}))
    return _learner(
        dls, model, loss_func, splitter or (pretrained and encoder_split), cbs, pretrained, normalize, kwargs
    )


@delegates(Learner.__init__, but=["dls", "model", "loss_func", "splitter", "cbs"])
def cnn_learner_3d(
    dls,
    arch,
    n_out=None,
    pretrained=False,
    n_in=None,
    loss_func=None,
    splitter=None,
    cbs=None,
    cut=None,
    model_args=None,
    normalize=True,
    **kwargs,
):
    """Make a Learner that tells classes or numbers from whole volumes.

    Args:
        dls: batches of images (B, C, D, H, W) and categories, several categories or numbers.
        arch, pretrained, n_in, loss_func, cbs, cut, normalize, kwargs: see :func:`unet_learner_3d`.
        n_out: classes or numbers. Default: those of the ``dls``.
        splitter: model -> parameter groups. Default: first half of the encoder, second half, head; one group where
            nothing is pretrained.
        model_args: dict of arguments of ``create_cnn_model_3d``, such as ``ps``, ``lin_ftrs`` or ``custom_head``.
    """
    n_in, n_out, loss_func = _questions(dls, n_in, n_out, loss_func)
    model = create_cnn_model_3d(arch, n_out, pretrained=pretrained, cut=cut, n_in=n_in, **(model_args or {}))
    return _learner(dls, model, loss_func, splitter or (pretrained and cnn_split), cbs, pretrained, normalize, kwargs)


def _learner(dls, model, loss_func, splitter, cbs, pretrained, normalize, kwargs):
    if normalize:
        _normalize(dls)
    cbs = L(KeepGeometry) + L(cbs)
    learn = Learner(dls, model, loss_func=loss_func, splitter=splitter or trainable_params, cbs=cbs, **kwargs)
    if pretrained:
        learn.freeze()
    return learn


def _normalize(dls):
    """Let the loaders scale their images if they do not yet, as fastai's learners do for its own."""
    if not isinstance(dls.train, TfmdDL):
        return
    present = [*dls.train.after_item.fs, *dls.train.after_batch.fs]
    if not any(getattr(transform, "scales", isinstance(transform, Normalize)) for transform in present):
        transform = Normalize3D()
        transform.setups(dls.train)
        dls.add_tfms([transform], "after_batch")


def default_loss(dls, batch=None):
    """The loss that suits the targets of ``dls``.

    Dice + cross-entropy for labels of voxels (``TensorMask3D``); else what fastai's blocks bring: cross-entropy for
    categories, binary cross-entropy for several at once, mean squares for numbers.

    Args:
        batch: one of the ``dls``, where it is at hand.
    """
    batch = _one_item(dls) if batch is None else batch
    targets = batch[getattr(dls, "n_inp", len(batch) - 1) :]
    if targets and isinstance(targets[0], TensorMask3D):
        return DiceCELoss3D()
    loss = getattr(dls.train_ds, "loss_func", None)
    if loss is None:
        raise ValueError(
            "the dls do not say which loss suits their targets: use blocks such as MaskBlock3D, CategoryBlock or "
            "RegressionBlock, or pass loss_func"
        )
    return loss


def _one_item(dls):
    """A batch of one: what the channels and the kind of target are read from."""
    if isinstance(dls.train, TfmdDL):
        return dls.train.new(bs=1, shuffle=False, drop_last=False, num_workers=0).one_batch()
    return dls.one_batch()


def _questions(dls, n_in, n_out, loss_func):
    """Channels, classes and loss, as the caller says or else as the data say."""
    batch = _one_item(dls) if n_in is None or loss_func is None else None
    if n_in is None:
        n_in = _channels(batch[0])
    n_out = get_c(dls) if n_out is None else n_out
    if not n_out:
        raise ValueError("the dls do not say how many classes there are: give MaskBlock3D its codes, or pass n_out")
    return n_in, n_out, default_loss(dls, batch) if loss_func is None else loss_func


def _channels(images):
    if not isinstance(images, Tensor) or images.ndim != 5:
        came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"expected batches of images (B, C, D, H, W), got {came}: ImageBlock3D gives images their channel axis"
        )
    return images.shape[1]
