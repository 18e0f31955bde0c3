"""Prediction of whole volumes, back on the patient's grid; many of them; windows."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from dicom_series import make_series
from dicom_series import write as write_dicom
from fastai.callback.progress import ProgressCallback
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, MSELossFlat
from fasttransform import Transform
from torch import nn

from faimed3d.augment import PadOrCrop3D, RandomCrop3D, Resample3D, Resize3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data.blocks import ImageBlock3D, MaskBlock3D
from faimed3d.dicom import dicom_inventory
from faimed3d.inference import predict_folder, predict_volume
from faimed3d.inference.probabilities import bring_onto, collect_slabs
from faimed3d.inference.sliding_window import flipped_mean, gaussian_weights, sliding_windows, window_starts
from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D

SHAPE = (9, 12, 14)
VALUES = (0, 1, -1)  # of the labels in the images: what lies between two of them is not the third
COSINE, SINE = np.cos(0.4), np.sin(0.4)
OBLIQUE = (COSINE, -SINE, 0, SINE, COSINE, 0, 0, 0, 1)


def geometry_of(number):
    return Geometry(SHAPE, spacing=(0.8, 1.1, 2.0), origin=(10 * number, -5, 7), direction=OBLIQUE)


def image_of(number):
    return np.array(VALUES, np.float32)[labels_of(number)]


def labels_of(number):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 3:8, 2 + number : 8] = 1
    labels[4:7, 7:11, 9:13] = 2
    return labels


class Shown(nn.Module):
    """Says of each voxel which class the first channel shows; records what it was given."""

    def __init__(self, count=3):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(20.0))
        self.norm = nn.BatchNorm3d(count)
        self.count, self.seen = count, []

    def forward(self, x):
        self.seen.append((type(x), x.detach().clone(), self.training, torch.is_grad_enabled()))
        return torch.stack([-((x[:, 0] - value) ** 2) for value in VALUES[: self.count]], 1) * self.sharpness


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three images that show their labels as values, and the masks."""
    root = tmp_path_factory.mktemp("inference")
    rows = []
    for number in range(3):
        row = {"image": f"{root}/image{number}.nii.gz", "mask": f"{root}/mask{number}.nii.gz"}
        TensorDicom3D(image_of(number), geometry_of(number)).save(row["image"])
        TensorMask3D(labels_of(number), geometry_of(number)).save(row["mask"])
        rows.append(row)
    return pd.DataFrame(rows)


def learner_of(table, item_tfms=None, batch_tfms=None, model=None, loss=None, codes=("background", "liver", "kidney")):
    block = DataBlock(
        (ImageBlock3D, MaskBlock3D(codes)),
        get_x=ColReader("image"),
        get_y=ColReader("mask"),
        splitter=IndexSplitter([2]),
        item_tfms=item_tfms,
        batch_tfms=batch_tfms,
    )
    dls = block.dataloaders(table, bs=1, num_workers=0)
    return Learner(dls, model or Shown(), loss_func=loss or CrossEntropyLoss3D())


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
        assert mask.codes == ["background", "liver", "kidney"]

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
        net = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.InstanceNorm3d(3))
        with pytest.raises(ValueError, match=r"gave NaN for \d+ of \d+ voxels; 1 of .* NaN or infinite: fill"):
            learner_of(table, model=net).predict_volume(TensorDicom3D(voxels, geometry_of(0)), patch=patch)
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
        _, mean = learn.predict_volume(table["image"][0], probabilities=True, tta=True)
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
        assert learn.predict_volume(volume.numpy()).geometry == Geometry(SHAPE)

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
        assert (tmp_path / "out" / f"{row['key']}.nii.gz").exists()

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
            def encodes(self, x: TensorDicom3D):
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
        with pytest.raises(ValueError, match=r"patch must be three positive whole numbers .* got \(8, 8\)"):
            learn.predict_volume(table["image"][0], patch=(8, 8))
        with pytest.raises(ValueError, match=r"tta must be True, False or some of the axes .* got \(3,\)"):
            learn.predict_volume(table["image"][0], tta=(3,))
        for patch in (8.0, True, (8, 8, 0)):
            with pytest.raises(ValueError, match=r"patch must be three positive whole numbers"):
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


