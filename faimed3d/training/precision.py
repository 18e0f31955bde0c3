"""Mixed precision on any device: the network in bfloat16 or float16, weights and loss in float32."""

from __future__ import annotations

import contextlib
from typing import Any  # of the learner, whose attributes callbacks set

import torch
from fastai.callback.core import Callback, CancelStepException
from fastai.callback.fp16 import MixedPrecision
from fastai.torch_core import to_float
from torch.amp import GradScaler

from faimed3d._keywords import StrictKeywords
from faimed3d.training.small_convolutions import SmallConvolutions

_NAMES = {
    "bf16": torch.bfloat16, "bfloat16": torch.bfloat16, "fp16": torch.float16, "float16": torch.float16,
    "fp32": torch.float32, "float32": torch.float32,
}  # fmt: skip


def fast_dtype(device: torch.device | str) -> torch.dtype:
    """The number format in which a device trains fastest, as far as the device says so.

    bfloat16 on CUDA from compute capability 8.0 on, float16 on older ones. On a CPU bfloat16 where it has instructions
    for it (AVX512-BF16 or AMX; convolutions are then about 1.7 times as fast), else float32: without them bfloat16
    is slower. float32 elsewhere.

    Args:
        device: of the network.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    # None of them has a public name in every torch that we take.
    fast = kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if fast else torch.float32


class Autocast(StrictKeywords, Callback):
    """Train and validate in mixed precision, on a CPU or a GPU; fastai's ``to_fp16`` and ``to_bf16`` need CUDA.

    Convolutions and products of matrices run in ``dtype``; weights, optimizer, scores and loss stay float32. With
    float16 the loss is scaled (Micikevicius et al. 2018, arXiv:1710.03740), and a step whose gradients overflow is left
    out. An error or an interrupt in the middle of a batch leaves nothing switched on. On a CPU, 3D convolutions of
    volumes that are smaller than their kernel along an axis stay float32: oneDNN gets their bfloat16 gradients wrong.

    Args:
        dtype: ``torch.bfloat16``, ``torch.float16`` or ``torch.float32``, or their names. Default: what is fast on the
            device of the network, float32 among it: :func:`~faimed3d.training.precision.fast_dtype`.
        scaler: arguments of ``torch.amp.GradScaler``, for float16.

    Attributes:
        active: the dtype of this fit; None before the first.

    Raises:
        ValueError: ``dtype`` is none of the three; or, in training, fastai's ``MixedPrecision`` or another
            ``Autocast`` is there as well.

    >>> Autocast("bf16").dtype
    torch.bfloat16
    """

    order = MixedPrecision.order  # fastai's GradientAccumulation comes before, GradientClip after
    active: torch.dtype | None = None
    until_pred: Any = None

    def __init__(self, dtype: torch.dtype | str | None = None, scaler: dict[str, Any] | None = None) -> None:
        super().__init__()
        known = _NAMES.get(dtype) if isinstance(dtype, str) else dtype
        if dtype is not None and known not in _NAMES.values():
            raise ValueError(f"dtype must be torch.bfloat16, torch.float16 or torch.float32, got {dtype!r}")
        self.dtype, self.scaler_args = known, dict(scaler or {})

    def before_fit(self) -> None:
        """Choose the dtype."""
        if any(isinstance(callback, MixedPrecision) for callback in self.learn.cbs):
            raise ValueError("Autocast and fastai's MixedPrecision (to_fp16, to_bf16) do the same: take one of them")
        if sum(isinstance(callback, Autocast) for callback in self.learn.cbs) > 1:
            raise ValueError("Autocast is among the callbacks twice: remove_cb one of them")
        device = next(self.learn.model.parameters()).device
        self.device_type = device.type
        self.active = fast_dtype(device) if self.dtype is None else self.dtype
        enabled = self.active == torch.float16
        self.learn.scaler = GradScaler(device.type, enabled=enabled, **self.scaler_args)  # where fastai has its own
        self.learn._do_one_batch = _OneBatch(self.learn)

    def after_pred(self) -> None:
        """Leave; the scores are float32 from here on."""
        self.until_pred.close()
        self.until_pred = None
        self.learn.pred = to_float(self.learn.pred)

    def before_backward(self) -> None:
        """Scale the loss."""
        self.learn.loss_grad = self.learn.scaler.scale(self.learn.loss_grad)

    def before_step(self) -> None:
        """Scale the gradients back; leave the step out where they are not finite."""
        scaler, self.fits = self.learn.scaler, False
        scaler.step(self)
        if not self.fits:
            raise CancelStepException

    def after_step(self) -> None:
        """Adapt the scale."""
        self.learn.scaler.update()

    def after_fit(self) -> None:
        """Give the learner its own way back."""
        self.learn.__dict__.pop("_do_one_batch", None)
        self.learn.scaler = None

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """For the scaler, to which this callback is the optimizer: the step itself is the learner's."""
        return self.learn.opt.param_groups

    def step(self) -> None:
        """What the scaler calls where all gradients are finite."""
        self.fits = True


class _OneBatch:
    """``learn._do_one_batch`` with the network under autocast.

    fastai has no event for an exception. A context that one event enters and a later one leaves would stay on after an
    interrupt, and everything in the process would go on in bfloat16.
    """

    def __init__(self, learn: Any) -> None:
        self.learn = learn

    def __call__(self) -> None:
        usual = type(self.learn)._do_one_batch
        found = [callback for callback in self.learn.cbs if isinstance(callback, Autocast) and callback.run]
        with contextlib.ExitStack() as stack:
            for callback in found[:1]:  # none where it was taken away after an error
                callback.until_pred = stack
                if callback.active != torch.float32:
                    stack.enter_context(torch.autocast(callback.device_type, callback.active))
                    if callback.device_type == "cpu":
                        stack.enter_context(SmallConvolutions())
            usual(self.learn)
