"""A plan for a data set: what its cases are, how they are prepared, trained on, cross-validated; rules with reasons."""

from faimed3d.plan.contact_sheet import show_dataset
from faimed3d.plan.cross_validation import cross_validate
from faimed3d.plan.folds import make_folds
from faimed3d.plan.plan import Plan
from faimed3d.plan.proposal import propose
from faimed3d.plan.report import describe_cases

__all__ = ["Plan", "cross_validate", "describe_cases", "make_folds", "propose", "show_dataset"]
