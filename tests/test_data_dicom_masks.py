"""Tables whose masks are DICOM Segmentations: on all planes of their scans, and of no other scan."""

import itertools

import numpy as np
import pandas as pd
import pytest
from dicom_segmentations import labels, segmentation
from dicom_series import write, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from faimed3d import errors
from faimed3d.augment import ReduceClasses
from faimed3d.data import MatchMask, SegmentationDataLoaders3D
from faimed3d.data.blocks import read_labels
from faimed3d.volume import TensorDicom3D, TensorMask3D

ORDERS = ["".join(order) for order in itertools.product("RL", "AP", "SI")]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    write_series(folder)
    return folder


def seg(mask, folder, **elements):
    dataset = segmentation(mask)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return write([dataset], folder)[0]


@settings(max_examples=20)
@given(arrays(np.uint8, (5, 6, 7), elements=st.sampled_from([0, 0, 0, 1, 2])), st.sampled_from(ORDERS))
def test_planes_that_are_left_out_are_empty_however_the_scan_is_stored(scan, tmp_path_factory, mask, order):
    filled = np.flatnonzero(mask.any((1, 2)))
    if len(filled) < 2 or np.diff(filled).min() > 1:
        mask[1:3, 0, 0] = 1  # two planes beside each other, which say how far apart planes are
    image = TensorDicom3D.create(scan)
    found = TensorMask3D.create(seg(mask, tmp_path_factory.mktemp("seg")), dtype=None)
    _, matched = MatchMask()((image.reorient(order), found))
    np.testing.assert_array_equal(matched.reorient(image.geometry.orientation).numpy(), mask)
    again = TensorMask3D.create(found._header.files[0], like=image.reorient(order))
    assert again.geometry == matched.geometry
    np.testing.assert_array_equal(again.numpy(), matched.numpy())


def test_a_table(scan, tmp_path):
    table = pd.DataFrame({"image": [str(scan)] * 3, "mask": [str(seg(labels(), tmp_path))] * 3})
    with pytest.warns(UserWarning, match="1 images are in both training and validation"):
        dls = SegmentationDataLoaders3D.from_df(table, bs=2, splitter=lambda df: ([0, 1], [2]), num_workers=0)
    image, mask = dls.valid.one_batch()
    np.testing.assert_array_equal(mask[0].numpy(), labels())
    assert mask[0].geometry == image[0].geometry


def test_of_another_scan_is_refused(scan, tmp_path):
    mask = TensorMask3D.create(seg(labels(), tmp_path, FrameOfReferenceUID="1.2.3.99"), dtype=None)
    with pytest.raises(errors.UnsupportedImage, match="in another frame of reference than the image"):
        MatchMask()((TensorDicom3D.create(scan), mask))


def test_a_series_of_labels_that_lacks_slices_is_refused(scan, tmp_path):
    write_series(tmp_path, labels()[:4].astype(np.int16))
    with pytest.raises(ValueError, match="does not lie on the grid of its image"):
        MatchMask()((TensorDicom3D.create(scan), TensorMask3D.create(tmp_path)))


def named(mask, folder, names):
    """A segmentation whose segments have names: number 1 is the first."""
    items = []
    for number, name in enumerate(names, 1):
        item = Dataset()
        item.SegmentNumber, item.SegmentLabel = number, name
        items.append(item)
    return seg(mask, folder, SegmentSequence=Sequence(items))


class TestNames:
    """Each file numbers its segments as it likes."""

    def test_segments_get_the_labels_of_their_names(self, tmp_path):
        one = named(labels(), tmp_path / "1", ["Liver", "tumour"])
        two = named(np.array([0, 2, 1], np.uint8)[labels()], tmp_path / "2", ["tumour", "liver"])
        for file in (one, two):
            read = read_labels(file, ["background", "liver", "tumour"])
            np.testing.assert_array_equal(read.numpy(), labels()[1:])
        np.testing.assert_array_equal(read_labels(one, ["background", "a", "b"]).numpy(), labels()[1:])
        with pytest.raises(ValueError, match=r"of its segments .*tumour are in no code"):
            read_labels(one, ["background", "liver", "lesion"])

    def test_without_codes_two_names_for_one_label_are_refused(self, scan, tmp_path):
        masks = [
            named(labels(), tmp_path / "1", ["liver", "tumour"]),
            named(labels(), tmp_path / "2", ["tumour", "liver"]),
        ]
        table = pd.DataFrame({"image": [np.zeros((5, 6, 7))] * 2, "mask": masks})
        with pytest.raises(ValueError, match=r"label 1 is '(liver|tumour)' in .* and .*: pass codes=\['background', "):
            SegmentationDataLoaders3D.from_df(table, valid_pct=0.5, bs=1, num_workers=0)

    def test_follow_what_merges_and_drops_classes(self, scan, tmp_path):
        table = pd.DataFrame({"image": [str(scan)] * 4, "mask": [named(labels(), tmp_path, ["liver", "tumour"])] * 4})
        dls = SegmentationDataLoaders3D.from_df(
            table[:2], codes=["background", "liver", "tumour"], item_tfms=ReduceClasses({1: 0, 2: 1}), valid_pct=0,
            bs=2, num_workers=0,
        )  # fmt: skip
        mask = dls.one_batch()[1][0]
        assert (list(dls.vocab), dls.c) == (["background", "tumour"], 2)
        np.testing.assert_array_equal(mask.numpy(), labels() == 2)
        assert dls.train.after_item((TensorDicom3D.create(scan), read_labels(table["mask"][0])))[1].codes == {
            0: "background", 1: "tumour"
        }  # fmt: skip
