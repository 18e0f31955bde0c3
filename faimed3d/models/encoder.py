"""Encoders: cut a 3D network before its pooling and fit its first convolution to the channels of the data.

Feature maps are ``(B, C, D, H, W)``.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.error import URLError

import torch
from fastai.vision.learner import cut_model, has_pool_type
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.models import get_model_weights

_PROBE = (64, 64, 64)  # large enough to show every stride of the usual networks; nothing is computed on it


def create_body(
    arch: Callable[..., nn.Module] | nn.Module,
    n_in: int = 3,
    pretrained: bool = False,
    cut: int | Callable | None = None,
) -> nn.Sequential:
    """Make the encoder of ``arch``: its stages in a row, without pooling and head.

    Args:
        arch: a function that builds a 3D network, such as torchvision's ``r3d_18``, ``mc3_18`` or ``r2plus1d_18``, or a
            network. A network that is given is used, not copied.
        n_in: channels of the input; the first convolution is replaced if it takes another number.
        pretrained: load the default weights of ``arch`` through its own argument ``weights`` (torchvision downloads
            them once and checks their hash), or ``pretrained``. False never downloads anything.
        cut: how many children to keep, or a function ``network -> encoder``. Default: those before the last child that
            pools; all of them if none does.

    Raises:
        TypeError: ``arch`` builds no network, or takes no argument for pretrained weights.
        ValueError: there is no 3D convolution, or ``n_in`` channels are impossible.

    >>> from torchvision.models.video import r3d_18
    >>> with torch.device("meta"):  # shapes alone, no weights
    ...     body = create_body(r3d_18, n_in=1)
    >>> [size[1] for size in model_sizes(body)]
    [64, 64, 128, 256, 512]
    """
    model = _build(arch, pretrained)
    adapt_first_conv(model, n_in, keep_weights=pretrained or isinstance(arch, nn.Module))
    if cut is None:
        pooling = [number for number, child in enumerate(model.children()) if has_pool_type(child)]
        if not pooling and isinstance(model, nn.Sequential):
            return model
        cut = pooling[-1] if pooling else len(list(model.children()))
    body = cut_model(model, cut)
    while len(body) == 1 and isinstance(body[0], nn.Sequential):  # a network that keeps its stages in one child
        body = body[0]
    return body


def _build(arch, pretrained):
    if isinstance(arch, nn.Module):
        return arch
    if not callable(arch):
        raise TypeError(
            "arch must be a function that builds a 3D network, such as torchvision.models.video.r3d_18, or a network; "
            f"got {arch!r}"
        )
    if pretrained:
        accepted = inspect.signature(getattr(arch, "__wrapped__", arch)).parameters
        if "weights" in accepted:
            model = _with_weights(arch, weights="DEFAULT")
        elif "pretrained" in accepted:
            model = _with_weights(arch, pretrained=True)
        else:
            raise TypeError(
                f"{_name(arch)} takes neither weights nor pretrained, so it has no weights to load; "
                "pass pretrained=False, or a network that already has its weights"
            )
    else:
        model = arch()
    if not isinstance(model, nn.Module):
        raise TypeError(f"{_name(arch)} must build a network (nn.Module), it gave a {type(model).__name__}")
    return model


def _with_weights(arch, **how):
    """Build the network with its weights, which are downloaded where they are not in torch's cache."""
    try:
        return arch(**how)
    except URLError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        wanted = getattr(error, "url", None) or _address_of(arch)
        where = f"download {wanted} elsewhere and put it into {folder}" if wanted else f"put its file into {folder}"
        raise OSError(
            f"the pretrained weights of {_name(arch)} are not in torch's cache and cannot be downloaded "
            f"({error.reason}): {where}, or pass pretrained=False"
        ) from error


def _address_of(arch):
    """Where torchvision has the default weights of one of its networks; None for others."""
    try:
        return get_model_weights(arch).DEFAULT.url
    except ValueError:  # not one of torchvision's
        return None


def _name(arch):
    return getattr(arch, "__name__", repr(arch))


def _first_conv(model):
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv3d):
            return name, module
    raise ValueError(f"{type(model).__name__} has no 3D convolution: an encoder of volumes needs one")


def in_channels(model: nn.Module) -> int:
    """Channels that the first 3D convolution of ``model`` takes."""
    return _first_conv(model)[1].in_channels


def adapt_first_conv(model: nn.Module, n_in: int, keep_weights: bool = True) -> nn.Module:
    """Make the first convolution of ``model`` take ``n_in`` channels, in place.

    If weights are kept, the same image in every channel gives the same answer as before. With more channels than
    before, the old ones repeat, and the weights of each are divided by its number of copies. With fewer, each gets an
    equal share of the sum of the old weights.

    Args:
        model: network with a ``Conv3d`` of one group.
        n_in: channels, at least 1.
        keep_weights: derive the new weights from the old ones; else they are drawn at random.

    Raises:
        ValueError: ``n_in`` is below 1, or there is no convolution whose channels can be changed.
    """
    if n_in < 1:
        raise ValueError(f"n_in must be at least 1, got {n_in}")
    name, old = _first_conv(model)
    if old.in_channels == n_in:
        return model
    if old.groups != 1:
        raise ValueError(f"the first convolution has {old.groups} groups: its number of channels cannot be changed")
    arguments = ("out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode")
    new = nn.Conv3d(n_in, **{key: getattr(old, key) for key in arguments}, bias=old.bias is not None)
    new = new.to(old.weight.device, old.weight.dtype)
    if keep_weights:
        with torch.no_grad():
            if n_in < old.in_channels:
                new.weight.copy_((old.weight.sum(1, keepdim=True) / n_in).expand_as(new.weight))
            else:
                channels = torch.arange(n_in, device=old.weight.device) % old.in_channels
                copies = torch.bincount(channels)[channels]
                new.weight.copy_(old.weight[:, channels] / copies[:, None, None, None])
            if old.bias is not None and new.bias is not None:
                new.bias.copy_(old.bias)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)
    return model


def model_sizes(model: nn.Sequential, size: Sequence[int] | None = None) -> list[torch.Size]:
    """Shapes of the output of each child of ``model`` for a batch of one volume. Nothing is computed.

    Args:
        model: its children are the stages.
        size: of the volume, (D, H, W). Default: 64 x 64 x 64.

    Returns:
        One shape (1, C, D, H, W) for each child.
    """
    sizes, x = [], _probe(model, size)
    with evaluating(model), torch.no_grad():
        for child in model:
            x = functional_call(child, _stateless(child), (x,))
            sizes.append(x.shape)
    return sizes


def dummy_eval(model: nn.Module, size: Sequence[int] = _PROBE) -> Tensor:
    """Output (1, C, D, H, W) of ``model`` for zeros of ``size`` (D, H, W), with the device and type of its weights."""
    parameter = next(model.parameters())
    with evaluating(model), torch.no_grad():
        return model(parameter.new_zeros(1, in_channels(model), *size))


def num_features_model(model: nn.Module, size: Sequence[int] | None = None) -> int:
    """Channels of the output of ``model``. Nothing is computed."""
    with evaluating(model), torch.no_grad():
        return functional_call(model, _stateless(model), (_probe(model, size),)).shape[1]


def _probe(model, size):
    return next(model.parameters()).new_empty(1, in_channels(model), *(size or _PROBE), device="meta")


def _stateless(model):
    """The state of ``model`` as shapes without values: running on it costs neither time nor memory."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().to("meta") for name, tensor in state.items()}


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Set ``model`` to evaluation mode, and each of its modules back to its own mode at the end."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, training in before.items():
            module.training = training
