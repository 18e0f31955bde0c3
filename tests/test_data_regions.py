"""Regions that may overlap as targets; layers of .seg.nrrd; several masks of an item."""

import warnings

import fastai.callback.all  # noqa: F401 - gives Learner show_results
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.learner import Learner
from hypothesis import given, settings
from hypothesis import strategies as st
from slicer_segmentations import write_segmentation
from torch import Tensor, nn

from faimed3d.augment import RandomCrop3D, RandomFlip3D, Resample3D, aug_transforms_3d
from faimed3d.data import MaskReader, RegionBlock3D, SegmentationDataLoaders3D
from faimed3d.data.blocks import read_labels
from faimed3d.data.regions import RegionReader
from faimed3d.geometry import Geometry
from faimed3d.inference import predict_volume  # gives Learner predict_volume
from faimed3d.io.nrrd_segments import Segment, read_segments
from faimed3d.losses import RegionLoss3D
from faimed3d.masks import label_regions, merge_regions
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (3, 4, 6)
PLACE = Geometry(SHAPE, (1, 2, 3), (5, 6, 7))
BRATS = {"whole": (1, 2, 3), "core": (1, 3), "enhancing": 3}


def nested():
    """Labels of BraTS: 2 around 1 around 3."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 1:, 1:] = 2
    labels[1, 1:3, 2:5] = 1
    labels[1, 2, 3] = 3
    return labels


def regions_of(labels):
    return np.stack([np.isin(labels, labels_of) for labels_of in BRATS.values()])


def two_layers(path, overlap=False):
    layers = np.zeros((2, *SHAPE), np.uint8)
    layers[0, 0, :2, :2], layers[0, 1, 2:, 2:], layers[1, 2, 1:3, 1:3] = 1, 2, 1
    if overlap:
        layers[1, 1, 3, 3:] = 1
    return write_segmentation(path, layers, [("liver", 1, 0), ("spleen", 2, 0), ("tumour", 1, 1)]), layers


class TestSegments:
    def test_names_labels_and_layers_of_the_header(self, tmp_path):
        path, _ = two_layers(tmp_path / "a.seg.nrrd")
        assert read_segments(path) == (Segment("liver", 1, 0), Segment("spleen", 2, 0), Segment("tumour", 1, 1))

    def test_files_of_old_slicer_have_a_layer_for_each(self, tmp_path):
        path = write_segmentation(tmp_path / "a.seg.nrrd", np.zeros((2, *SHAPE)), [("a", None, 0), ("b", None, 0)])
        assert read_segments(path) == (Segment("a", 1, 0), Segment("b", 1, 1))

    def test_other_files_have_none(self, tmp_path):
        TensorMask3D(torch.ones(SHAPE), PLACE).save(tmp_path / "a.nrrd")
        assert read_segments(tmp_path / "a.nrrd") == ()
        assert read_segments(tmp_path / "a.nii.gz") == ()

    def test_a_label_that_is_no_number_is_refused(self, tmp_path):
        path = write_segmentation(tmp_path / "a.seg.nrrd", np.zeros(SHAPE), [("a", "x", 0)])
        with pytest.raises(ValueError, match="LabelValue and Layer of segment 0 should be whole numbers"):
            read_segments(path)


class TestLabelsBySegmentName:
    def test_the_label_of_a_name_is_its_place_in_codes(self, tmp_path):
        path, layers = two_layers(tmp_path / "a.seg.nrrd")
        mask = MaskReader(["air", "tumour", "Liver", "spleen"])(path)
        expected = np.zeros(SHAPE, np.uint8)
        expected[layers[0] == 1], expected[layers[0] == 2], expected[layers[1] == 1] = 2, 3, 1
        assert np.array_equal(mask.numpy(), expected)
        assert mask.geometry == PLACE

    def test_one_layer_is_numbered_by_names_too(self, tmp_path):
        labels = np.zeros(SHAPE, np.uint8)
        labels[0], labels[1] = 1, 2
        path = write_segmentation(tmp_path / "a.seg.nrrd", labels, [("spleen", 1, 0), ("liver", 2, 0)])
        assert MaskReader(["air", "liver", "spleen"])(path).amax((1, 2)).tolist() == [2, 1, 0]
        assert MaskReader(["0", "1", "2"])(path).amax((1, 2)).tolist() == [1, 2, 0]
        assert read_labels(path).amax((1, 2)).tolist() == [1, 2, 0]

    def test_several_layers_without_names_are_refused(self, tmp_path):
        path, _ = two_layers(tmp_path / "a.seg.nrrd")
        with pytest.raises(ValueError, match=r"\(liver, spleen, tumour\) in 2 layers.*codes=\['background', 'liver'"):
            read_labels(path)

    def test_segments_that_no_code_names_are_refused(self, tmp_path):
        path, _ = two_layers(tmp_path / "a.seg.nrrd")
        with pytest.raises(ValueError, match=r"spleen, tumour are in no code of \['air', 'liver'\]"):
            MaskReader(["air", "liver"])(path)

    def test_segments_that_overlap_are_refused(self, tmp_path):
        path, _ = two_layers(tmp_path / "a.seg.nrrd", overlap=True)
        with pytest.raises(ValueError, match=r"'spleen' and 'tumour' overlap in 3 voxels.*regions=\[...\]"):
            MaskReader(["air", "liver", "spleen", "tumour"])(path)

    def test_a_layer_that_is_not_there_is_refused(self, tmp_path):
        path = write_segmentation(tmp_path / "a.seg.nrrd", np.zeros((2, *SHAPE)), [("a", 1, 0), ("b", 1, 5)])
        with pytest.raises(ValueError, match="'b' in layer 5, but the file has 2 layers"):
            MaskReader(["air", "a", "b"])(path)


class TestSeveralMasks:
    def test_become_labels_in_their_order(self, tmp_path):
        for number in range(2):
            part = torch.zeros(SHAPE, dtype=torch.uint8)
            part[number] = 255
            TensorMask3D(part, PLACE).save(tmp_path / f"{number}.nii.gz")
        mask = read_labels([tmp_path / "1.nii.gz", str(tmp_path / "0.nii.gz")])
        assert mask.amax((1, 2)).tolist() == [2, 1, 0]
        assert mask.geometry.agrees(PLACE)

    def test_stored_in_another_order_come_right(self):
        one = TensorMask3D(torch.zeros(SHAPE), PLACE)
        two = TensorMask3D(torch.ones(SHAPE), PLACE)
        two[0] = 0
        assert read_labels([one, two.flip(0)]).amax((1, 2)).tolist() == [0, 2, 2]

    def test_that_overlap_are_refused_and_name_regions(self):
        ones = torch.ones(SHAPE)
        with pytest.raises(ValueError, match=r"overlap in 72 voxels.*regions=\[...\] \(RegionBlock3D"):
            read_labels([ones, ones])

    @pytest.mark.parametrize("bad", [torch.arange(72.0).view(SHAPE), torch.full(SHAPE, 0.5), torch.ones(2, *SHAPE)])
    def test_with_several_labels_are_refused(self, bad):
        with pytest.raises(ValueError, match=r"should be \(D, H, W\) of 0 and one label"):
            read_labels([torch.ones(SHAPE), bad])

    def test_on_other_grids_are_refused(self):
        with pytest.raises(ValueError, match="are masks of one item, but"):
            read_labels([torch.zeros(SHAPE), torch.zeros(3, 4, 5)])

    def test_of_another_number_than_codes_are_refused(self):
        with pytest.raises(ValueError, match="2 masks, so codes should be the background and 2 names"):
            MaskReader(["air", "liver"])([torch.zeros(SHAPE)] * 2)
        with pytest.raises(ValueError, match="a list of no masks"):
            read_labels([])

    def test_four_axes_say_what_to_do(self):
        with pytest.raises(ValueError, match=r"train on them: regions=\['name', ...\]"):
            read_labels(torch.ones(2, *SHAPE))


class TestRegionReader:
    def sources(self, folder):
        """The regions of BraTS in all ways that a mask may hold them: (regions, source)."""
        inside = regions_of(nested()).astype(np.uint8)
        for number, part in enumerate(inside):
            TensorMask3D(torch.from_numpy(part), PLACE).save(folder / f"{number}.nii.gz")
        TensorMask3D(torch.from_numpy(nested()), PLACE).save(folder / "labels.nii.gz")
        TensorMask3D(torch.from_numpy(inside), PLACE).save(folder / "channels.nrrd")
        segments = [(name, 1, number) for number, name in enumerate(BRATS)]
        write_segmentation(folder / "layers.seg.nrrd", inside, segments)
        labels = nested()
        parts = [("oedema", 2, 0), ("necrosis", 1, 0), ("ring", 3, 0)]
        write_segmentation(folder / "parts.seg.nrrd", labels, parts)
        by_name = {"whole": ("oedema", "necrosis", "ring"), "core": ("necrosis", "ring"), "enhancing": "ring"}
        return {
            "labels": (BRATS, folder / "labels.nii.gz"),
            "files": ([*BRATS], [str(folder / f"{number}.nii.gz") for number in range(3)]),
            "channels": ([*BRATS], folder / "channels.nrrd"),
            "layers": ([*BRATS], str(folder / "layers.seg.nrrd")),
            "segments": (by_name, folder / "parts.seg.nrrd"),
            "labels of segments": (BRATS, folder / "parts.seg.nrrd"),
            "array": (BRATS, nested().astype(np.float64)),
        }

    @pytest.mark.parametrize(
        "way", ["labels", "files", "channels", "layers", "segments", "labels of segments", "array"]
    )
    def test_reads_the_same_regions_from_every_source(self, tmp_path, way):
        regions, source = self.sources(tmp_path)[way]
        mask = RegionReader(regions)(source)
        assert mask.dtype == torch.uint8
        assert np.array_equal(mask.numpy(), regions_of(nested()))
        assert mask.geometry.agrees(Geometry(SHAPE) if way == "array" else PLACE)

    def test_a_segment_that_a_file_lacks_is_empty_and_said(self, tmp_path):
        path, _ = two_layers(tmp_path / "a.seg.nrrd")
        with pytest.warns(UserWarning, match="has no segment 'kidney', so that is empty there; it has liver, spleen"):
            mask = RegionReader(["liver", "kidney"])(path)
        assert mask.amax((1, 2, 3)).tolist() == [1, 0]

    @pytest.mark.parametrize("regions", ["whole", [], {}])
    def test_no_regions_are_refused(self, regions):
        with pytest.raises(ValueError, match="regions must be names, or name -> labels, at least one"):
            RegionBlock3D(regions)

    @pytest.mark.parametrize("regions", [{"a": ()}, {"a": (1, "b")}, {"a": 1, "b": "c"}])
    def test_regions_of_nothing_or_of_both_kinds_are_refused(self, regions):
        with pytest.raises(ValueError, match="must be made of labels"):
            RegionBlock3D(regions)

    def test_two_regions_of_one_name_are_refused(self):
        with pytest.raises(ValueError, match="a name of its own"):
            RegionBlock3D(["a", "a"])

    def test_what_does_not_fit_the_regions_is_refused(self):
        with pytest.raises(ValueError, match=r"there are 2 regions .* has 1 masks"):
            RegionReader(["a", "b"])([torch.zeros(SHAPE)])
        with pytest.raises(ValueError, match=r"pass their names alone, regions=\['a'\]"):
            RegionReader({"a": 1})([torch.zeros(SHAPE)])
        with pytest.raises(ValueError, match=r"has 1 channels .* say which make each region"):
            RegionReader(["a", "b"])(torch.zeros(SHAPE))
        with pytest.raises(ValueError, match="holds the values"):
            RegionReader(["a"])(torch.full(SHAPE, 2))


class TestMerging:
    @settings(deadline=None)  # a loaded machine takes its time
    @given(
        st.integers(1, 5),
        st.lists(st.integers(0, 5), min_size=24, max_size=24),
        st.sampled_from([Tensor, TensorMask3D]),
    )
    def test_of_nested_regions_undoes_their_making(self, count, voxels, kind):
        labels = torch.tensor(voxels, dtype=torch.uint8).view(2, 3, 4).clamp(max=count)
        if kind is TensorMask3D:
            labels = TensorMask3D(labels, {"spacing": (1, 2, 3)})
        split = label_regions(labels, [range(k, count + 1) for k in range(1, count + 1)])
        merged = merge_regions(split)
        assert torch.equal(torch.as_tensor(merged), torch.as_tensor(labels))
        assert type(merged) is type(labels)
        if kind is TensorMask3D:
            assert merged.geometry == split.geometry == labels.geometry

    def test_shows_the_later_one_where_two_overlap(self):
        assert merge_regions(torch.tensor([1, 1]).view(2, 1, 1, 1)).item() == 2

    def test_of_batches(self):
        assert merge_regions(torch.ones(4, 2, *SHAPE)).shape == (4, *SHAPE)


class Sharp(nn.Module):
    """Stands for a perfect network: the voxels of the image are the labels of BraTS."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([(sum((x.round() == k).float() for k in (1, 2, 3) if k in wanted) - 0.5) * 20 for wanted in
                          ((1, 2, 3), (1, 3), (3,))], 1) + self.bias  # fmt: skip


