"""Training: learners for volumes, metrics in millimetres, callbacks. The losses are in ``faimed3d.losses``."""

from faimed3d.training import distributed  # noqa: F401 - gives Learner its distrib_ctx
from faimed3d.training.callbacks import KeepGeometry, ReloadBestFit, StackVolumes
from faimed3d.training.checkpoint import Checkpoint
from faimed3d.training.dice import Dice3D, dice_per_class
from faimed3d.training.for_volumes import ForVolumes
from faimed3d.training.label_loss import WarnOfLostLabels
from faimed3d.training.learner import cnn_learner_3d, deeplab_learner_3d, default_loss, unet_learner_3d, volume_learner
from faimed3d.training.memory import training_memory
from faimed3d.training.metrics import AverageSurfaceDistance, ExcludedCases, HausdorffDistance95, SurfaceDice
from faimed3d.training.mixing import CutMix3D
from faimed3d.training.precision import Autocast
from faimed3d.training.schedules import fit_poly
from faimed3d.training.stored_network import StoredNetwork
from faimed3d.training.subvolumes import MixSubvol, SplitVolumes, SubsampleShuffle
from faimed3d.training.surface_distances import average_surface_distance, hausdorff_distance, surface_dice
from faimed3d.training.volume_learner import VolumeLearner

__all__ = [
    "Autocast",
    "AverageSurfaceDistance",
    "Checkpoint",
    "CutMix3D",
    "Dice3D",
    "ExcludedCases",
    "ForVolumes",
    "HausdorffDistance95",
    "KeepGeometry",
    "MixSubvol",
    "ReloadBestFit",
    "SplitVolumes",
    "StackVolumes",
    "StoredNetwork",
    "SubsampleShuffle",
    "SurfaceDice",
    "VolumeLearner",
    "WarnOfLostLabels",
    "average_surface_distance",
    "cnn_learner_3d",
    "deeplab_learner_3d",
    "default_loss",
    "dice_per_class",
    "fit_poly",
    "hausdorff_distance",
    "surface_dice",
    "training_memory",
    "unet_learner_3d",
    "volume_learner",
]
