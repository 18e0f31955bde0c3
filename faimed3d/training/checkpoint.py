"""The callback that lets a training go on after it was killed."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any  # of what a checkpoint holds

from fastai.callback.core import Callback, CancelEpochException, CancelFitException
from fastai.callback.progress import CSVLogger, ProgressCallback
from fastai.callback.tracker import SaveModelCallback
from fastai.learner import Recorder
from fastai.torch_core import num_distrib, rank_distrib
from fastcore.foundation import L

from faimed3d._keywords import StrictKeywords
from faimed3d.training.checkpoint_file import read_checkpoint, write_checkpoint
from faimed3d.training.training_settings import differences, training_settings
from faimed3d.training.training_state import callback_values, set_training_state, training_state

_TABLE = (Recorder, ProgressCallback, CSVLogger)  # these show the epochs that lie in the file


class Checkpoint(StrictKeywords, Callback):
    """Write all of a training after each epoch, and go on from there when the same ``fit`` is called again.

    The file holds the weights, the optimizer, the schedule, all random numbers (those of the loaders among them), the
    table of the epochs and what callbacks have counted. So the rest of a training that was killed gives the numbers
    that the whole one would have given; on a GPU as far as its kernels do. It is one safetensors file without pickle,
    written whole or not at all: a kill at any time loses at most the epoch in work.

    Run the script, or the cells, again as they were. The epochs that are done are shown and not trained, with a
    warning; so are those of a training that had ended, and of the first part of ``fine_tune``. A training with other
    settings is refused, with the differences. Workers that a loader keeps for several epochs (``persistent_workers``)
    begin with other random numbers.

    Of other callbacks the file holds the attributes that have changed since the beginning, as far as they are numbers,
    texts, tensors or lists of them; or what ``state_dict`` gives where a callback has that and ``load_state_dict``.

    Args:
        fname: file below ``learn.path / learn.model_dir``, without extension.
        minutes: write only where so many have passed since the last time. The end is always written.
        resume: False: begin anew, whatever lies there.

    Raises:
        ValueError: in training: the file is of a training with other settings, or no checkpoint.
        TypeError: in training: the network or the optimizer keeps something that is neither number nor tensor.

    >>> Checkpoint("fold0", minutes=10).fname
    'fold0'
    """

    order = 90  # after all others
    keeps_checkpoints = True
    found_finished = False

    def __init__(self, fname: str = "checkpoint", minutes: float = 0, resume: bool = True) -> None:
        super().__init__()
        self.fname, self.minutes, self.resume = fname, minutes, resume
        self.fits: list[dict[str, Any]] = []  # that have ended
        self.begun: tuple[int, int] | None = None  # the epoch that was begun last, of how many
        self.kept: dict[str, Any] | None = None  # the file, while its epochs are shown
        self.running, self.depth, self.written = False, 0, 0.0

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.learn.path) / self.learn.model_dir / f"{self.fname}.safetensors"

    def before_fit(self) -> None:
        """Count: a validation within a fit comes by here, too."""
        self.depth += 1

    def before_train(self) -> None:
        """At the beginning of a fit look for its file; leave out the epochs that are in it."""
        if self._looks_for_a_rate():
            return
        epoch, count = self.learn.epoch, self.learn.n_epoch
        if not self.running or self.begun is None or epoch <= self.begun[0] or count != self.begun[1]:
            self._begin()
        self.begun = (epoch, count)
        if self.kept is not None:
            self.learn.recorder.log = L(*next(row for row in self.rows if row[0] == epoch))
            raise CancelEpochException
        if self.found_finished:  # before its last epoch
            raise CancelFitException

    def after_epoch(self) -> None:
        """Write; or go on from the file after the last epoch that is in it."""
        if not self.running or self._looks_for_a_rate():
            return
        if self.kept is None:
            self.rows.append([self.learn.epoch, *self.learn.recorder.values[-1]])
            if time.monotonic() - self.written >= 60 * self.minutes:
                self._write(finished=False)
        elif self.learn.epoch == self.rows[-1][0]:
            self._take_up()

    def after_fit(self) -> None:
        """Write the end."""
        self.depth -= 1
        if not self.running or self.depth > 0 or self._looks_for_a_rate():
            return
        self.running = False
        if not self.found_finished:
            self._write(finished=True)
        self.fits.append({"settings": self.settings, "rows": self.rows, "finished": True})

    def _looks_for_a_rate(self) -> bool:
        return hasattr(self.learn, "lr_finder")

    def _begin(self) -> None:
        self.running, self.depth, self.written = True, 1, time.monotonic()
        self.settings, self.rows, self.kept, self.found_finished = training_settings(self.learn), [], None, False
        self.values = callback_values(self.learn)
        if not self.resume or not self.path.exists():
            return
        kept = read_checkpoint(self.path)
        if len(kept["fits"]) <= len(self.fits):  # of fits before this one
            return
        here = kept["fits"][len(self.fits)]
        others = differences(here["settings"], self.settings)
        processes = max(num_distrib(), 1)
        if len(kept["random"]) != processes:
            others.append(f"processes {len(kept['random'])} (here {processes})")
        if others:
            raise ValueError(
                f"{self.path}: is the checkpoint of another training: {'; '.join(others)}. Remove it, choose another "
                "fname, or begin anew with resume=False"
            )
        self.kept, self.rows, self.found_finished = kept, here["rows"], here["finished"]
        warnings.warn(
            f"{len(self.rows)} of {self.learn.n_epoch} epochs are in {self.path} and are not trained again",
            stacklevel=2,
        )
        self.muted = [one for one in self.learn.cbs if one.run and not isinstance(one, (Checkpoint, *_TABLE))]
        for callback in self.muted:
            callback.run = False

    def _take_up(self) -> None:
        """Be where the file was written; of a fit before its last one it has no more than the table."""
        kept, self.kept = self.kept, None
        ended = self.found_finished
        for callback in self.muted:  # at its end the file has what SaveModelCallback loads then
            callback.run = not (ended and isinstance(callback, SaveModelCallback))
        self.muted = []
        if kept is not None and len(kept["fits"]) == len(self.fits) + 1:
            set_training_state(self.learn, kept, rank_distrib())

    def _write(self, finished: bool) -> None:
        state = training_state(self.learn, self.values)
        state["fits"] = [*self.fits, {"settings": self.settings, "rows": self.rows, "finished": finished}]
        if not rank_distrib():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_checkpoint(self.path, state)
        self.written = time.monotonic()
