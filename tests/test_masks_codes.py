"""Names of classes travel with the mask, as long as its labels mean the same; and where they are written."""

import copy
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.io.nrrd_segments import Segment, read_segments
from faimed3d.masks import keep_largest_component, label_regions, merge_regions, reduce_classes
from faimed3d.masks.classes import class_table
from faimed3d.masks.codes import class_name, frozen_codes, names_behind, names_of_labels
from faimed3d.volume import TensorDicom3D, TensorMask3D

NAMES = ["air", "liver", "spleen"]
PLACE = Geometry((2, 3, 4), (1, 2, 3), (5, 6, 7))


def mask(codes=NAMES):
    labels = torch.zeros(2, 3, 4, dtype=torch.uint8)
    labels[0, 1:, 1:3], labels[1, 0, :2] = 1, 2
    return TensorMask3D(labels, PLACE, codes=codes)


KEEP = {
    "flip": lambda m: m.flip(0),
    "permute": lambda m: m.permute(2, 0, 1),
    "slice": lambda m: m[:, 1:],
    "step": lambda m: m[..., ::2],
    "channel": lambda m: m[None],
    "long": lambda m: m.long(),
    "float": lambda m: m.float(),
    "to": lambda m: m.to(torch.int32),
    "clone": lambda m: m.clone(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "pad": lambda m: F.pad(m, (1, 1)),
    "roll": lambda m: m.roll(1, 0),
    "stack": lambda m: torch.stack([m, m]),
    "batch and back": lambda m: torch.stack([m, m])[1],
    "cat": lambda m: torch.cat([m[None], m[None]]),
    "unbind": lambda m: m.unbind(0)[0],
    "split": lambda m: m.split(1)[1],
    "resize": lambda m: m.resize_3d_tensor((4, 6, 8)),
    "resample": lambda m: m.resample((2, 2, 2)),
    "reorient": lambda m: m.reorient("SAR"),
    "crop": lambda m: m.crop_3d(((0, 1), (0, 0), (0, 0))),
    "largest component": keep_largest_component,
    "masked_fill": lambda m: m.masked_fill(m == 2, 0),
    "data": lambda m: m.data,
    "T": lambda m: m.mT,
}
LOSE = {
    "compare": lambda m: m > 0,
    "equal": lambda m: m == 2,
    "bool": lambda m: m.bool(),
    "to bool": lambda m: m.to(torch.bool),
    "add": lambda m: m + 1,
    "iadd": lambda m: m.add_(1),
    "multiply": lambda m: m * 2,
    "clamp": lambda m: m.clamp(max=1),
    "max": lambda m: m.max(0)[0],
    "argmax": lambda m: m.argmax(0),
    "sum": lambda m: m.sum(0),
    "where": lambda m: torch.where(m > 0, m, 9),
    "other names": lambda m: torch.stack([m, mask(["x", "y", "z"])]),
    "one without": lambda m: torch.stack([m, mask(None)]),
    "zeros_like": torch.zeros_like,
    "regions": lambda m: label_regions(m, [1, (1, 2)]),
    "interpolate": lambda m: F.interpolate(m[None, None].float(), size=(4, 4, 4), mode="trilinear"),
}


class TestNamesTravel:
    @pytest.mark.parametrize("name", KEEP)
    def test_where_labels_are_moved_or_copied(self, name):
        assert KEEP[name](mask()).codes == dict(enumerate(NAMES))

    @pytest.mark.parametrize("name", LOSE)
    def test_not_where_labels_are_computed(self, name):
        assert LOSE[name](mask()).codes is None

    @settings(deadline=None)  # a loaded machine takes its time
    @given(st.lists(st.sampled_from([*KEEP, *LOSE]), max_size=4))
    def test_through_several_operations_as_long_as_all_keep_them(self, names):
        found, kept = mask(), True
        for name in names:
            before = found
            try:
                found = (KEEP | LOSE)[name](found)
            except (ValueError, IndexError, RuntimeError, TypeError, NotImplementedError):  # of another number of axes
                found = before
                continue
            kept = kept and name in KEEP
        assert (getattr(found, "codes", None) is not None) == kept

    def test_images_have_none(self):
        assert not hasattr(mask().as_subclass(TensorDicom3D), "codes")

    def test_of_one_mask_alone(self):
        one = mask()
        other = one.clone()
        other.codes = {1: "kidney"}
        assert one.codes[1] == "liver"
        one.codes[1] = "changed"
        assert one.codes[1] == "liver"

    def test_are_what_one_sets(self):
        assert mask({2: "spleen", 1: "liver"}).codes == {1: "liver", 2: "spleen"}
        assert mask(None).codes is None
        with pytest.raises(TypeError, match="codes must be names"):
            frozen_codes("liver")
        with pytest.raises(TypeError, match="labels must be whole numbers"):
            frozen_codes({"liver": 1})
        assert class_name(7, {1: "liver"}) == "class 7"

    def test_merged_classes_join_their_names(self):
        assert reduce_classes(mask(), [(1, 2)]).codes == {0: "air", 1: "liver + spleen"}
        assert reduce_classes(mask(), [2, 1]).codes == {0: "air", 1: "spleen", 2: "liver"}
        assert reduce_classes(mask(), [2]).codes == {0: "air", 1: "spleen"}
        assert reduce_classes(mask(), {1: 5}).codes == {0: "air", 2: "spleen", 5: "liver"}

    def test_a_transform_that_merges_classes_keeps_the_new_names(self):
        from faimed3d.augment import ReduceClasses

        assert ReduceClasses([(1, 2)])(mask()).codes == {0: "air", 1: "liver + spleen"}


class TestWhereClassesAreNamed:
    def test_volumes(self):
        assert mask().calc_volume() == {"background": 108, "total_mask_volume": 36, "liver": 24, "spleen": 12}
        assert mask({1: "liver"}).calc_volume()["class 2"] == 12
        assert mask(None).calc_volume()["class 1"] == 24

    def test_volumes_of_regions(self):
        regions = label_regions(mask(), [(1, 2), 2])
        regions.codes = ["background", "organs", "spleen"]
        assert regions.calc_volume() == {"background": 108, "total_mask_volume": 36, "organs": 36, "spleen": 12}

    def test_surfaces(self):
        ax = mask().render_3d()
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["liver", "spleen"]
        plt.close("all")

    @pytest.mark.parametrize("codes", [NAMES, {1: "Niere\nlinks", 2: "ß µ"}, None])
    def test_files_of_slicer(self, tmp_path, codes):
        mask(codes).save(tmp_path / "a.seg.nrrd")
        found = TensorMask3D.create(tmp_path / "a.seg.nrrd", dtype=None)
        expected = mask(codes).codes or {1: "class 1", 2: "class 2"}
        assert found.codes == {label: name.replace("\n", " ") for label, name in expected.items() if label}
        assert torch.equal(found.as_subclass(Tensor), mask().as_subclass(Tensor))
        assert found.geometry.agrees(PLACE)

    def test_files_of_regions_have_a_layer_for_each(self, tmp_path):
        regions = label_regions(mask(), [(1, 2), 2])
        regions.codes = ["background", "organs", "spleen"]
        regions.save(tmp_path / "a.seg.nrrd")
        assert read_segments(tmp_path / "a.seg.nrrd") == (Segment("organs", 1, 0), Segment("spleen", 1, 1))
        found = TensorMask3D.create(tmp_path / "a.seg.nrrd", dtype=None)
        assert torch.equal(found.as_subclass(Tensor), regions.as_subclass(Tensor))

    def test_other_files_have_no_names(self, tmp_path):
        mask().save(tmp_path / "a.nrrd")
        assert TensorMask3D.create(tmp_path / "a.nrrd").codes is None

    def test_merged_regions(self):
        regions = label_regions(mask(), [(1, 2), 2])
        regions.codes = ["background", "organs", "spleen"]
        assert merge_regions(regions).codes == {0: "background", 1: "organs", 2: "spleen"}


class TestSegmentationFiles:
    @pytest.mark.parametrize(
        "dtype", [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool]
    )
    def test_hold_whole_numbers_whatever_the_type_of_the_mask(self, tmp_path, dtype):
        labels = torch.tensor([0, 1, 1, 0]).view(1, 2, 2).to(dtype)
        TensorMask3D(labels, {"spacing": (1, 2, 3)}, codes=["air", "liver"]).save(tmp_path / "a.seg.nrrd")
        image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
        assert "integer" in image.GetPixelIDTypeAsString()
        assert np.array_equal(sitk.GetArrayFromImage(image), labels.float().numpy())

    @pytest.mark.parametrize(("most", "expected"), [(255, "uint8"), (256, "int16"), (-1, "int16"), (70_000, "int32")])
    def test_labels_of_float_masks_become_the_smallest_type_that_holds_them(self, tmp_path, most, expected):
        mask = TensorMask3D(torch.tensor([0.0, most]).view(1, 1, 2), {"spacing": (1, 2, 3)})
        mask.save(tmp_path / "a.seg.nrrd")
        found = TensorMask3D.create(tmp_path / "a.seg.nrrd", dtype=None)
        assert (str(found.dtype), found.flatten().tolist()) == (f"torch.{expected}", [0, most])

    def test_regions_keep_their_names(self, tmp_path):
        regions = torch.zeros(2, 2, 3, 4, dtype=torch.uint8)
        regions[0], regions[1, 0] = 1, 1
        mask = TensorMask3D(regions, {"spacing": (1, 2, 3)}, codes=["background", "whole", "core"])
        mask.save(tmp_path / "a.seg.nrrd")
        found = TensorMask3D.create(tmp_path / "a.seg.nrrd")
        assert found.codes == mask.codes
        assert found.calc_volume() == mask.calc_volume()
        assert TensorMask3D(regions, mask.geometry, codes={1: "whole", 2: "core"}).calc_volume() == mask.calc_volume()


def test_masked_arrays_must_say_what_masked_voxels_hold():
    array = np.ma.masked_less(np.arange(24.0).reshape(2, 3, 4), 5)
    for make in (TensorDicom3D, TensorDicom3D.create, TensorMask3D.create):
        with pytest.raises(ValueError, match=r"5 voxels of this numpy.ma array are masked.*array.filled\(value\)"):
            make(array)
    assert TensorDicom3D(array.filled(7)).min() == 5
    assert TensorDicom3D(np.ma.array(array.data)).min() == 0


class TestNamesOfLabels:
    @settings(max_examples=60)
    @given(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True), st.randoms())
    def test_however_they_are_written_each_label_has_its_name(self, names, random):
        pairs = list(enumerate(names))
        random.shuffle(pairs)
        by_label, by_name = dict(pairs), {name: label for label, name in pairs}
        by_text = {str(label): name for label, name in pairs}  # as json keeps it
        numpy = {np.int64(label): name for label, name in pairs}
        for codes in (names, tuple(names), iter(names), np.array(names), by_label, by_name, by_text, numpy):
            assert names_of_labels(codes) == names

    @pytest.mark.parametrize(
        ("codes", "error", "text"),
        [
            ("lesion", TypeError, "got the text 'lesion'"),
            ({"lesion"}, TypeError, "a set, which has no order"),
            ({"whole": (1, 2)}, TypeError, "label -> name, or name -> label, got .*regions="),
            ({"none": 0, "whole": (1, 2)}, TypeError, "regions="),
            ({0.5: "a"}, TypeError, "label -> name, or name -> label"),
            ({"a": 1, "b": 1}, ValueError, "each label has one name"),
            ({-1: "ignored", 0: "none"}, TypeError, "from 0 on.*ignore_index"),
            ({}, TypeError, "from 0 on"),
        ],
    )
    def test_what_does_not_say_it_is_refused(self, codes, error, text):
        with pytest.raises(error, match=text):
            names_of_labels(codes)


