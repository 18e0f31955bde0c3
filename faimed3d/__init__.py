"""fastai for medical volumes: CT, MR and PET as tensors that know where they are in the patient.

``import faimed3d`` is cheap: each name is imported from its room when it is first used, as in
``faimed3d.TensorDicom3D.create("scan.nii.gz")`` or ``faimed3d.dicom_inventory("scans")``. For notebooks there is
``from faimed3d.all import *``, which brings the names of fastai too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from faimed3d.legacy import moved_modules

# where the names of users are; a test holds it against what the rooms offer
_ROOMS = {
    "archive": "DicomWeb",
    "augment": """
        ClampMask3D Clip3D CropForeground3D FillNaN3D HistScaled3D IntensityTransform3D KeepLargestComponent MaxScale
        MeanScale MedianScale Normalize3D Pad3D PadOrCrop3D PiecewiseHistScaling RandomAffine3D RandomBiasField3D
        RandomBlur3D RandomBrightness3D RandomContrast3D RandomCrop3D RandomDihedral3D RandomElastic3D RandomFlip3D
        RandomGamma3D RandomGhosting3D RandomLowResolution3D RandomNoise3D RandomPerspective3D RandomRicianNoise3D
        RandomRotate3D RandomRotate3DBy RandomSheer3D RandomSpatial3D RandomTransform3D RandomTrapezoid3D RandomWarp3D
        ReduceClasses RemoveSmallObjects Reorient3D Resample3D ResampleLike RescaleIntensity3D Resize3D ResizeCrop3D
        SpatialTransform3D StandardScale Window3D ZScore3D aug_transforms_3d
    """,
    "basics": """
        Geometry TensorDicom3D TensorMask3D crop_3d load_image_3d normalize pad_or_crop readdcm_3d reorient resample
        resample_like resize_3d_tensor retain_type show_image_3d show_images_3d strip view_3d
    """,
    "cache": "Cache CacheError StaleCache preprocess",
    "browser": "BasicViewer DicomExplorer ListViewer save_views",
    "data": """
        AddChannel CheckLabels GroupSplitter ImageBlock3D ImageDataLoaders3D IntensityStats MaskBlock3D MaskReader
        MatchMask OneOrientation RegionBlock3D SegmentationDataLoaders3D ToLabels bids_table get_volumetric_files
        intensity_stats msd_table supported_extensions
    """,
    "dicom": """
        Concept dicom_inventory header_table is_dicom read_dicom read_rtstruct read_seg suv_factor write_rtstruct
        write_seg write_series
    """,
    "intensity": "correct_bias_field equalize_locally",
    "evaluation": "ScoreTable evaluate",
    "patches": "CachedImageDataLoaders3D PatchDataLoaders3D",
    "inference": "Ensemble StoredModel load_model predict_folder predict_volume",
    "legacy.correction": "ImageCorrectionWrapper",
    "legacy.standard_scale": "find_standard_scale standard_scale_from_filelist",
    "legacy.plane_warps": "sheer_3d trapezoid_3d warp_3d",
    "legacy.transforms": "MaskErase MaskErease PreprocessDicom",
    "losses": """
        CrossEntropyLoss3D DeepSupervision DiceCELoss3D DiceLoss3D FocalLoss3D MCCLoss OverlapLoss3D RegionLoss3D
        TverskyLoss3D
    """,
    "masks": "swap_labels",
    "models": """
        AlexNet3D DynamicDeepLab DynamicUnet3D ResNet3D UNet3D resnet101_3d resnet152_3d resnet18_3d resnet34_3d
        resnet50_3d
    """,
    "plan": "Plan cross_validate describe_cases make_folds propose show_dataset",
    "training": """
        Autocast AverageSurfaceDistance Checkpoint CutMix3D Dice3D ExcludedCases ForVolumes HausdorffDistance95
        KeepGeometry MixSubvol ReloadBestFit SplitVolumes StackVolumes StoredNetwork SubsampleShuffle SurfaceDice
        VolumeLearner WarnOfLostLabels average_surface_distance cnn_learner_3d deeplab_learner_3d default_loss
        dice_per_class fit_poly hausdorff_distance surface_dice training_memory unet_learner_3d volume_learner
    """,
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:  # PEP 562; of any type
    if name == "__version__":
        value = import_module("importlib.metadata").version(__name__)
    elif name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


moved_modules.install()


class _Package(ModuleType):
    """``import faimed3d.preprocess``, a module of 0.0.6, does not take the place of the public name ``preprocess``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
