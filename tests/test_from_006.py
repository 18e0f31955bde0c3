"""The page for those who come from faimed3d 0.0.6 names all that it had, and nothing that is not there."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch
from fastai.data.core import DataLoaders
from tiny_networks import tiny_network

import faimed3d.all as names
from faimed3d import models

FOLDER = Path(__file__).parents[1] / "docs"
PAGE = (FOLDER / "from_0.0.6.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| 0.0.6")
]

# What 0.0.6 had, module by module; after a type come its methods
EARLIER = """
TensorDicom3D .create .from_sitk .load .read_dicom_series .read_metadata_from_series .as_sitk .save .get_metadata
    .set_metadata .del_metadata .metadata_to_json .print_metadata .get_spacing .set_spacing .get_origin .set_origin
    .get_direction .set_direction .show .strip ._strip_along
    .size_correction .rescale_pixeldata .mean_scale .median_scale .max_scale .freqhist_bins .hist_scaled
    .hist_scaled_pt .piecewise_hist
    .resize_3d .pad_to .flip_ll_3d .flip_ap_3d .flip_cc_3d .rotate_90_3d .rotate_180_3d .rotate_270_3d .apply_along_dim
    .dihedral3d .crop_3d .grid_tfms .gaussian_noise .rescale .adjust_brightness .adjust_contrast .scale_to
TensorMask3D .create .create_mesh .create_mesh_for_classes .render_3d .calc_volume .show_center_point .clamp_to_range
    .reduce_classes
Tensor: .to_numpy
DataLoaders: .standard_scale_from_dls .show_batch_3d .show_hist
show_image_3d show_images_3d
MeanScale MedianScale MaxScale ImageCorrectionWrapper get_percentile get_landmarks find_standard_scale
    PiecewiseHistScaling standard_scale_from_filelist
Resize3D resample Resample3D Pad3D RandomFlip3D RandomRotate3D RandomRotate3DBy RandomDihedral3D RandomCrop3D
    ResizeCrop3D MaskErease RandomPerspective3D warp_3d sheer_3d trapezoid_3d RandomWarp3D RandomSheer3D
    RandomTrapezoid3D RandomNoise3D RandomBlur3D RandomBrightness3D RandomContrast3D aug_transforms_3d ClampMask3D
    ReduceClasses
PreprocessDicom AddChannel ImageBlock3D MaskBlock3D get_volumetric_files supported_extensions
ImageDataLoaders3D: .from_df .from_csv .from_folder .from_path_func .from_name_func .from_path_re .from_name_re
SegmentationDataLoaders3D: .from_df .from_csv
create_body in_channels model_sizes dummy_eval num_features_model Concat AdaptiveConcatPool3d create_head
    create_cnn_model_3d cnn_learner_3d create_unet_model_3d unet_learner_3d create_deeplab_model_3d deeplab_learner_3d
StackVolumes SplitVolumes SubsampleShuffle MixSubvol ReloadBestFit
AlexNet3D ResNet3D BasicBlock3d Bottleneck3d conv3x3 conv1x1 IdentityLayer resnet18_3d resnet34_3d resnet50_3d
    resnet101_3d resnet152_3d build_backbone ConvLayerDynamicPadding DropConnect MBConvBlock EfficientNet
    efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6
    efficientnet_b7 efficientnet_b8 efficientnet_l2 ConvTranspose3D UnetBlock3D ResizeToOrig DynamicUnet3D ASPPPooling
    ASPP DeepLabDecoder DynamicDeepLab