class TestNamesBehind:
    NAMES = ("none", "liver", "tumour", "cyst")

    @pytest.mark.parametrize(
        ("classes", "other", "expected"),
        [
            ({1: 0, 2: 1, 3: 2}, None, ["none", "tumour", "cyst"]),
            ({3: 2}, None, ["none", "liver", "tumour + cyst"]),
            ([1, (2, 3)], None, ["none", "liver", "tumour + cyst"]),
            ({2: 1}, 0, ["none", "tumour"]),
            ({1: 2, 2: 1}, None, NAMES),  # as many: they are those behind it
            ({5: 1}, None, NAMES),  # of a label that they do not name
        ],
    )
    def test_are_those_of_what_is_left(self, classes, other, expected):
        assert names_behind(list(self.NAMES), [class_table(classes, other)]) == list(expected)

    @settings(max_examples=60)
    @given(st.dictionaries(st.integers(1, 3), st.integers(0, 3), min_size=1))
    def test_each_name_stays_with_its_voxels(self, classes):
        behind = names_behind(list(self.NAMES), [class_table(classes)])
        labels = reduce_classes(torch.arange(4), classes).tolist()
        if len(behind) < 4:
            for name, label in zip(self.NAMES[1:], labels[1:], strict=True):
                assert label == 0 or name in behind[label]
