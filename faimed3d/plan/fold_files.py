"""The files of a fold: its network, its scores, and what both were made of."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # of what JSON holds

import pandas as pd
from fastai.learner import Learner

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d.evaluation import ScoreTable
from faimed3d.evaluation.class_table import ClassTable
from faimed3d.training import StoredNetwork

_WORDS = ("fold", "case", "class", "predicted", "error")


@dataclass(frozen=True)
class FoldFiles:
    """The files of one fold. ``fold.json`` comes last, with the digests of the others, so that they belong together.

    Args:
        parent: folder of all folds.
        name: of the fold.
        number: its place among the folds.
    """

    parent: Path
    name: int | str
    number: int

    @property
    def folder(self) -> Path:
        """That of this fold."""
        plain = re.fullmatch(r"[\w+-][\w.+-]*", str(self.name)) is not None
        return self.parent / f"fold_{self.name if plain else f'#{self.number}'}"  # a sign that no plain name has

    @property
    def network(self) -> Path:
        """The weights."""
        return self.folder / "network.safetensors"

    @property
    def trained_by(self) -> dict[str, Any]:
        """What the network was made of, as far as it is there."""
        return self._said.get("trained_by", {})

    def has_network(self, trained_by: Mapping[str, Any]) -> bool:
        """Whether the network is there, whole, and made of this."""
        said = self._said
        same = said.get("trained_by") == as_json(trained_by) and said.get("name") == self.name
        return same and _sha256(self.network) == said.get("network")

    def write_network(self, learn: Learner, trained_by: Mapping[str, Any]) -> None:
        """Write the weights of a learner, and then what they were made of.

        Args:
            learn: trained.
            trained_by: plain JSON.
        """
        StoredNetwork.save(self.network, learn, {"fold": self.name})
        said = {"name": self.name, "trained_by": dict(trained_by), "network": _sha256(self.network)}
        self.write_json(self.folder / "fold.json", said)

    def scores(self, scored_by: Mapping[str, Any]) -> ScoreTable | ClassTable | None:
        """The scores of the network that is there, if it was asked for these; None where there are none."""
        said, file = self._said, self.folder / "scores.csv"
        if said.get("scored_by") != as_json(scored_by) or said.get("scores") != _sha256(file):
            return None
        table = pd.read_csv(file, dtype=dict.fromkeys(_WORDS, str), keep_default_na=False, na_values=_numbers_of(file))
        table["fold"] = self.name
        if "label" not in table:
            return ClassTable(table)
        table["label"] = table["label"].astype("Int64")
        return ScoreTable(table)

    def write_scores(self, table: ScoreTable | ClassTable, scored_by: Mapping[str, Any]) -> None:
        """Write the scores; those with cases that failed do not count as there.

        Args:
            table: of all cases of the fold.
            scored_by: the arguments of the evaluation.
        """
        _write(self.folder / "scores.csv", lambda file: table.to_csv(file, index=False))
        if isinstance(table, ClassTable) or not len(table.failed):
            said = {**self._said, "scored_by": as_json(scored_by), "scores": _sha256(self.folder / "scores.csv")}
            self.write_json(self.folder / "fold.json", said)

    @property
    def _said(self) -> dict[str, Any]:
        return self.read_json(self.folder / "fold.json")

    @staticmethod
    def read_json(file: Path) -> dict[str, Any]:
        """What a file holds; nothing where it is absent or damaged."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            said = json.loads(file.read_text(encoding="utf-8"))
            return said if isinstance(said, dict) else {}
        return {}

    @staticmethod
    def write_json(file: Path, values: Mapping[str, Any]) -> None:
        """Write plain values, whole or not at all."""
        text = json.dumps(values, indent=1, ensure_ascii=False)
        _write(file, lambda inner: inner.write_text(text, encoding="utf-8"))


def _write(file: Path, write: Callable[[Path], Any]) -> None:
    with unfinished_folder(file) as folder:
        inner = Path(folder) / file.name
        write(inner)
        replace_file(str(inner), os.path.abspath(file))


def _sha256(file: Path) -> str | None:
    """Of the content; None where there is no such file."""
    try:
        content = hashlib.sha256()
        with open(file, "rb") as opened:
            while chunk := opened.read(2**20):
                content.update(chunk)
        return content.hexdigest()
    except FileNotFoundError:
        return None


def _numbers_of(file: Path) -> dict[str, list[str]]:
    """An empty cell is NaN in columns of numbers, and a word in others."""
    columns = pd.read_csv(file, nrows=0).columns
    return {name: [""] for name in columns if name not in _WORDS}


def as_json(values: Mapping[str, Any]) -> Any:
    """As it is when it was written and read: tuples are lists."""
    return json.loads(json.dumps(values, default=str))
