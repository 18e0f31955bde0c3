"""Whole volumes through a trained network, and the result on the patient's own grid.

``learn.predict_volume`` and ``learn.predict_folder`` are methods of fastai's ``Learner`` once this room is imported.
"""

from faimed3d.inference.ensemble import Ensemble
from faimed3d.inference.folder import predict_folder
from faimed3d.inference.whole_volume import predict_volume

__all__ = ["Ensemble", "predict_folder", "predict_volume"]
