"""Whole volumes through a trained network, and the result on the patient's own grid.

``learn.predict_volume``, ``learn.predict_folder`` and ``learn.export_model`` are methods of fastai's ``Learner`` once
this room is imported. It imports nothing of the rooms that train.
"""

from faimed3d.inference.ensemble import Ensemble
from faimed3d.inference.folder import predict_folder
from faimed3d.inference.stored_model import StoredModel, load_model
from faimed3d.inference.whole_volume import predict_volume

__all__ = ["Ensemble", "StoredModel", "load_model", "predict_folder", "predict_volume"]
