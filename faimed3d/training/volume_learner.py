"""fastai's ``Learner`` that brings every loader to what its network was trained on."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any  # of what fastai hands through

import torch
from fastai.callback.tracker import TrackerCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Metric, load_model, mk_metric
from fastai.torch_core import get_model
from fastcore.foundation import L

from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.data.trained_on import TrainedOn
from faimed3d.inference.source import read_as_told
from faimed3d.training.lack_of_items import has_no_batch, refuse_lack_of_items
from faimed3d.training.network_input import carry, images_of, inner, remember, widen

# what fastai hands on: those of torch.load among them, which SaveModelCallback passes
_OF_LOAD = [*keywords_of(Learner.load), *keywords_of(load_model), *keywords_of(torch.load), "encoding"]

_OTHER_SPLIT = (
    ". If it was trained on some of these cases, pass the seed=, valid_col= or splitter of its training to the "
    "loaders, else validation may hold cases that it has seen"
)


class VolumeLearner(Learner):
    """What ``unet_learner_3d`` and the like return: normalization and storage order belong to the network's input.

    Whatever loader it is given (``learn.dls = other``, ``validate(dl=...)``, ``get_preds(dl=...)``), the images come to
    the network with mean and std of the training set, once, and in its storage order. What the network was trained on
    goes into the files of ``learn.save`` and ``learn.export``; ``learn.load`` takes it from there.

    >>> import torch
    >>> from faimed3d.models import UNet3D
    >>> from faimed3d.training import unet_learner_3d
    >>> from faimed3d.volume import TensorDicom3D, TensorMask3D
    >>> items = [(TensorDicom3D(torch.rand(1, 4, 6, 8) + 7), TensorMask3D(torch.zeros(4, 6, 8).long()))] * 2
    >>> dls = DataLoaders.from_dsets(items, items, bs=2, num_workers=0)
    >>> learn = unet_learner_3d(dls, UNet3D, n_out=2, model_args={"widths": (4, 8)})
    >>> learn.dls = DataLoaders.from_dsets(items, items, bs=1, num_workers=0)
    >>> [type(transform).__name__ for transform in learn.dls.valid.after_batch.fs if transform.order > 0]
    ['Normalize3D']
    """

    _dls: DataLoaders
    _carried: tuple = ()
    _trained_with: Any = None  # the training loader whose spacing is among what is known
    _spacing_errors_said: frozenset[str] = frozenset()

    @property
    def dls(self) -> DataLoaders:
        """The loaders, brought to what the network was trained on; so are others that are put in their place."""
        dls = self._dls
        known = self.trained_on if "model" in vars(self) else None
        if known is not None:
            now = (known, *map(id, dls.loaders))
            if now != self._carried:
                for dl in dls.loaders:
                    carry(dl, known)
                self._carried = now
        return dls

    @dls.setter
    def dls(self, dls: DataLoaders) -> None:
        if "model" in vars(self):
            for dl in dls.loaders:
                self._carry(dl)
        self._dls = dls

    @property
    def metrics(self) -> L:
        """The metrics, each a ``Metric`` of fastai.

        Raises:
            TypeError: when they are set: one is no metric, such as a name.
        """
        return self._metrics

    @metrics.setter
    def metrics(self, given: Any) -> None:
        for one in L(given):
            if not callable(one) and not isinstance(one, Metric):
                raise TypeError(
                    f"a metric is a Metric of fastai or a function of predictions and targets, got {one!r}: pass "
                    "metrics=[Dice3D(), HausdorffDistance95()] for masks, metrics=[accuracy, RocAucBinary()] of fastai "
                    "for classes, or metrics=[] for none"
                )
        self._metrics = L(given).map(mk_metric)

    @property
    def trained_on(self) -> TrainedOn | None:
        """What the network was trained on; None where ``learn.model`` has been exchanged for one that does not know."""
        return getattr(get_model(self.model), "trained_on", None)

    @trained_on.setter
    def trained_on(self, known: TrainedOn) -> None:
        remember(get_model(self.model), known)

    def _carry(self, dl: Any) -> None:
        known = self.trained_on
        if known is not None:
            carry(dl, known)

    def _do_epoch_train(self) -> None:
        refuse_lack_of_items(self.dls, self.cbs, self.n_epoch)
        dl = inner(self.dls.train)
        self._carry(dl)
        if self.trained_on is not None and self._trained_with is not dl:
            self.trained_on = widen(self.trained_on, dl)
        self._trained_with = dl
        super()._do_epoch_train()

    def validate(self, ds_idx: int = 1, dl: Any = None, cbs: Any = None) -> Any:
        """Loss and metrics, as fastai's; callbacks that watch a training take no part.

        fastai lets its ``SaveModelCallback`` take a validation for the best epoch, and write over the file of that.

        Args:
            ds_idx, dl, cbs: as of fastai's ``Learner.validate``.

        Raises:
            ValueError: the loader has no items, or no targets.
        """
        parts = getattr(getattr(dl, "dataset", None), "tls", None)
        if parts is not None and len(parts) <= dl.n_inp:
            raise ValueError(
                "this loader has no targets to compare with: make it with dls.test_dl(table, with_labels=True)"
            )
        with self.removed_cbs([callback for callback in self.cbs if isinstance(callback, TrackerCallback)]):
            return super().validate(ds_idx, dl, cbs)

    def _do_epoch_validate(self, ds_idx: int = 1, dl: Any = None) -> None:
        if dl is not None and has_no_batch(dl):  # of a fit it is None
            raise ValueError("there is nothing to validate or predict: the loader has no items")
        dl = self.dls[ds_idx] if dl is None else dl
        self._carry(dl)
        super()._do_epoch_validate(ds_idx, dl)

    def predict(
        self,
        item: Any,
        rm_type_tfms: Any = None,
        with_input: bool = False,
        strict: bool = True,
        series: Any = None,
        like: Any = None,
    ) -> tuple:  # as of fastai
        """Predict one item as fastai does: (decoded target, decoded prediction, scores).

        Args:
            item, rm_type_tfms, with_input: as of fastai's ``Learner.predict``.
            strict, series, like: as of ``TensorDicom3D.create``, for reading the item.
        """
        return super().predict(read_as_told(self, item, strict, series, like), rm_type_tfms, with_input)

    def one_batch(self, i: int, b: Any) -> None:
        """Run one batch; in validation and prediction warn once of volumes that are sampled too differently."""
        known = None if self.training else self.trained_on
        images = images_of(b)
        for item in () if images is None else images:
            wrong = None if known is None else known.spacing_error(item.geometry)
            if wrong and wrong not in self._spacing_errors_said:
                self._spacing_errors_said |= {wrong}
                warnings.warn(f"a volume is sampled too differently: {wrong}", stacklevel=2)
        super().one_batch(i, b)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: no loader of the training is, unless ``dls`` holds it."""
        return {**super().__getstate__(), "_carried": (), "_trained_with": None}

    @strict_keywords(more=lambda args, kwargs: _OF_LOAD)
    def load(self, file: Any, device: Any = None, **kwargs: Any) -> VolumeLearner:
        """Load weights as fastai does, and with them what the network was trained on, which goes before what is here.

        Args:
            file, device, kwargs: as of fastai's ``Learner.load``.
        """
        model = get_model(self.model)
        here = self.trained_on
        if here is None:
            super().load(file, device=device, **kwargs)
            return self
        model.trained_on = None
        try:
            with warnings.catch_warnings():
                # on loading fastai names a module of numpy that has been renamed
                warnings.filterwarnings("ignore", "numpy.core is deprecated", DeprecationWarning)
                super().load(file, device=device, **kwargs)
        finally:
            loaded, model.trained_on = model.trained_on, here
        if not isinstance(loaded, TrainedOn):
            warnings.warn(
                f"{file}: does not say what its network was trained on; the images are normalized as here "
                f"({here.normalization}), which may be other than in its training",
                stacklevel=2,
            )
            return self
        # the labels that it sees from now on are of the loaders here
        self.trained_on = loaded if here.classes is None else replace(loaded, classes=here.classes)
        self._say_differences(file, here, loaded)
        for dl in self._dls.loaders:
            carry(dl, loaded, file_wins=True)
        return self

    @staticmethod
    def _say_differences(file: Any, here: TrainedOn, loaded: TrainedOn) -> None:
        differences = [
            f"{what} {there} (here {one})"
            for what, one, there in (
                ("normalization", here.normalization, loaded.normalization),
                ("storage order", here.orientation, loaded.orientation),
                ("classes", here.classes, loaded.classes),
            )
            if one != there and None not in (one, there)
        ]
        if differences:
            warnings.warn(
                f"{file}: the network was trained with {'; '.join(differences)}. "
                "Images are brought to what the network knows"
                + (_OTHER_SPLIT if differences[0].startswith("normalization") else ""),
                stacklevel=3,
            )
