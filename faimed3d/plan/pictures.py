"""The picture of a report on the cases of a data set."""

from __future__ import annotations

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from faimed3d.display import class_color
from faimed3d.plan.case_facts import AXES, SIZES

_ODD = "#d62728"
_USUAL = "#4c72b0"


def draw_report(report: pd.DataFrame, figsize: tuple[float, float]) -> list[Axes]:
    """Draw a report: six panels; a point is a case, red where it is odd.

    Args:
        report: of ``describe_cases``.
        figsize: inches.
    """
    done = report[report["error"] == ""]
    odd = (done["oddities"] != "").to_numpy()
    _, axes = plt.subplots(2, 3, figsize=figsize, layout="constrained")
    _points(axes[0, 0], [_numbers(done, name) for name in SIZES[::-1]], SIZES[::-1], odd, "voxels")
    spacings = [_numbers(done, f"spacing_{axis}") for axis in AXES]
    _points(axes[0, 1], spacings, AXES, odd, "spacing (mm)")
    _text(axes[0, 2], report, done)
    _ranges(axes[1, 0], done, odd)
    names = [str(name) for name in report.attrs.get("codes") or []]
    if "class" in done:
        counts = done["class"].astype(str).value_counts().sort_index()
        axes[1, 1].bar(range(len(counts)), counts.to_numpy(), color=[class_color(k + 1) for k in range(len(counts))])
        _ticks(axes[1, 1], list(counts.index))
        axes[1, 1].set_ylabel("cases")
        axes[1, 2].hist(_numbers(done, "background"), bins=20, range=(0, 1), color=_USUAL)
        axes[1, 2].set(xlabel="share of the smallest value", ylabel="cases")
    else:
        labels = [int(name.removeprefix("voxels_")) for name in done if name.startswith("voxels_")]
        titles = [names[label] if label < len(names) else f"class {label}" for label in labels]
        steps = np.prod([np.nan_to_num(values, nan=1.0) for values in spacings], axis=0)
        volumes = [_numbers(done, f"voxels_{label}") * steps / 1000 for label in labels]
        _points(axes[1, 1], [np.where(v > 0, v, np.nan) for v in volumes], titles, odd, "volume (ml)", classes=True)
        known = np.concatenate([v[v > 0] for v in volumes]) if volumes else np.zeros(0)
        if known.size and known.max() > 10 * known.min():
            axes[1, 1].set_yscale("log")
        pieces = [_numbers(done, f"components_{label}") for label in labels]
        _points(axes[1, 2], pieces, titles, odd, "components (0: absent)", classes=True)
        axes[1, 2].yaxis.get_major_locator().set_params(integer=True)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return list(axes.flat)


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    return table[name].to_numpy(float, na_value=np.nan) if name in table else np.full(len(table), np.nan)


def _points(ax: Axes, columns: list, names: tuple | list, odd: np.ndarray, label: str, classes: bool = False) -> None:
    """A point for each case in each column, odd ones in red and in front; the median as a line."""
    random = np.random.default_rng(0)
    for place, values in enumerate(columns):
        spread = place + random.uniform(-0.25, 0.25, len(values))
        color = class_color(place + 1) if classes else _USUAL
        ax.scatter(spread[~odd], values[~odd], s=9, color=color, alpha=0.6, linewidths=0)
        ax.scatter(spread[odd], values[odd], s=16, color=_ODD, marker="x", linewidths=1, zorder=3)
        if np.isfinite(values).any():
            ax.hlines(np.nanmedian(values), place - 0.35, place + 0.35, color="black", linewidth=1.2, zorder=4)
    ax.set_xlim(-0.6, len(columns) - 0.4)
    _ticks(ax, list(names))
    ax.set_ylabel(label)
    known = np.concatenate([np.asarray(v, float)[np.isfinite(v)] for v in columns]) if columns else np.zeros(0)
    if known.size and known.min() == known.max():
        ax.set_ylim(known[0] - 0.5 * abs(known[0]) - 1e-9, known[0] + 0.5 * abs(known[0]) + 1e-9)


def _ticks(ax: Axes, names: list[str]) -> None:
    long = sum(map(len, names)) > 24
    shown = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
    ax.set_xticks(range(len(names)), shown, rotation=40 if long else 0, ha="right" if long else "center")
    if len(names) > 12:
        ax.tick_params(axis="x", labelsize="xx-small" if len(names) > 30 else "x-small")


def _ranges(ax: Axes, done: pd.DataFrame, odd: np.ndarray) -> None:
    """The foreground of each case: from percentile 0.5 to 99.5, and the mean, in the order of the means."""
    low, mean, high = (_numbers(done, name) for name in ("p0.5", "mean", "p99.5"))
    order = np.argsort(mean)
    place = np.arange(len(order))
    colors = [_ODD if one else _USUAL for one in odd[order]]
    ax.vlines(place, low[order], high[order], colors=colors, linewidth=max(0.6, min(4, 150 / max(1, len(order)))))
    ax.scatter(place, mean[order], s=6, color="black", linewidths=0, zorder=3)
    ax.set(xlabel="cases, by mean", ylabel="foreground intensity (0.5 to 99.5 %)", xticks=[])
    if np.nanmin(low, initial=np.inf) > 0 and np.nanmax(high, initial=0) > 100 * np.nanmedian(high):
        ax.set_yscale("log")


def _text(ax: Axes, report: pd.DataFrame, done: pd.DataFrame) -> None:
    """How many cases there are, how they are stored, and what is odd, the commonest first."""
    lines = [
        f"{len(report)} cases" + (f", {len(report) - len(done)} could not be read" if len(done) < len(report) else "")
    ]
    if "orientation" in done:
        counts = done["orientation"].value_counts()
        lines.append("stored as " + ", ".join(f"{code} ({count})" for code, count in counts.items()))
    odd = report.odd if hasattr(report, "odd") else report[report["oddities"] != ""]
    if not len(odd):
        lines.append("nothing odd")
    else:
        lines += ["", f"{len(odd)} odd case{'s' * (len(odd) != 1)}, in red:"]
        kinds = Counter(_kind(text) for texts in odd["oddities"] for text in texts.split("; "))
        lines += [f"{count} × {kind}" for kind, count in kinds.most_common(9)]
        if len(kinds) > 9:
            lines.append(f"and {len(kinds) - 9} other kinds")
    ax.text(0.08, 1, "\n".join(lines), va="top", transform=ax.transAxes, fontsize="small", linespacing=1.5)
    ax.set_axis_off()


def _kind(text: str) -> str:
    """An oddity without its numbers: what stands before them."""
    for words in (" is stored as", "is stored as", "has the very voxels", "lacks "):
        if text.startswith(words):
            return {"lacks ": text.split(",")[0]}.get(
                words, words.strip().replace("is stored as", "stored another way")
            )
    head = text.split(" is ")[0] if " is " in text else text
    return head if " is " not in text else f"{head} far from the median" if "median" in text else text
