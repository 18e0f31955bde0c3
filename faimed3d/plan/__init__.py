"""A plan for a data set: how its cases are prepared, trained on, cross-validated."""

from faimed3d.plan.folds import make_folds

__all__ = ["make_folds"]
