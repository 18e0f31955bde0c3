"""The table that an evaluation of classes of whole volumes gives: a DataFrame that sums itself up and draws itself."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sklearn.metrics import roc_auc_score, roc_curve

from faimed3d.display import class_color

PROBABILITY = "p_"  # before the name of a class


class ClassTable(pd.DataFrame):
    """A row for each case: ``case``, ``class`` (the true one), ``predicted``, ``p_<class>`` for each.

    >>> rows = {"case": [*"abcd"], "class": [*"xxyy"], "predicted": [*"xxxy"],
    ...         "p_x": [0.9, 0.6, 0.7, 0.2], "p_y": [0.1, 0.4, 0.3, 0.8]}
    >>> ClassTable(rows).summary()["auc"].to_dict()
    {'x': 0.75, 'y': 0.75, 'all': 0.75}
    """

    @property
    def _constructor(self):
        return ClassTable

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return [name.removeprefix(PROBABILITY) for name in self.columns if name.startswith(PROBABILITY)]

    def summary(self) -> pd.DataFrame:
        """Scores of each class against the others, and of all together.

        ``cases``; ``auc``, the area under the ROC curve (NaN where all cases are, or none is, of the class; for all the
        mean of the classes); ``sensitivity`` and ``specificity`` of the predicted class (for all the mean of the
        classes, which is the balanced accuracy); and ``accuracy``.
        """
        rows = {}
        for name in self.classes:
            true, told = (self[column].to_numpy() == name for column in ("class", "predicted"))
            rows[name] = {
                "cases": int(true.sum()),
                "auc": roc_auc_score(true, self[PROBABILITY + name]) if 0 < true.sum() < len(true) else np.nan,
                "sensitivity": (told & true).sum() / true.sum() if true.any() else np.nan,
                "specificity": (~told & ~true).sum() / (~true).sum() if (~true).any() else np.nan,
                "accuracy": (told == true).mean() if len(true) else np.nan,
            }
        table = pd.DataFrame.from_dict(rows, orient="index")
        together = {name: table[name].mean() for name in ("auc", "sensitivity", "specificity")}
        right = (self["class"] == self["predicted"]).mean()
        table.loc["all"] = pd.Series({"cases": len(self), **together, "accuracy": right})
        table.index.name = "class"
        return table.astype({"cases": int})

    def by_fold(self, score: str = "auc") -> pd.DataFrame:
        """A score of each class (columns) in each fold (rows).

        Args:
            score: column of the summary.
        """
        folds = {name: ClassTable(group).summary()[score] for name, group in self.groupby("fold", sort=False)}
        return pd.DataFrame.from_dict(folds, orient="index").rename_axis("fold")

    def show(self, figsize: tuple[float, float] = (3.6, 3.6)) -> list[Axes]:
        """Draw the ROC curve of each class against the others; of two classes that of the second alone.

        Args:
            figsize: inches.

        Returns:
            One of matplotlib's axes.
        """
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
        areas = self.summary()["auc"]
        names = [name for name in self.classes if np.isfinite(areas[name])]
        for name in names[-1:] if len(self.classes) == 2 else names:
            wrong, right, _ = roc_curve(self["class"] == name, self[PROBABILITY + name])
            color = class_color(1 + self.classes.index(name))
            ax.plot(wrong, right, color=color, label=f"{name}: AUC {areas[name]:.3f}")
        ax.plot([0, 1], [0, 1], color="0.8", linewidth=0.8, zorder=0)
        ax.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.legend(loc="lower right", frameon=False, fontsize="small")
        ax.spines[["top", "right"]].set_visible(False)
        return [ax]