class TestFolder:
    @pytest.fixture
    def learn(self, table):
        learn = learner_of(table, [Resample3D(1)])
        learn.path = None
        return learn

    def test_reports_one_row_per_case_and_saves_what_predict_volume_gives(self, learn, table, tmp_path):
        report = predict_folder(learn, table["image"], tmp_path / "out")
        assert list(report.columns) == [
            "source", "output", "seconds", "background", "total_mask_volume", "class 1", "class 2", "error",
        ]  # fmt: skip
        assert report["source"].tolist() == table["image"].tolist()
        assert (report["error"] == "").all()
        assert (report["seconds"] > 0).all()
        for number, row in report.iterrows():
            saved = TensorMask3D.create(row["output"], dtype=None)
            expected = learn.predict_volume(table["image"][number])
            assert torch.equal(saved, expected)
            assert saved.geometry.agrees(expected.geometry)
            assert row["class 2"] == pytest.approx(saved.calc_volume()["class 2"], rel=1e-5)

    def test_goes_on_where_it_stopped(self, learn, table, tmp_path):
        learn.predict_folder(table["image"][:2], tmp_path)
        files = sorted(tmp_path.iterdir())
        before = [file.stat().st_mtime_ns for file in files]
        learn.model.seen.clear()
        report = learn.predict_folder(table["image"], tmp_path)
        assert len(learn.model.seen) == 1
        assert [file.stat().st_mtime_ns for file in files] == before
        assert report["seconds"].isna().tolist() == [True, True, False]
        assert report["class 1"].notna().all()
        learn.predict_folder(table["image"], tmp_path, overwrite=True)
        assert len(learn.model.seen) == 4

    def test_a_damaged_result_is_done_again(self, learn, table, tmp_path):
        report = learn.predict_folder(table["image"][:1], tmp_path)
        output = tmp_path / "image0.nii.gz"
        whole = output.read_bytes()
        output.write_bytes(whole[: len(whole) // 2])
        report = learn.predict_folder(table["image"][:1], tmp_path)
        assert report["error"].tolist() == [""]
        assert TensorMask3D.create(output, dtype=None).shape == SHAPE

    def test_a_bad_file_is_named_and_does_not_stop_the_rest(self, learn, table, tmp_path):
        bad = tmp_path / "bad.nii.gz"
        bad.write_bytes(b"no volume")
        items = [bad, table["image"][0], tmp_path / "absent.nii.gz"]
        with pytest.warns(UserWarning, match=r"2 of 3 cases failed, .* the first is .*bad\.nii\.gz: "):
            report = learn.predict_folder(items, tmp_path / "out")
        assert report["error"].ne("").tolist() == [True, False, True]
        assert report["error"][2].startswith("FileNotFoundError: ")
        assert report["class 1"].notna().tolist() == [False, True, False]
        assert [file.name for file in (tmp_path / "out").iterdir()] == ["image0.nii.gz"]

    def test_finds_the_volumes_of_a_folder(self, learn, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        TensorDicom3D(image_of(0)).save(folder / "a.nrrd")
        write_dicom(make_series(), folder / "scan.1")
        report = learn.predict_folder(folder, tmp_path / "out", suffix=".mha")
        assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["a.mha", "scan.1.mha"]
        assert report["class 1"][0] > 0

    def test_two_cases_never_share_a_file(self, learn, table, tmp_path):
        with pytest.raises(ValueError, match=r"would both be written to .*image0\.nii\.gz: pass names"):
            learn.predict_folder([table["image"][0], "other/image0.nrrd"], tmp_path)
        report = learn.predict_folder([TensorDicom3D.create(table["image"][0])], tmp_path, names=["mine"])
        assert report["source"].tolist() == ["a TensorDicom3D"]
        assert (tmp_path / "mine.nii.gz").exists()
        with pytest.raises(ValueError, match="a TensorDicom3D has no name to save its prediction under: pass names"):
            learn.predict_folder([TensorDicom3D.create(table["image"][0])], tmp_path)
        with pytest.raises(ValueError, match="there are 1 items and 2 names"):
            learn.predict_folder([table["image"][0]], tmp_path, names=["a", "b"])

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_is_never_written_over_a_scan(self, learn, tmp_path, overwrite):
        folder = tmp_path / "scans"
        folder.mkdir()
        TensorDicom3D(image_of(0), geometry_of(0)).save(folder / "a.nii.gz")
        (tmp_path / "link").symlink_to(folder)
        before = (folder / "a.nii.gz").read_bytes()
        table = pd.DataFrame({"image": ["a.nii.gz"], "mask": [str(folder / "a.nii.gz")]})
        for items, out, names in (
            (folder, folder, None),
            ([str(folder / "a.nii.gz")], folder, None),
            ([[folder / "a.nii.gz"]], tmp_path / "link", None),
            (table, folder, ["a"]),
        ):
            with pytest.raises(ValueError, match=r"a\.nii\.gz would be written over .*a\.nii\.gz, which is one of"):
                learn.predict_folder(items, out, names, overwrite=overwrite)
        assert (folder / "a.nii.gz").read_bytes() == before

    def test_paths_of_a_table_below_the_folder_of_the_dls_are_not_written_over(self, learn, tmp_path):
        TensorDicom3D(image_of(0), geometry_of(0)).save(tmp_path / "a.nii.gz")
        learn.dls.path = tmp_path
        with pytest.raises(ValueError, match=r"would be written over a\.nii\.gz"):
            learn.predict_folder(pd.DataFrame({"image": ["a.nii.gz"]}), tmp_path, ["a"], overwrite=True)

    @pytest.mark.parametrize("names", [None, ["one", "two"]])
    def test_goes_on_in_a_folder_below_the_scans(self, learn, tmp_path, names):
        for number, name in enumerate("ab"):
            TensorDicom3D(image_of(number), geometry_of(number)).save(tmp_path / f"{name}.nii.gz")
        first = learn.predict_folder(tmp_path, tmp_path / "out", names)
        again = learn.predict_folder(tmp_path, tmp_path / "out", names)
        assert again["source"].tolist() == first["source"].tolist()
        assert again["output"].tolist() == first["output"].tolist()
        assert again["seconds"].isna().all()

    def test_scans_in_the_folder_of_the_predictions_stay_sources(self, learn, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        TensorDicom3D(image_of(0), geometry_of(0)).save(tmp_path / "a.nii.gz")
        TensorDicom3D(image_of(1), geometry_of(1)).save(out / "b.nrrd")
        report = learn.predict_folder(tmp_path, out)
        assert [Path(source).name for source in report["source"]] == ["a.nii.gz", "b.nrrd"]
        assert (report["error"] == "").all()

    def test_shows_a_bar_unless_told_not_to(self, learn, table, tmp_path, capsys):
        if not hasattr(learn, "progress"):
            learn.add_cb(ProgressCallback())
        with learn.no_bar():
            learn.predict_folder(table["image"][:1], tmp_path)
        assert capsys.readouterr().out == ""
        learn.predict_folder(table["image"][:1], tmp_path)
        assert "100.00%" in capsys.readouterr().out


class TestScores:
    def test_a_grid_that_ends_inside_the_other_goes_on_to_its_rim_and_stays_in_place(self):
        target = Geometry((3, 4, 12), spacing=(0.2, 2, 3), origin=(5, 6, 7), direction=OBLIQUE)
        working = TensorDicom3D(torch.zeros(3, 4, 12), target).resample((1, 2, 3)).geometry
        edge = target.world_to_index(working.index_to_world((1, 1, -0.5)))[2]
        assert edge > 0.01  # so the first centre of the one lies beyond the edge of the other
        ramp = torch.arange(float(working.shape[2])).expand(working.shape)
        found = bring_onto(ramp, working, target, TensorDicom3D, fill=-9.0)[1, 1]
        places = [working.world_to_index(target.index_to_world((1, 1, w)))[2] for w in range(12)]
        expected = np.clip(places, 0, working.shape[2] - 1)
        assert np.allclose(found, expected, atol=1e-5)

    def test_outside_of_what_was_predicted_background_is_certain(self, table):
        learn = learner_of(table, [PadOrCrop3D((5, 12, 14))])
        with pytest.warns(UserWarning, match="have cut the volume"):
            _, probabilities = learn.predict_volume(table["image"][0], probabilities=True)
        outside = probabilities.as_subclass(torch.Tensor)[:, [0, 1, 7, 8]]
        assert (outside[0] == 1).all()
        assert (outside[1:] == 0).all()

    def test_of_more_classes_than_a_byte_holds(self):
        slabs = iter([torch.eye(300).reshape(300, 3, 10, 10)])
        grid = Geometry((3, 10, 10))
        labels, scores = collect_slabs(slabs, grid, grid, 2**20, False, 0.5)
        assert labels.dtype == torch.int16
        assert labels.flatten().tolist() == list(range(300))
        assert scores is None


class TestWindows:
    @pytest.mark.parametrize(
        ("size", "patch", "overlap"), [(10, 4, 0.5), (11, 4, 0), (4, 4, 0.5), (23, 7, 0.9), (5, 4, 0)]
    )
    def test_starts_cover_the_axis(self, size, patch, overlap):
        starts = window_starts(size, patch, overlap)
        assert starts[0] == 0
        assert starts[-1] == size - patch
        step = max(1, int(patch * (1 - overlap)))
        assert all(0 < b - a <= step for a, b in itertools.pairwise(starts))

    def test_weights_are_largest_in_the_middle_and_never_0(self):
        weights = gaussian_weights((5, 4, 3))
        assert weights.shape == (5, 4, 3)
        assert weights.max() == weights[2, 1, 1] == 1
        assert weights.min() >= 1e-3
        assert torch.equal(weights, weights.flip((0, 1, 2)))

    @pytest.mark.parametrize("size", [(9, 10, 11), (3, 10, 2), (6, 5, 4), (13, 5, 4)])
    @pytest.mark.parametrize("bs", [1, 3])
    def test_give_back_the_volume_slice_by_slice(self, size, bs):
        volume = torch.rand(2, *size)
        slabs = list(sliding_windows(lambda x: x.clone(), volume, (6, 5, 4), 0.5, bs))
        assert torch.allclose(torch.cat(slabs, 1), volume, atol=1e-5)
        assert all(slab.shape[1] <= 6 for slab in slabs)

    def test_are_blended_by_their_weights(self):
        numbers = iter([1.0, 3.0])
        (slab,) = sliding_windows(
            lambda x: torch.full_like(x, next(numbers)), torch.rand(1, 4, 4, 6), (4, 4, 4), overlap=0.5
        )
        weights = gaussian_weights((4, 4, 4))
        blend = (weights[..., 2:] + 3 * weights[..., :2]) / (weights[..., 2:] + weights[..., :2])
        assert torch.allclose(slab[0, ..., :2], torch.ones(4, 4, 2))
        assert torch.allclose(slab[0, ..., 2:4], blend)
        assert torch.allclose(slab[0, ..., 4:], torch.full((4, 4, 2), 3.0))

    def test_flips_are_undone(self):
        x = torch.rand(1, 1, 2, 3, 4)
        assert torch.allclose(flipped_mean(lambda x: x.clone(), x, [2, 3, 4]), x)
        first = flipped_mean(lambda x: x.cumsum(-1), x, [4])
        assert torch.allclose(first, (x.cumsum(-1) + x.flip(-1).cumsum(-1).flip(-1)) / 2)
