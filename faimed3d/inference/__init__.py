"""Whole volumes through a trained network, and the result back in the patient's own grid."""

from faimed3d.inference.predict import predict_folder, predict_volume

__all__ = ["predict_folder", "predict_volume"]
