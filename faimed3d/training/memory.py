"""How much memory a training step needs, found without running it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any  # networks give one tensor or several

import torch
from fastai.torch_core import to_float
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from faimed3d.losses import DiceCELoss3D
from faimed3d.losses.scales import full_resolution
from faimed3d.training.precision import Autocast, fast_dtype

_COPIES = 2  # of the largest weight, that kernels and optimizers make for a moment


def training_memory(
    model: nn.Module,
    shape: Sequence[int],
    loss_func: Callable[..., Tensor] | None = None,
    target: tuple[Sequence[int], torch.dtype] | None = None,
    dtype: torch.dtype | str | None = torch.float32,
    optimizer_values: int = 2,
) -> int:
    """Predict how many bytes of tensors are alive at the peak of a training step.

    The step is run on tensors without content (PyTorch's ``FakeTensor``): every tensor of forward pass, loss and
    backward pass is made and let go in the order of a real step, and takes neither time nor memory. To that come
    weights, gradients, what the optimizer keeps, and two copies of the largest weight. What libraries take besides is
    not in it: the context of CUDA (about 0.5 GB), the workspace of kernels (cuDNN's; on a CPU a fifth more for layers
    of less than 16 channels), gaps between the blocks of an allocator, and the loaders.

    Args:
        model: any network of volumes; it is not changed, and may be on the device ``meta``.
        shape: of a batch, (B, C, D, H, W).
        loss_func: of the scores and the target. Default: Dice and cross-entropy for scores of voxels, cross-entropy for
            scores of volumes.
        target: shape and dtype of the target. Default: labels of voxels (B, D, H, W) or of volumes (B,).
        dtype: that of :class:`Autocast`, or None for the fast one of the CPU.
        optimizer_values: how many numbers the optimizer keeps for each weight: 2 for Adam, 1 for SGD with momentum.

    Raises:
        ValueError: ``shape`` is not that of a batch of volumes.

    >>> from faimed3d.models import UNet3D
    >>> with torch.device("meta"):  # of any size, on any machine
    ...     net = UNet3D(widths=(32, 64, 128, 256, 320, 320), deep_supervision=True)
    >>> round(training_memory(net, (2, 1, 128, 128, 128)) / 1e9)
    11
    """
    if len(shape) != 5:
        raise ValueError(f"shape must be that of a batch, (B, C, D, H, W), got {tuple(shape)}")
    active = fast_dtype("cpu") if dtype is None else Autocast(dtype).dtype
    mixed: Any = contextlib.nullcontext() if active == torch.float32 else torch.autocast("cpu", active)
    kept = [*model.parameters(), *model.buffers()]
    fixed = sum(t.numel() * t.element_size() for t in kept)
    fixed += optimizer_values * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    fixed += _COPIES * max((p.numel() * p.element_size() for p in model.parameters()), default=0)
    was_training = model.training
    own = [(module, dict(module._parameters), dict(module._buffers)) for module in model.modules()]
    # autograd looks for devices once. Among tensors without content it takes one for there that is not, and starts
    # threads, after which a fork of this process (accelerate's notebook_launcher) could not train
    torch.ones((), requires_grad=True).backward()
    with FakeTensorMode(allow_non_fake_inputs=True), _Alive() as alive:
        state = {name: _like(t) for name, t in (*model.named_parameters(), *model.named_buffers())}
        alive.start()
        for name, p in model.named_parameters():
            if p.requires_grad:
                state[name].requires_grad_().grad = torch.zeros_like(state[name])
        x = torch.empty(*shape)
        model.train()
        try:
            with mixed:
                scores = torch.func.functional_call(model, state, (x,))
        finally:
            model.train(was_training)
            for (
                module,
                weights,
                buffers,
            ) in own:  # functional_call forgets those that stand at two places
                module._parameters.update(weights)
                module._buffers.update(buffers)
        scores = to_float(scores)
        first = full_resolution(scores)
        of_voxels = first.ndim == 5
        if target is None:
            target = ((shape[0], *first.shape[2:]) if of_voxels else (shape[0],), torch.int64)
        y = torch.empty(target[0], dtype=target[1])
        loss_func = (DiceCELoss3D() if of_voxels else cross_entropy) if loss_func is None else loss_func
        loss = loss_func(scores, y)
        loss.backward()
    return fixed + alive.most


class _Alive(TorchDispatchMode):
    """Count the bytes of all storages that are alive, from :meth:`start` on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: dict[int, weakref.ref] = {}

    def start(self) -> None:
        """Begin to count; what is there stays out."""
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:  # a loss looks at its labels: all are 0
            kind = args[0].dtype
            return False if kind == torch.bool else 0.0 if kind.is_floating_point else 0
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                self._add(one.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self.seen and self.seen[key]() is storage:
            return

        def gone(_: Any) -> None:
            self.now -= size
            self.seen.pop(key, None)

        self.seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def _like(t: Tensor) -> Tensor:
    return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype)
