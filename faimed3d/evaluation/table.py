"""The table that an evaluation gives: a DataFrame that sums itself up and draws itself."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from faimed3d.display import class_color

WHERE = ("case", "class")
_VOLUMES = ("volume_ml", "target_ml")
_UNITS = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "volume_error_ml": "volume error (ml)"}


class _WholeTable(pd.DataFrame):
    """A table that prints all columns, in lines as wide as a terminal; pandas leaves out those in the middle."""

    def __repr__(self) -> str:
        return self.to_string(line_width=100, float_format="{:.3f}".format)


class ScoreTable(pd.DataFrame):
    """Scores of each class of each case, a DataFrame: ``to_csv`` saves it, ``summary`` sums it up, ``show`` draws it.

    >>> table = ScoreTable({"case": ["ann", "bob"], "class": ["liver"] * 2, "dice": [0.8, 0.9], "error": ["", ""]})
    >>> table.summary()["dice"].round(3).to_dict("records")
    [{'cases': 2, 'mean': 0.85, 'std': 0.071, 'median': 0.85}]
    """

    @property
    def _constructor(self):
        return ScoreTable

    @property
    def scores(self) -> list[str]:
        """The columns that hold scores: Dice, HD95, surface Dice, volume error."""
        names = [*WHERE, *_VOLUMES, "fold", "label", "error"]
        return [name for name in self.columns if name not in names]

    @property
    def failed(self) -> pd.DataFrame:
        """The cases that could not be evaluated, with the error."""
        if "error" not in self:
            return pd.DataFrame(self.iloc[:0])
        return pd.DataFrame(self[self["error"] != ""][["case", "error"]])

    def summary(self) -> pd.DataFrame:
        """Cases, mean, standard deviation and median of each score, for each class and (``all``) for all together.

        Cases without a value are left out: a class that neither shows has no score, one that only one shows no HD95.
        ``cases`` says how many are left.
        """
        rows = {}
        done = pd.DataFrame(self[self["error"] == ""]) if "error" in self else pd.DataFrame(self)
        groups = [(str(name), group) for name, group in done.groupby("class", sort=False)]
        if len(groups) > 1:
            groups.append(("all", done))
        for name, group in groups:
            row: dict[tuple[str, str], float] = {}
            for score in self.scores:
                values = group[score].to_numpy(float)
                values = values[np.isfinite(values)]
                row[score, "cases"] = len(values)
                row[score, "mean"] = values.mean() if len(values) else np.nan
                row[score, "std"] = values.std(ddof=1) if len(values) > 1 else np.nan
                row[score, "median"] = np.median(values) if len(values) else np.nan
            rows[name] = row
        table = pd.DataFrame.from_dict(rows, orient="index")
        table.index.name = "class"
        if len(table.columns):
            table.columns = pd.MultiIndex.from_tuples(table.columns)
            counts = [column for column in table.columns if column[1] == "cases"]
            table = table.astype(dict.fromkeys(counts, int))
        return _WholeTable(table)

    def by_fold(self, score: str = "dice") -> pd.DataFrame:
        """The mean of a score of each class (columns) in each fold (rows).

        Args:
            score: column of the table.
        """
        done = pd.DataFrame(self[self["error"] == ""])
        finite = done[np.isfinite(done[score].to_numpy(float))]
        classes = list(dict.fromkeys(done["class"]))
        return finite.pivot_table(score, "fold", "class", sort=False).reindex(columns=classes)

    def show(self, scores: Sequence[str] | None = None, figsize: tuple[float, float] | None = None) -> list[Axes]:
        """Draw each score: a box for each class, and a point for each case.

        Args:
            scores: columns to draw. Default: all scores.
            figsize: inches.

        Returns:
            One of matplotlib's axes for each score.

        >>> table = ScoreTable({"case": ["ann", "bob"], "class": ["liver"] * 2, "dice": [0.8, 0.9], "error": ["", ""]})
        >>> [axes.get_ylabel() for axes in table.show()]
        ['Dice']
        """
        scores = self.scores if scores is None else list(scores)
        done = self[self["error"] == ""] if "error" in self else self
        names = list(dict.fromkeys(done["class"]))
        figsize = figsize or (max(2.2, 0.9 + 0.55 * len(names)) * len(scores), 3.6)
        _, axes = plt.subplots(1, len(scores), figsize=figsize, squeeze=False, layout="constrained")
        random = np.random.default_rng(0)
        for ax, score in zip(axes.flat, scores, strict=True):
            for place, name in enumerate(names):
                values = done.loc[done["class"] == name, score].to_numpy(float)
                finite = values[np.isfinite(values)]
                color = class_color(place + 1)
                if len(finite) > 1:
                    lines = {"color": "0.35", "linewidth": 1.2}
                    ax.boxplot([finite], positions=[place], widths=0.55, showfliers=False, boxprops=lines,
                               whiskerprops=lines, capprops=lines, medianprops={"color": "black"})  # fmt: skip
                spread = random.uniform(-0.14, 0.14, len(finite))
                ax.scatter(place + spread, finite, s=14, color=color, alpha=0.8, linewidths=0, zorder=3)
                if left := len(values) - len(finite):
                    ax.annotate(f"{left} without", (place, 0), (0, 3), xycoords=("data", "axes fraction"), ha="center",
                                textcoords="offset points", fontsize="x-small", color="0.35")  # fmt: skip
            ax.set_xticks(range(len(names)), names, rotation=35 if sum(map(len, names)) > 14 else 0,
                          ha="right" if sum(map(len, names)) > 14 else "center")  # fmt: skip
            ax.set_xlim(-0.6, len(names) - 0.4)
            ax.set_ylabel(_UNITS.get(score, score.replace("_", " ")))
            if "dice" in score:
                ax.set_ylim(-0.03, 1.03)
            elif score == "volume_error_ml":
                ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
            ax.spines[["top", "right"]].set_visible(False)
        return list(axes.flat)
