"""From tables and folders of scans to fastai's DataLoaders: files, blocks, loaders, splits by patient, pictures."""

from faimed3d.data.block_transforms import AddChannel, CheckLabels, MatchMask, ToLabels
from faimed3d.data.blocks import ImageBlock3D, MaskBlock3D, MaskReader
from faimed3d.data.files import get_volumetric_files, supported_extensions
from faimed3d.data.image_loaders import ImageDataLoaders3D
from faimed3d.data.layouts import bids_table, msd_table
from faimed3d.data.one_orientation import OneOrientation
from faimed3d.data.regions import RegionBlock3D
from faimed3d.data.segmentation_loaders import SegmentationDataLoaders3D
from faimed3d.data.splitting import GroupSplitter
from faimed3d.data.statistics import IntensityStats, intensity_stats

__all__ = [
    "AddChannel",
    "CheckLabels",
    "GroupSplitter",
    "ImageBlock3D",
    "ImageDataLoaders3D",
    "IntensityStats",
    "MaskBlock3D",
    "MaskReader",
    "MatchMask",
    "OneOrientation",
    "RegionBlock3D",
    "SegmentationDataLoaders3D",
    "ToLabels",
    "bids_table",
    "get_volumetric_files",
    "intensity_stats",
    "msd_table",
    "supported_extensions",
]
