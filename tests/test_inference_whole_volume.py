"""Prediction of a whole volume, back on the patient's grid."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from dicom_series import make_series
from dicom_series import write as write_dicom
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, MSELossFlat
from fasttransform import Transform
from shown_labels import SHAPE, VALUES, Shown, geometry_of, image_of, labels_of, learner_of, write_cases
from torch import nn

from faimed3d.augment import FillNaN3D, PadOrCrop3D, RandomCrop3D, Resample3D, Resize3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data.blocks import ImageBlock3D, MaskBlock3D
from faimed3d.dicom import dicom_inventory
from faimed3d.inference import predict_volume
from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


def centroids(image):
    """World position of each label as SimpleITK finds it."""
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(image)
    return {label: np.array(statistics.GetCentroid(label)) for label in statistics.GetLabels()}


class TestGrid:
    def test_is_exactly_that_of_the_source(self, table):
        mask = predict_volume(learner_of(table), table["image"][1])
        assert type(mask) is TensorMask3D
        assert mask.dtype == torch.uint8
        assert mask.geometry == TensorDicom3D.create(table["image"][1]).geometry
        assert np.array_equal(mask.numpy(), labels_of(1))
        assert mask.codes == {0: "background", 1: "liver", 2: "kidney"}

    @pytest.mark.parametrize(
        "transforms",
        [
            [PadOrCrop3D((16, 15, 20), value=0)],
            [Resample3D((1, 1, 1))],
            [Resample3D((1.3, 0.7, 1.9)), PadOrCrop3D((17, 19, 21), value=0)],
            [Resize3D((12, 10, 9))],
        ],
        ids=["padded", "resampled", "resampled-and-padded", "resized"],
    )
    @pytest.mark.parametrize("patch", [None, (8, 6, 10)], ids=["whole", "patch"])
    def test_saved_labels_lie_where_they_were(self, table, transforms, patch, tmp_path):
        mask = predict_volume(learner_of(table, transforms), table["image"][1], patch=patch)
        mask.save(tmp_path / "labels.nii.gz")
        saved = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
        source = sitk.ReadImage(table["image"][1])
        for attribute in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(saved, attribute)() == pytest.approx(getattr(source, attribute)(), abs=1e-4)
        found, truth = centroids(saved), centroids(sitk.ReadImage(table["mask"][1]))
        assert set(found) == {1, 2}
        for label, place in truth.items():
            off = geometry_of(1).world_to_index(found[label]) - geometry_of(1).world_to_index(place)
            assert np.abs(off).max() < 0.5
        assert np.mean(mask.numpy() == labels_of(1)) > 0.93

    def test_padding_alone_changes_no_label(self, table):
        mask = predict_volume(learner_of(table, [PadOrCrop3D((16, 15, 20), value=0)]), table["image"][0])
        assert np.array_equal(mask.numpy(), labels_of(0))

    def test_labels_reach_the_rim_after_resampling(self, table):
        source = TensorDicom3D(torch.ones(7, 9, 11), {"spacing": (0.3, 0.3, 0.3)})
        mask = predict_volume(learner_of(table, [Resample3D(1)]), source)
        assert mask.unique().tolist() == [1]

    def test_what_was_cut_away_is_background_and_this_is_said(self, table):
        learn = learner_of(table, [PadOrCrop3D((5, 12, 14))])
        with pytest.warns(UserWarning, match="have cut the volume .* what lies outside is background"):
            mask = predict_volume(learn, table["image"][0])
        assert np.array_equal(mask.numpy()[2:7], labels_of(0)[2:7])
        assert not mask.numpy()[[0, 1, 7, 8]].any()

    @pytest.mark.parametrize("crop", [PadOrCrop3D((5, 6, 7)), RandomCrop3D((5, 6, 7))])
    def test_with_a_patch_nothing_is_cut(self, table, crop):
        mask = predict_volume(learner_of(table, [crop]), table["image"][0], patch=(5, 6, 7))
        assert np.array_equal(mask.numpy(), labels_of(0))


class TestModel:
    def test_sees_what_validation_sees_as_plain_tensors_without_gradient(self, table):
        class Brighter(Transform):
            def encodes(self, x: TensorDicom3D):
                return x if isinstance(x, TensorMask3D) else x + 0.25

        class OnlyInTraining(Brighter):
            split_idx = 0

        learn = learner_of(table, [Resample3D(1)], [Brighter, OnlyInTraining])
        expected = learn.dls.valid.one_batch()[0]
        predict_volume(learn, table["image"][2])
        ((kind, x, training, gradient),) = learn.model.seen
        assert kind is torch.Tensor
        assert torch.equal(x, expected.as_subclass(torch.Tensor))
        assert not training
        assert not gradient

    def test_is_left_in_the_mode_in_which_it_was(self, table):
        learn = learner_of(table)
        learn.model.train()
        learn.model.norm.eval()
        predict_volume(learn, table["image"][0])
        assert learn.model.training
        assert not learn.model.norm.training
        assert torch.is_grad_enabled()

    def test_of_one_channel_says_where_it_is_sure_enough(self, table):
        class One(Shown):
            def forward(self, x):
                return (x - 0.5) * 8

        learn = learner_of(table, model=One(), loss=nn.BCEWithLogitsLoss(), codes=None)
        mask, probability = predict_volume(learn, table["image"][0], probabilities=True)
        assert np.array_equal(mask.numpy(), labels_of(0) == 1)
        assert probability.shape == (1, *SHAPE)
        resampled = learner_of(table, [Resample3D(1)], model=One(), loss=nn.BCEWithLogitsLoss(), codes=None)
        low, high = (predict_volume(resampled, table["image"][0], threshold=t).sum() for t in (0.9, 0.3))
        assert 0 < low < high

    def test_that_gives_no_scores_of_voxels_is_refused(self, table):
        learn = learner_of(table, model=nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 3)))
        with pytest.raises(ValueError, match=r"of each voxel of \(1, 1, 9, 12, 14\), but the model gave \(1, 3\)"):
            predict_volume(learn, table["image"][0])

    @pytest.mark.parametrize("patch", [None, 6])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_that_sees_a_gap_is_no_background(self, table, value, patch):
        """The largest of NaN is class 0, so a lesion would be gone without a word."""
        voxels = image_of(0)
        voxels[4, 5, 6] = value
        image = TensorDicom3D(voxels, geometry_of(0))
        net = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.InstanceNorm3d(3))
        with pytest.raises(
            ValueError, match=r"1 of \d+ voxels of the image are NaN or infinite, .* FillNaN3D\(value\)\("
        ):
            learner_of(table, model=net).predict_volume(image, patch=patch)
        assert learner_of(table, model=net).predict_volume(FillNaN3D(0)(image), patch=patch).shape == voxels.shape
        tears = Transform(lambda x: x / (x != x.max()) if isinstance(x, TensorDicom3D) else x)
        with pytest.raises(ValueError, match=r"gave NaN for \d+ of \d+ voxels; 1 of .* NaN or infinite: fill"):
            learner_of(table, None, tears, net).predict_volume(FillNaN3D(99)(image), patch=patch)
        net[0].weight.data[1] = torch.nan
        with pytest.raises(ValueError, match="all voxels that it saw are finite: look at its weights, and at overflow"):
            learner_of(table, model=net).predict_volume(table["image"][0], patch=patch)

    @pytest.mark.parametrize("loss", [BCEWithLogitsLossFlat(), nn.BCEWithLogitsLoss(), MSELossFlat()])
    def test_of_labels_that_may_overlap_is_refused(self, table, loss):
        with pytest.raises(ValueError, match=r"of the 3 classes add up to .* not to 1: the classes may overlap"):
            learner_of(table, loss=loss).predict_volume(table["image"][0])

    def test_without_parameters(self, table):
        class Plain(nn.Module):
            def forward(self, x):
                return torch.cat([-((x - value) ** 2) for value in VALUES], 1) * 9

        mask = learner_of(table, model=Plain()).predict_volume(table["image"][0])
        assert np.array_equal(mask.numpy(), labels_of(0))

    def test_flips_are_averaged(self, table):
        class Sided(Shown):
            def forward(self, x):
                ramp = torch.arange(x.shape[-1], dtype=x.dtype).expand(x.shape)
                return torch.cat([ramp, 13 - ramp], 1)

        learn = learner_of(table, model=Sided(), loss=DiceCELoss3D(), codes=["a", "b", "c"])
        _, plain = learn.predict_volume(table["image"][0], probabilities=True)
        _, mean = learn.predict_volume(table["image"][0], probabilities=True, tta=(0, 1, 2))
        _, other = learn.predict_volume(table["image"][0], probabilities=True, tta=(0, 1))
        assert plain.max() > 0.9
        assert torch.allclose(mean, torch.full_like(mean, 0.5), atol=1e-5)
        assert torch.allclose(other, plain, atol=1e-5)


class TestProbabilities:
    @pytest.mark.parametrize("transforms", [None, [Resample3D(1)]])
    def test_lie_on_the_grid_and_add_up_to_one(self, table, transforms):
        mask, probabilities = learner_of(table, transforms).predict_volume(table["image"][0], probabilities=True)
        assert type(probabilities) is TensorDicom3D
        assert probabilities.shape == (3, *SHAPE)
        assert probabilities.geometry == mask.geometry
        plain = probabilities.as_subclass(torch.Tensor)
        assert torch.allclose(plain.sum(0), torch.ones(SHAPE), atol=1e-5)
        assert torch.equal(plain.argmax(0), mask.as_subclass(torch.Tensor).long())

    def test_that_do_not_fit_are_replaced_by_labels_and_this_is_said(self, table):
        learn = learner_of(table, [Resample3D(0.9)])
        with pytest.warns(UserWarning, match=r"3 classes would take .* MiB, but memory allows .* by the nearest voxel"):
            nearest = learn.predict_volume(table["image"][0], memory=1000)
        linear = learn.predict_volume(table["image"][0])
        assert nearest.geometry == linear.geometry
        assert (nearest == linear).float().mean() > 0.95

    def test_asked_for_that_do_not_fit_are_an_error(self, table):
        with pytest.raises(ValueError, match=r"classes take 0\.0173 MiB, but memory allows 0\.000954 MiB: ask"):
            learner_of(table).predict_volume(table["image"][0], memory=1000, probabilities=True)


class TestSources:
    def test_every_kind_gives_the_same(self, table):
        learn, path = learner_of(table, [Resample3D(1)]), table["image"][0]
        volume = TensorDicom3D.create(path)
        expected = learn.predict_volume(path)
        for source in (volume, sitk.ReadImage(path)):
            found = learn.predict_volume(source)
            assert torch.equal(found, expected)
            assert found.geometry.agrees(expected.geometry)
        with pytest.warns(UserWarning, match="resample: nothing says where this volume lies"):
            assert learn.predict_volume(volume.numpy()).geometry == Geometry(SHAPE, assumed="all")

    def test_a_loader_of_paths_takes_text_too(self, table):
        block = DataBlock(
            (TransformBlock([TensorDicom3D.create, Channel()]), CategoryBlock), get_y=lambda path: "a",
            splitter=IndexSplitter([0]),
        )  # fmt: skip
        learn = Learner(
            block.dataloaders([Path(path) for path in table["image"]], bs=1, num_workers=0),
            Shown(),
            loss_func=CrossEntropyLoss3D(),
        )
        assert np.array_equal(learn.predict_volume(table["image"][0]).numpy(), labels_of(0))

    def test_a_dicom_folder(self, table, tmp_path):
        write_dicom(make_series(), tmp_path)
        mask = learner_of(table, [Resample3D(1.5)]).predict_volume(tmp_path)
        assert mask.geometry == TensorDicom3D.create(tmp_path).geometry

    def test_a_row_of_an_inventory(self, table, tmp_path):
        write_dicom(make_series(), tmp_path / "in")
        inventory = dicom_inventory(tmp_path / "in")
        row = inventory.iloc[0]
        learn = learner_of(table, [Resample3D(1.5)])
        assert learn.predict_volume(row).geometry == TensorDicom3D.create(tmp_path / "in").geometry
        report = learn.predict_folder(inventory, tmp_path / "out")
        assert report["source"].tolist() == [row["key"]]
        assert len(list((tmp_path / "out").glob("in*.nii.gz"))) == 1

    def test_a_row_of_the_table_of_the_dls(self, table):
        assert np.array_equal(learner_of(table).predict_volume(table.iloc[0]).numpy(), labels_of(0))

    def test_several_files_as_channels(self, table):
        block = DataBlock(
            (ImageBlock3D, MaskBlock3D(["a", "b", "c"])), get_x=lambda row: [row["image"], row["image"]],
            get_y=ColReader("mask"), splitter=IndexSplitter([2]), item_tfms=Resample3D(1),
        )  # fmt: skip
        learn = Learner(block.dataloaders(table, bs=1, num_workers=0), Shown(), loss_func=CrossEntropyLoss3D())
        mask = learn.predict_volume([table["image"][0], table["image"][0]], patch=8)
        assert mask.geometry == TensorDicom3D.create(table["image"][0]).geometry
        assert learn.model.seen[0][1].shape == (1, 2, 8, 8, 8)

    def test_a_transform_that_loses_the_place_is_named(self, table):
        class Sheared(Transform):
            def encodes(self, x: TensorDicom3D | TensorMask3D):
                return x.roll(1, -1)

        learn = learner_of(table, [Sheared])
        with pytest.raises(ValueError, match="the transform Sheared has lost the geometry of the volume"):
            learn.predict_volume(table["image"][0])
        learn = learner_of(table, batch_tfms=[Sheared])
        with pytest.raises(ValueError, match="the transform Sheared has lost the geometry of the volume"):
            learn.predict_volume(table["image"][0])

    def test_arguments_that_make_no_sense_are_named(self, table):
        learn = learner_of(table)
        with pytest.raises(ValueError, match="overlap must be a share from 0 to below 1, got 1"):
            learn.predict_volume(table["image"][0], patch=8, overlap=1)
        with pytest.raises(ValueError, match=r"patch must be one whole number or three .* at least 1, got \(8, 8\)"):
            learn.predict_volume(table["image"][0], patch=(8, 8))
        with pytest.raises(ValueError, match=r"tta must be True, False or some of the axes .* got \(3,\)"):
            learn.predict_volume(table["image"][0], tta=(3,))
        for patch in (8.5, True, (8, 8, 0)):
            with pytest.raises(ValueError, match="patch must be one whole number or three"):
                learn.predict_volume(table["image"][0], patch=patch)
        with pytest.raises(ValueError, match=r"overlap must be a share from 0 to below 1, got \(0.5, 0.5, 0.5\)"):
            learn.predict_volume(table["image"][0], patch=8, overlap=(0.5, 0.5, 0.5))
        with pytest.raises(ValueError, match=r"tta must be True, False or some of the axes .* got 2"):
            learn.predict_volume(table["image"][0], tta=2)
        with pytest.raises(ValueError, match="bs must be a whole number of windows, at least 1, got 0"):
            learn.predict_volume(table["image"][0], patch=8, bs=0)
        learn.predict_volume(table["image"][0], patch=np.int64(8), tta=np.array([0]), bs=np.int64(2))
        with pytest.raises(TypeError, match="source must be a path"):
            learn.predict_volume(3.5)
        with pytest.raises(ValueError, match="predict_volume needs a geometry"):
            learn.predict_volume(TensorDicom3D.create(table["image"][0]).roll(1, 0))

    def test_items_of_another_kind_are_refused(self, table):
        paths, single = [Path(path) for path in table["image"]], IndexSplitter([0])
        volume = TransformBlock([TensorDicom3D.create, Channel()])
        two = DataBlock((volume, volume, CategoryBlock), n_inp=2, get_y=lambda path: "a", splitter=single,
                        getters=[lambda path: path, lambda path: path, lambda path: "a"])  # fmt: skip
        learn = Learner(two.dataloaders(paths, bs=1, num_workers=0), Shown(), loss_func=CrossEntropyLoss3D())
        with pytest.raises(ValueError, match="needs a model of one input, these dls have 2"):
            learn.predict_volume(paths[0])
        one = DataBlock((volume, CategoryBlock), get_y=lambda path: "a", splitter=single)
        learn = Learner(one.dataloaders(paths, bs=1, num_workers=0), Shown())
        with pytest.raises(TypeError, match="the items of these dls cannot be made from a list"):
            learn.predict_volume([paths[0]])
        block = DataBlock((TransformBlock(lambda path: torch.zeros(2, 3, 4)), CategoryBlock), get_y=lambda path: "a",
                          splitter=single)  # fmt: skip
        learn = Learner(block.dataloaders(paths, bs=1, num_workers=0), Shown())
        with pytest.raises(ValueError, match=r"turn .*image0.nii.gz into a Tensor, not into a TensorDicom3D"):
            learn.predict_volume(paths[0])

    def test_items_without_channel_axis_are_refused(self, table):
        block = DataBlock(
            (TransformBlock(TensorDicom3D.create), CategoryBlock), get_x=ColReader("image"), get_y=lambda row: "a",
            splitter=IndexSplitter([0]),
        )  # fmt: skip
        learn = Learner(block.dataloaders(table, bs=1, num_workers=0), Shown())
        with pytest.raises(ValueError, match=r"must make batches .* got TensorDicom3D \(1, 9, 12, 14\)"):
            learn.predict_volume(TensorDicom3D.create(table["image"][0]))


class Channel(Transform):
    """The channel axis, as the last of the type transforms."""

    order = 1

    def encodes(self, x: TensorDicom3D):
        return x[None] if x.ndim == 3 else x