@pytest.fixture
def study(tmp_path):
    for k in range(4):
        TensorDicom3D(torch.from_numpy(nested()).float(), PLACE).save(tmp_path / f"image{k}.nii.gz")
        TensorMask3D(torch.from_numpy(nested()), PLACE).save(tmp_path / f"mask{k}.nii.gz")
        for name, part in zip(BRATS, regions_of(nested()), strict=True):
            TensorMask3D(torch.from_numpy(part.astype(np.uint8)), PLACE).save(tmp_path / f"{name}{k}.nii.gz")
    rows = [{name: f"{name}{k}.nii.gz" for name in ("image", "mask", *BRATS)} | {"valid": k > 1} for k in range(4)]
    return tmp_path, pd.DataFrame(rows)


def loaders(study, label_col, regions, **kwargs):
    root, table = study
    small = {"bs": 2, "num_workers": 0, "device": "cpu"} | kwargs
    return SegmentationDataLoaders3D.from_df(
        table, root, fn_col="image", label_col=label_col, valid_col="valid", regions=regions, **small
    )


class TestTraining:
    @pytest.mark.parametrize(("label_col", "regions"), [("mask", BRATS), ([*BRATS], [*BRATS])])
    @pytest.mark.parametrize("workers", [0, 1])
    def test_batches_hold_a_channel_for_each_region(self, study, label_col, regions, workers):
        dls = loaders(study, label_col, regions, num_workers=workers)
        images, masks = dls.valid.one_batch()
        assert (dls.c, [*dls.vocab]) == (3, [*BRATS])
        assert isinstance(masks, TensorMask3D)
        assert np.array_equal(masks[1].numpy(), regions_of(nested()))
        assert masks[1].geometry.agrees(images[1].geometry)

    def test_from_paths_takes_functions_of_several_masks(self, study):
        root, table = study
        dls = SegmentationDataLoaders3D.from_path_func(
            root, [*table.image], lambda path: [path.name.replace("image", name) for name in BRATS], regions=[*BRATS],
            bs=2, num_workers=0, device="cpu", valid_pct=0.5, seed=1,
        )  # fmt: skip
        assert np.array_equal(dls.one_batch()[1][0].numpy(), regions_of(nested()))

    def test_codes_and_regions_are_one_too_many(self, study):
        with pytest.raises(ValueError, match=r"pass codes .* or regions .*, not both"):
            loaders(study, "mask", BRATS, codes=["a", "b"])

    @settings(deadline=None)  # a loaded machine takes its time
    @given(st.sampled_from(["item_tfms", "batch_tfms"]), st.sampled_from(["flip", "crop", "all"]))
    def test_augmentations_treat_the_channels_as_labels(self, where, which):
        transforms = {"flip": [RandomFlip3D(p=1)], "crop": [RandomCrop3D((2, 3, 4))], "all": aug_transforms_3d()}[which]
        image = TensorDicom3D(torch.from_numpy(nested()).float(), PLACE)
        regions = label_regions(TensorMask3D(torch.from_numpy(nested()), PLACE), BRATS.values())
        pair = (image, regions) if where == "item_tfms" else (image[None, None], regions[None])
        for transform in transforms:
            pair = transform(pair, split_idx=0)
        found, masks = pair
        masks = masks if where == "item_tfms" else masks[0]
        assert set(masks.unique().tolist()) <= {0, 1}
        assert masks.dtype == torch.uint8
        if which != "all":  # no interpolation, so the image still shows the labels
            labels = found.reshape(found.shape[-3:]).as_subclass(Tensor)
            assert torch.equal(masks.as_subclass(Tensor), label_regions(labels, BRATS.values()))

    def test_a_transform_that_changes_the_number_of_regions_is_refused(self, study):
        from fasttransform import Transform

        class Drop(Transform):
            def encodes(self, x: TensorMask3D):
                return x[:2]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match="turned the 3 regions"):
                loaders(study, "mask", BRATS, item_tfms=Drop()).one_batch()

    def test_predictions_are_masks_of_the_regions_and_pictures_show_them(self, study):
        dls = loaders(study, "mask", BRATS)
        learn = Learner(dls, Sharp(), loss_func=RegionLoss3D())
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 0.0)
            mask = learn.predict(study[0] / "image0.nii.gz")[0]
            learn.show_results()
            dls.show_batch()
        assert np.array_equal(mask.numpy(), regions_of(nested()))
        assert mask.geometry.agrees(PLACE)
        names = [text.get_text() for text in plt.gcf().legends[0].get_texts()]
        plt.close("all")
        assert names == [*BRATS]