BaseLoss DiceLoss DiceLoss2 MCCLoss BasicViewer DicomExplorer ListViewer
"""
# where a name is that no star import gives
MODULES = ("faimed3d.models", "faimed3d.legacy.losses", "faimed3d.legacy.percentiles")


def earlier_names():
    owner = None
    for word in EARLIER.split():
        if word.startswith("."):
            yield owner + word
        else:
            owner = word.rstrip(":")
            if not word.endswith(":"):
                yield word


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


def resolve(name):
    """What a dotted name means, from the star import on, or with its module from the package."""
    if name.startswith("faimed3d."):
        return pkgutil.resolve_name(name)
    found = names
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_every_earlier_name_has_one_row():
    named = [name for row in ROWS for name in quoted(row[0])]
    assert sorted(named) == sorted(earlier_names())


def test_every_name_of_today_is_there_and_documented():
    for earlier, today, differs in ROWS:
        assert differs, earlier
        found = quoted(today)
        assert found or today == "—", earlier
        for name in found:
            assert (resolve(name).__doc__ or "").strip(), name


def test_every_earlier_name_that_is_not_gone_still_works():
    for row in ROWS:
        if row[1] != "—":
            for name in quoted(row[0]):
                assert still_works(name), name


def still_works(name):
    owner, _, method = name.rpartition(".")
    if owner == "DataLoaders":
        ours = all(hasattr(kind, method) for kind in (names.ImageDataLoaders3D, names.SegmentationDataLoaders3D))
        return ours and not hasattr(DataLoaders, method)
    if owner:
        return callable(getattr(names.TensorDicom3D if owner == "Tensor" else getattr(names, owner), method))
    # by name from a module first: fastai has EfficientNet and DiceLoss of its own
    homes = [module for module in map(importlib.import_module, MODULES) if hasattr(module, name)]
    found = getattr(homes[0] if homes else names, name)
    return getattr(found, "__module__", "faimed3d").startswith("faimed3d") or name == "supported_extensions"


def test_names_that_are_gone_are_not_there():
    gone = [name for row in ROWS if row[1] == "—" for name in quoted(row[0])]
    assert len(gone) == 8
    for name in gone:
        owner, _, method = name.rpartition(".")
        assert not hasattr(getattr(names, owner) if owner else importlib.import_module("faimed3d.models"), method)
        assert owner or not hasattr(names, method)


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links
    assert all((FOLDER / link).exists() for link in links)


# How the code on the page is run: {} stands for it; None where it shows what 0.0.6 wrote, or names a shape
RUNS = {
    "(B, 1, D, H, W)": None,
    "(B, D, H, W)": None,
    "smooth=0": None,
    "squared=True": None,
    "(dls, arch)": "unet_learner_3d{}",
    "RandomCrop3D((32, 128, 128))": "loaders(item_tfms={})",
    "Resize3D(128)": "{}",
    "Resize3D(scale_factor=...)": "loaders(item_tfms={})",
    "add_to_existing=True": "image.show(); mask.show({})",
    "as_sitk()": "mask.{}",
    "aug_transforms_3d(p_all=0.1, warp=True, sheer=True)": "loaders(batch_tfms={})",
    "batch_tfms=[MaxScale()]": "loaders({})",
    "create_cnn_model_3d(arch, n_out)": "{}",
    "create_deeplab_model_3d(arch, n_out)": "{}",
    "create_head(nf, n_out, lin_ftrs)": "{}",
    "create_unet_model_3d(arch, n_out, img_size)": "{}",
    "crop_3d(margins, perc_margins)": "image.{}",
    "dtype=None": "TensorMask3D.create(mask.numpy(), {})",
    "dtype=torch.int64": "F.one_hot(TensorMask3D.create(mask.numpy(), {}), 3)",
    "encodes(self, x: TensorDicom3D)": "class Own(IntensityTransform3D):\n    def {}: return x\nloaders(item_tfms=Own)",
    "encodes(self, x: TensorMask3D)": "class Own(ItemTransform):\n    def {}: return x",
    "item_tfms=[Resize3D(size)]": "loaders({})",
    "pretrained=False": "unet_learner_3d(dls, arch, {})",
    "show(1)": "image.{}",
    "target[:, 0]": "{}",
    "target[:, None]": "{}",
}


def test_all_code_of_the_page_is_run():
    assert {code for code in quoted(PAGE) if re.search(r"[(\[=]", code)} == set(RUNS)


@pytest.mark.parametrize("code", [code for code, run in RUNS.items() if run])
def test_the_code_of_the_page_runs(code):
    space = vars(models) | vars(names)
    image = names.TensorDicom3D(torch.rand(8, 8, 8), {"spacing": (1, 2, 3)})
    mask = names.TensorMask3D((image > 0.5).to(torch.uint8), like=image)

    def loaders(**kwargs):
        table = names.pd.DataFrame({"image": [image] * 4, "mask": [mask] * 4})
        dls = names.SegmentationDataLoaders3D.from_df(
            table,
            fn_col="image",
            label_col="mask",
            bs=2,
            valid_pct=0.5,
            num_workers=0,
            codes=["none", "node"],
            **kwargs,
        )
        dls.one_batch()
        return dls

    space |= {
        "image": image, "mask": mask, "loaders": loaders, "dls": loaders(), "arch": tiny_network, "n_out": 2,
        "img_size": (8, 8, 8), "nf": 4, "lin_ftrs": [4], "margins": 0.1, "perc_margins": True, "size": (4, 4, 4),
        "target": torch.zeros(2, 1, 2, 2, 2), "F": torch.nn.functional,
    }  # fmt: skip
    exec(RUNS[code].format(code.replace("...", "0.5")), space)
    names.plt.close("all")
