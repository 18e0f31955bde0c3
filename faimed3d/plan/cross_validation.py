"""The folds of a plan, trained and scored once, whatever stops in between: a table of all cases, and an ensemble."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from fastai.learner import Learner
from fastai.torch_core import no_random
from fastprogress.fastprogress import progress_bar
from matplotlib.axes import Axes

from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.cache.descriptions import digest
from faimed3d.evaluation import ScoreTable, evaluate
from faimed3d.evaluation.cases import names_of
from faimed3d.evaluation.class_table import ClassTable
from faimed3d.inference import Ensemble, predict_volume
from faimed3d.plan.fold_files import FoldFiles, as_json
from faimed3d.plan.folds import Folds, make_folds
from faimed3d.plan.function_code import function_code
from faimed3d.plan.plan import check_minutes
from faimed3d.training import Checkpoint, StoredNetwork

_CHECKPOINT = "training-"
_MINUTES = 1  # between two checkpoints


class PlanLike(Protocol):
    """What a cross-validation needs of a plan."""

    folds: Mapping[str, Any]  # arguments of make_folds

    def to_json(self) -> str:
        """All that the plan says, as JSON."""

    def learner(self, cache: Any, fold: Any) -> Learner:
        """A learner of a fold, untrained."""

    def fit(self, learn: Learner) -> Any:
        """Train it."""


class CrossValidation:
    """What :func:`cross_validate` returns: the scores of all cases, and the networks of the folds.

    Attributes:
        folder: where the folds lie.
        plan: as it was trained.
        table: scores of each class of each case, by the network that has not seen it, or probabilities of each class;
            with the column ``fold``.
    """

    def __init__(
        self, folder: Path, plan: Any, table: ScoreTable | ClassTable, files: Sequence[Path], learner: Callable
    ) -> None:
        self.folder, self.plan, self.table = folder, plan, table
        self._files, self._learner = list(files), learner

    def summary(self) -> pd.DataFrame:
        """Cases, mean, standard deviation and median of each score, of each class over all cases."""
        return self.table.summary()

    def by_fold(self, score: str | None = None) -> pd.DataFrame:
        """The mean of a score of each class (columns) in each fold (rows).

        Args:
            score: column of the table. Default: ``'dice'``; of classes of whole volumes ``'auc'``.
        """
        return self.table.by_fold() if score is None else self.table.by_fold(score)

    def show(self, scores: Sequence[str] | None = None, figsize: tuple[float, float] | None = None) -> list[Axes]:
        """Draw each score as ``ScoreTable.show`` does, and beside each class a line for the mean of each fold.

        Of classes of whole volumes it draws their ROC curves over all folds.

        Args:
            scores: columns to draw. Default: all scores.
            figsize: inches.

        Returns:
            One of matplotlib's axes for each score.
        """
        if isinstance(self.table, ClassTable):
            return self.table.show(*[] if figsize is None else [figsize])
        scores = self.table.scores if scores is None else list(scores)
        axes = self.table.show(scores, figsize)
        for ax, score in zip(axes, scores, strict=True):
            for place, means in enumerate(self.by_fold(score).to_numpy().T):
                ax.hlines(means, place + 0.32, place + 0.44, color="black", linewidth=1)
        return axes

    @cached_property
    def ensemble(self) -> Ensemble:
        """The networks of all folds; their weights stay in their files until they predict."""
        learn = self._learner()
        return Ensemble([StoredNetwork(file, learn) for file in self._files])

    def __repr__(self) -> str:
        count = self.table["case"].nunique()
        return f"CrossValidation({len(self._files)} folds, {count} cases, in {self.folder})"


@strict_keywords(more=lambda args, kwargs: [*keywords_of(evaluate), *keywords_of(predict_volume)])
def cross_validate(
    plan: PlanLike,
    cache: Any,
    folder: str | Path,
    folds: Sequence[int | str] | None = None,
    fit: Callable[[Learner], Any] | None = None,
    minutes: float | None = None,
    seed: int = 0,
    progress: bool = True,
    **kwargs: Any,
) -> CrossValidation:
    """Train a network on each fold, score each case by the network that has not seen it, and keep all in a folder.

    Call it again to go on: a fold that is finished is read, and a training that was stopped goes on from its
    :class:`Checkpoint`, at most a minute or an epoch before. A fold is trained again where the plan, ``fit``, ``seed``,
    ``minutes`` or a case of the cache has changed, and a warning says what; it is scored again where ``kwargs`` have.
    Files are written whole or not at all. On a cluster each job takes some ``folds``; a call without them collects all.

    The folder holds for each fold the weights (``network.safetensors``, for :class:`StoredNetwork`), the scores
    (``scores.csv``) and what they were made of (``fold.json``).

    Args:
        plan: of ``propose``. Its ``folds`` are arguments of :func:`make_folds`.
        cache: of ``preprocess``, of the whole table.
        folder: made if need be.
        folds: names of the folds to train and score. Default: all.
        fit: trains a learner. Default: ``plan.fit``, which is ``plan.epochs`` at ``plan.lr``.
        minutes: of the training of a fold, as of ``plan.for_budget``: as many epochs as end in them.
        seed: of the random numbers of the first fold; the second one has the next.
        progress: show progress bars, and fastai's tables of the epochs.
        kwargs: of ``evaluate`` and :func:`predict_volume`, such as ``tta=True`` and ``tolerance``.

    Raises:
        RuntimeError: a fold could not be trained or scored; the message names it. Those before it are kept.
        ValueError: there is no such fold, or ``minutes`` is no time.
        TypeError: ``folds`` is no list, ``seed`` no whole number.
        StaleCache: a source of the cache has changed.

    >>> import tempfile, torch
    >>> from types import SimpleNamespace
    >>> from faimed3d.data import SegmentationDataLoaders3D
    >>> from faimed3d.models import UNet3D
    >>> from faimed3d.training import unet_learner_3d
    >>> df = pd.DataFrame({"image": [torch.rand(4, 6, 8) for _ in range(4)]})
    >>> df["mask"] = [image > 0.5 for image in df["image"]]
    >>> def learner(cache, fold):
    ...     table = df.assign(valid=[k in make_folds(df, 2).split(fold)[1] for k in range(4)])
    ...     dls = SegmentationDataLoaders3D.from_df(table, fn_col="image", label_col="mask", valid_col="valid", bs=1)
    ...     return unet_learner_3d(dls, UNet3D, widths=(2, 4))
    >>> fit = lambda learn: learn.fit_poly(1, 1e-2)
    >>> plan = SimpleNamespace(folds={"n": 2}, to_json=lambda: "{}", learner=learner, fit=fit)  # as of propose
    >>> cache = SimpleNamespace(table=df, keys=("a", "b", "c", "d"), check=lambda: None)  # of preprocess
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cv = cross_validate(plan, cache, folder, progress=False)
    ...     again = cross_validate(plan, cache, folder, progress=False)  # reads what is there
    >>> cv.table[["fold", "case"]].drop_duplicates().groupby("fold").size().to_dict(), cv.table.equals(again.table)
    ({0: 2, 1: 2}, True)
    """
    if "data" in kwargs or "names" in kwargs:
        raise TypeError("cross_validate scores the cases of its folds, under their own names: leave data and names out")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number, got {seed!r}")
    if minutes is not None:
        check_minutes(minutes)
    if folds is not None and (isinstance(folds, str) or not isinstance(folds, Iterable)):
        raise TypeError(f"folds must be a list of names of folds, such as [0, 2], got {folds!r}")
    cache.check()
    division = make_folds(cache.table, **plan.folds)
    names = list(division.names) if folds is None else list(dict.fromkeys(division.name(fold) for fold in folds))
    if not names:
        raise ValueError(f"folds is empty: name some of {', '.join(map(str, division.names))}, or leave it out")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    asked = {
        "plan": _values(plan),
        "fit": None if fit is None else digest(function_code(fit)),
        "minutes": None if minutes is None else float(minutes),
    }
    work = _Work(
        _budgeted(plan, minutes, folder, asked), cache, folder, division, {**asked, "seed": int(seed)}, fit, progress
    )
    bar = progress_bar(names) if progress and len(names) > 1 else names
    tables = []
    for name in bar:
        try:
            tables.append(work.scores_of(name, kwargs))
        except Exception as error:
            raise RuntimeError(
                f"fold {name} of the cross-validation in {folder}: {type(error).__name__}: {error}. Folds that are "
                "finished are kept; call again to go on"
            ) from error
    table = type(tables[0])(pd.concat(tables, ignore_index=True))
    files = [work.files(name).network for name in names]
    return CrossValidation(folder, work.plan, table, files, lambda: work.learner(names[0]))


class _Work:
    """One call of :func:`cross_validate`."""

    def __init__(
        self, plan: Any, cache: Any, folder: Path, folds: Folds, asked: Mapping[str, Any], fit: Any, progress: bool
    ) -> None:
        self.plan, self.cache, self.folder, self.folds = plan, cache, folder, folds
        self.asked, self.fit, self.progress = asked, fit, progress
        self.case_names: list[str] | None = None

    def files(self, name: int | str) -> FoldFiles:
        return FoldFiles(self.folder, name, self.folds.names.index(name))

    def learner(self, name: int | str) -> Learner:
        learn = self.plan.learner(self.cache, name)
        if self.case_names is None:  # of all cases, so that each has another one
            self.case_names = names_of(learn.dls, self.cache.table)
        return learn

    def scores_of(self, name: int | str, kwargs: Mapping[str, Any]) -> ScoreTable | ClassTable:
        """The scores of a fold: those that are there, or new ones of the network that is there, or of a new one."""
        files = self.files(name)
        train, valid = self.folds.split(name)
        sides = [[self.cache.keys[case] for case in side] for side in (train, valid)]
        trained_by = {**self.asked, "seed": self.asked["seed"] + files.number, "cases": digest(sides)}
        learn = None
        if not files.has_network(trained_by):
            _say_what_changed(name, files, as_json(trained_by))
            learn = self._train(name, files, trained_by)
        for checkpoint in files.folder.glob(f"{_CHECKPOINT}*"):
            checkpoint.unlink(missing_ok=True)
        scored_by = {"tolerance": 2.0, **kwargs}
        table = files.scores(scored_by)
        if table is None:
            learn = self.learner(name) if learn is None else learn
            with self._bars(learn):
                ensemble = Ensemble([StoredNetwork(files.network, learn)])
                assert self.case_names is not None
                names = [self.case_names[case] for case in valid]
                table = evaluate(ensemble, self.cache.table.iloc[valid], names=names, **kwargs)
            table.insert(0, "fold", name)
            files.write_scores(table, scored_by)
            read = files.scores(scored_by)
            table = table if read is None else read
        assert table is not None
        return table

    def _train(self, name: int | str, files: FoldFiles, trained_by: Mapping[str, Any]) -> Learner:
        files.folder.mkdir(exist_ok=True)
        with no_random(trained_by["seed"], reproducible=False):
            learn = self.learner(name)
            learn.path, learn.model_dir = files.folder, "."
            learn.add_cb(Checkpoint(f"{_CHECKPOINT}{digest(trained_by)}", minutes=_MINUTES))
            with self._bars(learn):
                (self.fit or self.plan.fit)(learn)
        files.write_network(learn, trained_by)
        return learn

    @contextmanager
    def _bars(self, learn: Learner) -> Iterator[None]:
        with ExitStack() as stack:
            if not self.progress:
                stack.enter_context(learn.no_bar())
                stack.enter_context(learn.no_logging())
            yield


def _values(plan: PlanLike) -> Any:
    """What a plan says, without its reasons."""
    content = json.loads(plan.to_json())
    return content.get("plan", content)


def _budgeted(plan: Any, minutes: float | None, folder: Path, asked: Mapping[str, Any]) -> Any:
    """The plan with the epochs of a budget: how many was measured once, for all folds and calls."""
    if minutes is None:
        return plan
    kept = FoldFiles.read_json(folder / "budget.json")
    if kept.get("asked") == asked:
        return type(plan).from_json(json.dumps(kept["plan"]))
    planned = plan.for_budget(minutes)
    FoldFiles.write_json(folder / "budget.json", {"asked": asked, "plan": json.loads(planned.to_json())})
    return planned


def _say_what_changed(name: int | str, files: FoldFiles, now: Mapping[str, Any]) -> None:
    before = files.trained_by
    if not before:
        return
    changed = [entry for entry in now if before.get(entry) != now[entry] and entry != "plan"]
    plans = [one if isinstance(one, Mapping) else {} for one in (before.get("plan"), now["plan"])]
    entries = [entry for entry in sorted({*plans[0], *plans[1]}) if plans[0].get(entry) != plans[1].get(entry)]
    changed += [f"{entry} of the plan" for entry in entries]
    why = f"{', '.join(changed)} changed since it was trained" if changed else f"{files.network} is gone or damaged"
    warnings.warn(f"fold {name} is trained again: {why}", stacklevel=5)
