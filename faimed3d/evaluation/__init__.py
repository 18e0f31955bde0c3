"""How good are predictions? Scores of each class of each case, on the grid of the scans.

``learn.evaluate`` is a method of fastai's ``Learner`` once this room is imported.
"""

from faimed3d.evaluation.evaluate import evaluate
from faimed3d.evaluation.table import ScoreTable

__all__ = ["ScoreTable", "evaluate"]
