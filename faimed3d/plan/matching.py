"""Whether the cases of a cache are those that a plan means: a cache of other steps is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faimed3d.cache import Cache
from faimed3d.cache.descriptions import describe
from faimed3d.cache.keys import describe_transforms, deterministic
from faimed3d.training.network_input import step_text

if TYPE_CHECKING:
    from faimed3d.plan.plan import Plan


def refuse_other_steps(plan: Plan, cache: Any) -> None:
    """Raise where the cases of a cache were made by other steps than the plan asks for.

    Args:
        plan: any.
        cache: of ``preprocess``.

    Raises:
        ValueError: they were; the message says which steps differ.
        TypeError: something else than a cache.
    """
    if not isinstance(cache, Cache):
        raise TypeError(f"cache must be what preprocess(df, folder, plan) returns, got {type(cache).__name__}")
    reading = cache.reading
    seg = plan.task == "segmentation"
    pairs: dict[str, tuple[Any, Any]] = {"masks": (reading.masks, seg)}
    if seg == reading.masks:
        pairs |= {
            "fn_col": (_columns(cache.fn_col), _columns(plan.fn_col)),
            "label_col": (_columns(cache.label_col), _columns(plan.label_col)),
            "channels": (cache[0].shape[0], plan.channels),
            "orientation": (reading.orientation, plan.orientation),
        }
        if seg:
            pairs |= {"codes": (cache.codes, plan.codes), "ignore_index": (reading.ignore_index, plan.ignore_index)}
        steps = list(reading.item_tfms), deterministic(plan.item_tfms)
        if describe_transforms(steps[0]) != describe_transforms(steps[1]):
            there, asked = ([step for step in own if describe(step) not in map(describe, other)] or own
                            for own, other in (steps, steps[::-1]))  # fmt: skip
            pairs["item_tfms"] = ([step_text(step) for step in there], [step_text(step) for step in asked])
    pairs = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    differences = [f"{name}: {own!r} in the cache, {asked!r} in the plan" for name, (own, asked) in pairs.items()]
    if differences:
        kind = "PatchDataLoaders3D" if seg else "CachedImageDataLoaders3D"
        raise ValueError(
            f"{cache.folder}: its cases were made by other steps than the plan's ({'; '.join(differences)}): call "
            "preprocess(df, folder, plan) with this plan, and use what it returns; or, where the cases shall be as "
            f"they are, make loaders with {kind}.from_cache and pass them as plan.learner(cache, dls=dls)"
        )


def _columns(names: Any) -> Any:
    """One column, or the list of several."""
    return list(names) if isinstance(names, tuple | list) else names