class TestPrediction:
    def learner(self, study, loss=None, **kwargs):
        return Learner(loaders(study, "mask", BRATS, **kwargs), Sharp(), loss_func=loss or RegionLoss3D())

    @pytest.mark.parametrize("patch", [None, (2, 3, 4)])
    @pytest.mark.parametrize("tta", [False, (0, 1, 2)])
    def test_gives_one_mask_for_each_region_and_a_merged_one(self, study, patch, tta):
        learn = self.learner(study)
        mask, probabilities = learn.predict_volume(study[0] / "image0.nii.gz", patch, tta=tta, probabilities=True)
        assert np.array_equal(mask.numpy(), regions_of(nested()))
        assert np.array_equal((probabilities > 0.5).numpy(), regions_of(nested()))
        merged = learn.predict_volume(study[0] / "image0.nii.gz", patch, tta=tta, merge=True)
        assert np.array_equal(merged.numpy(), np.array([0, 2, 1, 3])[nested()])
        assert mask.geometry.agrees(PLACE)
        assert merged.geometry.agrees(PLACE)

    def test_of_fastais_loss_is_the_same(self, study):
        from fastai.losses import BCEWithLogitsLossFlat

        learn = self.learner(study, BCEWithLogitsLossFlat())
        assert np.array_equal(learn.predict_volume(study[0] / "image0.nii.gz").numpy(), regions_of(nested()))

    @pytest.mark.parametrize("memory", [2**30, 1])
    def test_comes_back_onto_the_grid_of_the_source(self, study, memory):
        learn = self.learner(study, item_tfms=Resample3D((1, 1, 3)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mask = predict_volume(learn, study[0] / "image0.nii.gz", memory=memory)
        assert mask.shape == (3, *SHAPE)
        assert mask.geometry.agrees(PLACE)
        assert (mask.numpy() == regions_of(nested())).mean() > 0.8

    def test_of_another_number_of_regions_is_refused(self, study):
        learn = self.learner(study)
        learn.model = nn.Conv3d(1, 2, 1)
        with pytest.raises(ValueError, match="scores of 2 regions, but the dls name 3"):
            learn.predict_volume(study[0] / "image0.nii.gz")
