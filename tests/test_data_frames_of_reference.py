"""DICOM images and masks that name different frames of reference are told apart, on one grid or not."""

from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from dicom_segmentations import labels, segmentation
from dicom_series import stored_values, write, write_series
from fastai.learner import Learner
from hypothesis import given
from hypothesis import strategies as st
from structure_sets import on_plane, rectangle, structure_set
from torch import nn

from faimed3d import errors
from faimed3d.data import ImageDataLoaders3D, MatchMask, SegmentationDataLoaders3D
from faimed3d.data.blocks import VolumeReader, read_labels
from faimed3d.dicom.header.frames import other_frame
from faimed3d.evaluation import evaluate
from faimed3d.losses import CrossEntropyLoss3D
from faimed3d.training import volume_learner
from faimed3d.volume import TensorDicom3D, TensorMask3D

FRAMES = ("1.2.3.5", "1.2.3.5", "1.2.99", None)  # of the images below; the first and the second share one


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folders of four images on one grid."""
    root = tmp_path_factory.mktemp("images")
    for number, frame in enumerate(FRAMES):
        elements = {"FrameOfReferenceUID": frame, "SeriesInstanceUID": f"1.2.4.{number}", "Modality": "MR"}
        write_series(root / str(number), stored_values(seed=number), **elements)
    return [str(root / str(number)) for number in range(len(FRAMES))]


class TestChannels:
    @pytest.mark.parametrize("how", [{}, {"resample_to_first": True}])
    def test_of_two_frames_are_refused(self, images, how):
        match = r"images.*/2' lies in another frame of reference than '.*images.*/0' \(\(0020,0052\).*: strict=False"
        with pytest.raises(errors.UnsupportedImage, match=match):
            VolumeReader(**how)([images[0], images[2]])
        with pytest.raises(errors.UnsupportedImage, match=match):
            VolumeReader(**how)([TensorDicom3D.create(images[k]) for k in (0, 1, 2)])

    def test_are_read_with_a_warning_where_asked(self, images):
        with pytest.warns(UserWarning, match="another frame of reference"):
            both = VolumeReader(strict=False)([images[0], images[2]])
        assert torch.equal(both[1].as_subclass(torch.Tensor), TensorDicom3D.create(images[2]).as_subclass(torch.Tensor))

    def test_that_name_one_frame_or_none_are_joined(self, images):
        both = VolumeReader()([images[0], images[1], images[3]])
        assert both.shape == (3, *TensorDicom3D.create(images[0]).shape)
        assert both.metadata["Modality"] == "MR"  # of the first, on whose grid all lie

    def test_their_masks_belong_to_the_first(self, images, tmp_path):
        mask = TensorMask3D.create(seg(tmp_path, "1.2.99"), dtype=None)
        with pytest.raises(errors.UnsupportedImage, match="in another frame of reference than the image"):
            MatchMask()((VolumeReader()([images[0], images[1]]), mask))

    def test_masks_of_one_item_are_told_apart_too(self, tmp_path):
        files = [seg(tmp_path / str(k), frame, (labels() == 1).astype(np.uint8)) for k, frame in enumerate(FRAMES[1:3])]
        assert read_labels(files[:1]).any()
        with pytest.raises(errors.UnsupportedImage, match="another frame of reference"):
            read_labels(files)

    def test_of_mr_are_scaled_one_by_one_as_a_single_image_is(self, images):
        table = pd.DataFrame(
            {"a": images[:2] * 2, "b": images[1::-1] * 2, "y": [*"xyxy"], "valid": [False, False, True, True]}
        )
        with pytest.warns(UserWarning, match="images are in both"):
            dls = ImageDataLoaders3D.from_df(table, fn_col=["a", "b"], label_col="y", valid_col="valid", bs=1)
        learn = volume_learner(dls, nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2)))
        assert learn.trained_on.each_volume
        assert learn.trained_on.modalities == ("MR",)


@given(st.lists(st.sampled_from(["", "1.2", "1.3", "1.4"]), max_size=5))
def test_the_first_of_another_frame_is_named(frames):
    names = [f"image {number}" for number in range(len(frames))]
    with mock.patch("faimed3d.dicom.header.frames.frame_of", side_effect=lambda file: file):
        text = other_frame(frames, names)
    known = [(frame, name) for frame, name in zip(frames, names, strict=True) if frame]
    others = [name for frame, name in known if frame != known[0][0]]
    if not others:
        assert text is None
    else:
        assert text.startswith(f"{others[0]!r} lies in another frame of reference than {known[0][1]!r}")


def seg(folder, frame, mask=None):
    dataset = segmentation(labels() if mask is None else mask)
    dataset.FrameOfReferenceUID = frame
    return write([dataset], folder)[0]


class Threshold(nn.Module):
    """Above 500 is class 1, of the first channel."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([500 - x[:, :1], x[:, :1] - 500], 1) + self.bias


class TestPredictions:
    def learner(self, images, masks, tmp_path, columns=("image",)):
        table = pd.DataFrame({"image": images[:1] * 3, "other": [images[2], *images[1:2] * 2], "mask": masks})
        with pytest.warns(UserWarning, match="images are in both"):
            dls = SegmentationDataLoaders3D.from_df(
                table, fn_col=list(columns), label_col="mask", codes=["none", "one", "two"], bs=1, num_workers=0,
                splitter=lambda df: ([1], [0, 2]),
            )  # fmt: skip
        return Learner(dls, Threshold(), loss_func=CrossEntropyLoss3D(), default_cbs=False)

    @pytest.mark.parametrize("form", ["seg", "rtstruct"])
    def test_are_not_compared_with_masks_of_another_frame(self, images, tmp_path, form):
        if form == "seg":
            files = [seg(tmp_path / str(k), frame) for k, frame in enumerate(("1.2.99", "1.2.3.5", "1.2.3.5"))]
        else:
            box = [on_plane(TensorDicom3D.create(images[0]).geometry, rectangle((0.5, 0.5), (4.5, 5.5)), 2)]
            far = [on_plane(TensorDicom3D.create(images[0]).geometry, rectangle((0.5, 0.5), (4.5, 5.5)), 4)]
            frames = ("1.2.99", "1.2.3.5", "1.2.3.5")
            files = [structure_set(tmp_path / f"{k}.dcm", {"one": box, "two": far}, f) for k, f in enumerate(frames)]
        learn = self.learner(images, list(map(str, files)), tmp_path)
        with pytest.warns(UserWarning, match="1 of 2 cases failed"):
            table = evaluate(learn, names=["other", "same"])
        assert table.failed["case"].tolist() == ["other"]
        assert "in another frame of reference than the image in" in table.failed["error"].iloc[0]
        assert set(table[table["error"] == ""]["case"]) == {"same"}

    def test_of_channels_of_two_frames_need_strict_to_be_off(self, images, tmp_path):
        mask = np.zeros((5, 6, 7), np.uint8)
        TensorMask3D(mask, TensorDicom3D.create(images[0]).geometry).save(tmp_path / "mask.nii.gz")
        learn = self.learner(images, [str(tmp_path / "mask.nii.gz")] * 3, tmp_path, ("image", "other"))
        with pytest.raises(errors.UnsupportedImage, match="another frame of reference"):
            learn.predict_volume([images[0], images[2]])
        with pytest.warns(UserWarning, match="another frame of reference"):
            found = learn.predict_volume([images[0], images[2]], strict=False)
        assert torch.equal(found == 1, TensorDicom3D.create(images[0]) > 500)
        with pytest.warns(UserWarning, match="another frame of reference"):
            table = evaluate(learn, strict=False)
        assert not len(table.failed)
