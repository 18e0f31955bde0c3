"""Old paths of modules: imports, and pickles that name them, find what is there today.

One table, served by a finder that ``faimed3d`` puts before Python's own. A module is imported when its old path is
asked for, and it is the module of today itself: ``faimed3d.learner is faimed3d.training.learner``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# old path -> path of today, both in faimed3d
MOVED = {
    "augment.compose": "augment.presets",
    "augment.earlier": "legacy.transforms",
    "augment.intensity": "augment.random_intensity",
    "augment.label": "augment.mask_editing",
    "augment.scaling": "augment.intensity_scaling",
    "augment.sizes": "augment",
    "augment.spatial": "augment.random_spatial",
    "callback": "training",
    "callbacks": "training",
    "correction": "legacy.correction",
    "data.display": "data.pictures",
    "data.earlier": "legacy.loaders",
    "data.split": "data.splitting",
    "dataset": "data.statistics",
    "dicom.read": "dicom.volume_reading",
    "dicom.scan": "dicom.grouping.scan",
    "dicom.seg": "dicom.segmentation.seg_writing",
    "dicom.segments": "dicom.segmentation.planes",
    "dicom.table": "dicom.header.header_table",
    "dicom.tags": "dicom.header.tags",
    "dicom.template": "dicom.writing.template",
    "dicom.write": "dicom.writing.series",
    "display.mosaic": "display.layout",
    "display.slices": "display.slice_view",
    "display.viewer": "browser.viewers",
    "display.writing": "display.annotations",
    "earlier": "legacy.plane_warps",
    "intensity.appearance": "intensity",
    "intensity.channels": "intensity.channel_statistics",
    "intensity.landmarks": "legacy.percentiles",
    "io.writer": "io.writing",
    "learner": "training.learner",
    "metrics": "training",
    "spatial.lattice": "spatial.axis_matrices",
    "spatial.resize": "spatial.resizing",
    "spatial.turns": "spatial.rotations",
    "widgets": "browser",
    "widgets.viewer": "browser.viewers",
}
# modules of 0.0.6 whose names stand in several of today's: old path -> {path of today: names}
SPREAD = {
    "augment.nyul": {
        "augment": "StandardScale",
        "legacy.standard_scale": "find_standard_scale standard_scale_from_filelist",
    },
    "labels": {
        "masks": "keep_largest_component reduce_classes remove_small_objects",
        "masks.classes": "class_table",
    },
    "layers": {
        "models": "create_body in_channels model_sizes dummy_eval num_features_model AdaptiveConcatPool3d create_head "
        "create_cnn_model_3d create_unet_model_3d create_deeplab_model_3d",
    },
    "models.losses": {"legacy.losses": "BaseLoss DiceLoss", "losses": "MCCLoss"},
    "preprocess": {
        "augment": "MeanScale MedianScale MaxScale PiecewiseHistScaling",
        "legacy.correction": "ImageCorrectionWrapper",
        "legacy.percentiles": "get_percentile get_landmarks",
        "legacy.standard_scale": "find_standard_scale standard_scale_from_filelist",
    },
}
# names that left a module which is still there: path -> {path of today: names}
NAMES = {
    "augment": {
        "legacy.standard_scale": "find_standard_scale standard_scale_from_filelist",
        "legacy.plane_warps": "sheer_3d trapezoid_3d warp_3d",
        "legacy.transforms": "MaskErase MaskErease PreprocessDicom",
    },
    "losses": {"legacy.losses": "BaseLoss DiceLoss"},
}


class _MovedModules:  # not of importlib.abc, whose import takes longer than all else here
    """Finds the modules of the table under their old paths, and loads them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        known = package == "faimed3d" and (name in MOVED or name in SPREAD)
        return ModuleSpec(fullname, self) if known else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None  # an empty module, as usual

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.partition(".")[2]
        if name in MOVED:
            sys.modules[module.__name__] = import_module(f"faimed3d.{MOVED[name]}")  # which is what `import` returns
            return
        for home, names in SPREAD[name].items():
            vars(module).update({word: getattr(import_module(f"faimed3d.{home}"), word) for word in names.split()})
        module.__all__ = [word for names in SPREAD[name].values() for word in names.split()]  # type: ignore[attr-defined]


def find_name(path: str, name: str) -> Any:  # of any type
    """Return what ``name`` was in a module of the library, for its ``__getattr__`` (PEP 562)."""
    for home, names in NAMES[path].items():
        if name in names.split():
            return getattr(import_module(f"faimed3d.{home}"), name)
    raise AttributeError(f"module 'faimed3d.{path}' has no attribute {name!r}")


def install() -> None:
    """Serve the table to every import of this process from now on."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MovedModules())  # first: a moved package would have its modules loaded twice
