"""The ``DataLoader`` that the blocks for volumes bring: predicted masks lie where their inputs lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any  # of what fastai hands through

from fastai.data.core import TfmdDL
from torch import Tensor

from faimed3d.augment import IntensityTransform3D, RandomTransform3D, ReduceClasses
from faimed3d.data.block_transforms import CheckLabels, MatchMask
from faimed3d.data.done_before import all_steps
from faimed3d.data.interactive import Where, show_items
from faimed3d.data.kept_labels import check_labels_are_kept
from faimed3d.masks.codes import names_behind
from faimed3d.tracking import TrackedTensor, attach_grid, current_grid
from faimed3d.volume import TensorDicom3D


class VolumeDL(TfmdDL):
    """fastai's ``TfmdDL`` for volumes; ``ImageBlock3D``, ``MaskBlock3D`` and ``RegionBlock3D`` choose it.

    - A predicted volume that is decoded (``learn.predict``, ``show_results``) gets the geometry of its input where both
      have the same (D, H, W); else it has none.
    - ``learn.tta()`` is refused where the training transforms move voxels and the targets are volumes: fastai takes the
      mean of predictions of moved volumes without moving them back.
    - Loaders with masks refuse a transform that is written for ``TensorDicom3D`` and would change labels as well.
    """

    _own_split: int | None = None  # the transforms that these items get, if nobody exchanges them

    def __init__(self, dataset: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset, *args, **kwargs)
        self.check_transforms()
        self._own_split = getattr(dataset, "split_idx", None)

    def new(self, dataset: Any = None, cls: Any = None, **kwargs: Any) -> TfmdDL:
        """Copy with other arguments, as fastai makes them."""
        copy = super().new(dataset, cls, **kwargs)
        if dataset is None and isinstance(copy, VolumeDL):
            copy._own_split = self._own_split
        return copy

    def check_transforms(self) -> None:
        """Refuse transforms that would change the labels of masks: :func:`check_labels_are_kept`."""
        steps = self._steps()
        if any(isinstance(step, MatchMask) for step in steps):
            check_labels_are_kept(steps)
        self._name_classes()

    def _name_classes(self) -> None:
        """Let the names of what masks hold follow :class:`ReduceClasses`, to those of what the network learns."""
        steps = [step for step in all_steps(self) if isinstance(step, CheckLabels | ReduceClasses)]
        tables = [(step.classes, step.other) for step in steps if isinstance(step, ReduceClasses)]
        for step in steps:
            if tables and isinstance(step, CheckLabels) and step.reader.codes is not None:
                step.reader.name_classes(names_behind(step.reader.codes, tables))

    def _steps(self) -> list[Any]:
        return [step for pipeline in (self.after_item, self.after_batch) for step in getattr(pipeline, "fs", ())]

    def _one_pass(self) -> None:
        """Find the types of a batch; its labels are judged when it is used, for a loss may leave one out."""
        readers = [step.reader for step in getattr(self.after_item, "fs", ()) if isinstance(step, CheckLabels)]
        for reader in readers:
            reader.on_trial = True
        try:
            super()._one_pass()
        finally:
            for reader in readers:
                reader.on_trial = False

    def __iter__(self) -> Iterator[Any]:
        if not self._in_tta() or not self._predicts_volumes():
            yield from super().__iter__()
            return
        self._refuse_moves()
        size = None
        for batch in super().__iter__():
            sizes = {tuple(x.shape[-3:]) for x in batch[: self.n_inp] if isinstance(x, Tensor)} - {size}
            if size is not None and sizes:
                raise ValueError(
                    f"learn.tta() needs volumes of one size, but here are {size} and {sizes.pop()} (D, H, W): bring "
                    "them to one with Resize3D or PadOrCrop3D in item_tfms, or predict one after the other with "
                    "learn.predict_volume(source, tta=True)"
                )
            size = sizes.pop() if sizes else size
            yield batch

    def show_batch(
        self,
        b: Any = None,
        max_n: int = 9,
        ctxs: Any = None,
        show: bool = True,
        unique: bool = False,
        interactive: Where = False,
        **kwargs: Any,
    ) -> Any:  # as of fastai
        """Show items of a batch: ``faimed3d.data.pictures``, and with ``interactive`` ``faimed3d.data.interactive``."""
        if not interactive or not show:
            return super().show_batch(b, max_n, ctxs, show, unique, **kwargs)
        _, _, samples = super().show_batch(b, max_n, None, False, unique)
        show_items(interactive, "Items", samples, ctxs=ctxs, **kwargs)

    def show_results(
        self,
        b: Any,
        out: Any,
        max_n: int = 9,
        ctxs: Any = None,
        show: bool = True,
        interactive: Where = False,
        **kwargs: Any,
    ) -> Any:  # as of fastai
        """Show items of a batch with their predictions, as ``show_batch``."""
        if not interactive or not show:
            return super().show_results(b, out, max_n, ctxs, show, **kwargs)
        _, _, samples, outs = super().show_results(b, out, max_n, None, False)
        show_items(interactive, "Results", samples, outs, ctxs=ctxs, **kwargs)

    def decode(self, b: Any) -> Any:
        """Undo the batch transforms; predictions get the place of their inputs."""
        return super().decode(self._placed(b))

    def _pre_show_batch(self, b: Any, max_n: int = 9) -> Any:
        parts = b if isinstance(b, tuple | list) else ()
        if len(parts) > 2 * self.n_inp and isinstance(parts[0], TensorDicom3D) and parts[0].ndim == 4:
            raise ValueError(
                "volumes of different sizes cannot be drawn in one call: draw one at a time, such as "
                "interp.plot_top_losses([0]), interp.plot_top_losses([1]), interp.show_results([0]); or bring all to "
                "one size with Resize3D or PadOrCrop3D in item_tfms"
            )
        return super()._pre_show_batch(b, max_n)

    def _in_tta(self) -> bool:
        """Whether items of validation get the transforms of training: nothing but ``Learner.tta`` does this."""
        split = getattr(self.dataset, "split_idx", None)
        return split == 0 and self._own_split is not None and self._own_split != split

    def _predicts_volumes(self) -> bool:
        if not getattr(self, "_types", None):
            self._one_pass()
        types = next(iter(self._types.values())) if isinstance(self._types, dict) else ()
        return any(isinstance(kind, type) and issubclass(kind, TensorDicom3D) for kind in types[self.n_inp :])

    def _refuse_moves(self) -> None:
        moving = [
            t for t in self._steps() if isinstance(t, RandomTransform3D) and not isinstance(t, IntensityTransform3D)
        ]
        if moving:
            names = ", ".join(dict.fromkeys(type(t).__name__ for t in moving))
            raise ValueError(
                f"learn.tta() would take the mean over predictions of volumes that {names} has moved, without moving "
                "them back: each voxel would get scores of others. For labels of voxels use "
                "learn.predict_volume(source, tta=True), which undoes its flips; for other targets learn.get_preds()"
            )

    def _placed(self, b: Any) -> Any:
        """The batch in its types; predictions (plain tensors) of the size of the input are put where that lies."""
        typed = self._retain_dl(b)
        if not isinstance(b, tuple | list) or len(b) <= self.n_inp:
            return typed
        image = typed[0]
        if not isinstance(image, TensorDicom3D) or image.ndim != 5:
            return typed
        for plain, x in zip(b[self.n_inp :], typed[self.n_inp :], strict=True):
            fits = x.shape[-3:] == image.shape[-3:] and len(x) == len(image) if isinstance(x, TensorDicom3D) else False
            if fits and not isinstance(plain, TrackedTensor):
                attach_grid(x, current_grid(image[:, 0] if x.ndim == 4 else image[:, :1]))
        return typed
