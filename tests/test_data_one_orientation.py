"""One storage order for all items: a network that tells sides apart gives one answer however a scan is stored."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.learner import Learner, load_learner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from faimed3d import training  # noqa: F401 - gives Learner no_bar and predict_volume
from faimed3d.augment import Reorient3D, Resample3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, ImageDataLoaders3D, MaskBlock3D, OneOrientation, SegmentationDataLoaders3D
from faimed3d.losses import DiceCELoss3D

ORDERS = [
    "".join(letters)
    for axes in itertools.permutations(("RL", "AP", "IS"))
    for letters in itertools.product(*axes)
]  # fmt: skip
SHAPE = (4, 6, 10)
TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
PLACE = Geometry(SHAPE, (1, 2, 3), (10, -20, 30), TURN)  # oblique: turned by 17 degrees about z


class Sides(nn.Module):
    """A network that knows sides: what is bright is class 1 in the first half of each axis, W before H before D."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        number = sum(
            place * (torch.arange(n) < n // 2).view(*(-1 if k == axis else 1 for k in (2, 3, 4)))
            for axis, place, n in ((4, 1, x.shape[4]), (3, 2, x.shape[3]), (2, 4, x.shape[2]))
        )
        label = torch.where(x > 50, number + 1, 0)[:, 0]
        return nn.functional.one_hot(label, 9).movedim(-1, 1) * 20.0 + self.bias


def scan_of(number=0):
    voxels = torch.zeros(SHAPE)
    voxels[1:3, 1:5, 1 + number % 2 : 9] = 100.0
    return TensorDicom3D(voxels + torch.rand(SHAPE, generator=torch.Generator().manual_seed(number)), PLACE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four scans and masks, each stored in another order, and the table of them; the first is LPS."""
    root = tmp_path_factory.mktemp("orders")
    rows = []
    for number, code in enumerate(("LPS", "RAS", "SAL", "PIR")):
        scan = scan_of(number).reorient(code)
        scan.save(root / f"i{number}.nii.gz")
        TensorMask3D((scan > 50).as_subclass(Tensor).to(torch.uint8), scan.geometry).save(root / f"m{number}.nii.gz")
        rows.append({"image": f"i{number}.nii.gz", "mask": f"m{number}.nii.gz", "side": "ab"[number % 2]})
    return root, pd.DataFrame(rows).assign(valid=[False, False, False, True])


def segmentation(folder, **kwargs):
    root, table = folder
    return SegmentationDataLoaders3D.from_df(
        table, root, label_col="mask", valid_col="valid", codes=[*"abcdefghi"], bs=1, num_workers=0, **kwargs
    )


@pytest.fixture(scope="module")
def learn(folder):
    learner = Learner(segmentation(folder), Sides(), loss_func=DiceCELoss3D(), path=folder[0])
    with learner.no_bar(), learner.no_logging():
        yield learner


@pytest.fixture(scope="module")
def answer(learn):
    """The labels in the order of the network, by the network alone."""
    with torch.no_grad():
        scores = learn.model(scan_of().as_subclass(Tensor)[None, None])
    labels = scores.argmax(1)[0]
    assert len(labels.unique()) == 9
    return labels


def test_there_are_48_orders():
    assert len(set(ORDERS)) == 48


@pytest.mark.parametrize("code", ORDERS)
class TestAnswersAlike:
    """The same answer on all storage orders of one scan."""

    def test_predict_volume(self, learn, answer, code):
        scan = scan_of().reorient(code)
        found, scores = learn.predict_volume(scan, probabilities=True)
        assert found.geometry == scan.geometry
        assert scores.geometry == scan.geometry
        assert torch.equal(found.reorient("LPS").as_subclass(Tensor), answer.to(torch.uint8))
        assert torch.equal(scores.argmax(0).as_subclass(Tensor), found.long().as_subclass(Tensor))
        windows = learn.predict_volume(scan, patch=SHAPE, tta=False)
        assert torch.equal(windows.as_subclass(Tensor), found.as_subclass(Tensor))

    def test_learn_predict(self, learn, answer, code):
        found, _, _ = learn.predict(scan_of().reorient(code))
        assert found.geometry.agrees(PLACE)
        assert torch.equal(found.reorient("LPS").as_subclass(Tensor).long(), answer)

    def test_get_preds(self, learn, answer, code, tmp_path):
        scan_of().reorient(code).save(tmp_path / "scan.nii.gz")
        test = learn.dls.test_dl(pd.DataFrame({"image": [str(tmp_path / "scan.nii.gz")]}))
        assert torch.equal(learn.get_preds(dl=test)[0].argmax(1)[0].as_subclass(Tensor), answer)


def test_predict_folder(learn, answer, tmp_path):
    (tmp_path / "in").mkdir()
    for code in ORDERS:
        scan_of().reorient(code).save(tmp_path / "in" / f"{code}.nii.gz")
    report = learn.predict_folder(tmp_path / "in", tmp_path / "out")
    assert report["error"].unique().tolist() == [""]
    for code in ORDERS:
        found = TensorMask3D.create(tmp_path / "out" / f"{code}.nii.gz", dtype=None)
        assert found.geometry.orientation == code
        assert torch.equal(found.reorient("LPS").as_subclass(Tensor).long(), answer)


def test_after_resampling_labels_agree_too(folder):
    learn = Learner(segmentation(folder, item_tfms=Resample3D((1.3, 1.7, 2.9))), Sides(), loss_func=DiceCELoss3D())
    first = learn.predict_volume(scan_of())
    for code in ORDERS:
        scan = scan_of().reorient(code)
        found = learn.predict_volume(scan)
        assert found.geometry == scan.geometry
        assert torch.equal(found.reorient("LPS").as_subclass(Tensor), first.as_subclass(Tensor))


def test_an_exported_learner_knows_the_order(folder, answer, tmp_path):
    learn = Learner(segmentation(folder), Sides(), loss_func=DiceCELoss3D(), path=tmp_path)
    learn.export("learner.pkl")
    with pytest.warns(UserWarning, match="load_learner.*pickle"):
        loaded = load_learner(tmp_path / "learner.pkl")
    found = loaded.predict_volume(scan_of().reorient("SAR"))
    assert torch.equal(found.reorient("LPS").as_subclass(Tensor).long(), answer)


class TestTables:
    """Tables that mix storage orders."""

    @pytest.mark.parametrize("workers", [0, 2])
    def test_all_items_come_in_the_order_of_the_first(self, folder, workers):
        dls = segmentation(folder).train.new(shuffle=False, num_workers=workers)
        for number, (images, masks) in enumerate(dls):
            assert images[0].geometry.agrees(PLACE)
            assert masks[0].geometry.agrees(PLACE)
            truth = scan_of(number).as_subclass(Tensor)
            torch.testing.assert_close(images[0, 0].as_subclass(Tensor), truth)
            assert torch.equal(masks[0].as_subclass(Tensor), (truth > 50).long())

    @settings(max_examples=12, deadline=None)  # files are read
    @given(st.sampled_from(ORDERS))
    def test_or_in_the_one_that_is_asked_for(self, folder, code):
        root, table = folder
        for dls in (
            segmentation(folder, orientation=code),
            ImageDataLoaders3D.from_df(table, root, label_col="side", valid_col="valid", orientation=code.lower(), bs=1,
                                       num_workers=0),
            DataBlock((ImageBlock3D(orientation=code), MaskBlock3D([*"ab"])), get_x=ColReader("image", pref=f"{root}/"),
                      get_y=ColReader("mask", pref=f"{root}/")).dataloaders(table, bs=1, num_workers=0),
        ):  # fmt: skip
            for loader in dls:
                for batch in loader.new(shuffle=False):
                    placed = [x[0].geometry.orientation for x in batch if isinstance(x, TensorDicom3D)]
                    assert set(placed) == {code}

    def test_reorient3d_among_the_transforms_decides(self, folder, answer):
        dls = segmentation(folder, item_tfms=Reorient3D("RAS"))
        images, masks = dls.one_batch()
        assert images[0].geometry.orientation == masks[0].geometry.orientation == "RAS"
        found = Learner(dls, Sides(), loss_func=DiceCELoss3D()).predict_volume(scan_of().reorient("IPR"))
        with torch.no_grad():
            scores = Sides()(scan_of().reorient("RAS").as_subclass(Tensor)[None, None])
        assert torch.equal(found.reorient("RAS").as_subclass(Tensor).long(), scores.argmax(1)[0])
        assert not torch.equal(found.reorient("LPS").as_subclass(Tensor).long(), answer)

    def test_masks_of_a_block_of_ones_own_follow(self, folder):
        root, table = folder
        data = DataBlock((ImageBlock3D, TransformBlock(TensorMask3D.create)), get_x=ColReader("image", pref=f"{root}/"),
                         get_y=ColReader("mask", pref=f"{root}/"), splitter=IndexSplitter([3]))  # fmt: skip
        for number, (image, mask) in enumerate(data.dataloaders(table, bs=1, num_workers=0).train.new(shuffle=False)):
            assert image[0].geometry.orientation == "LPS", number
            assert torch.equal((image[0, 0] > 50).as_subclass(Tensor), mask[0].as_subclass(Tensor) == 1)


class TestTransform:
    def test_a_mask_without_a_place_follows_its_image(self):
        image = scan_of()
        mask = TensorMask3D((image > 50).as_subclass(Tensor).long())
        mask = mask[torch.randperm(len(mask), generator=torch.Generator().manual_seed(1)).argsort().argsort()]
        assert mask.geometry is None
        turned, followed = OneOrientation("SRA")((image, mask))
        assert followed.geometry is None
        expected = TensorMask3D(mask.as_subclass(Tensor), PLACE).reorient("SRA")
        assert torch.equal(followed.as_subclass(Tensor), expected.as_subclass(Tensor))
        assert turned.geometry.orientation == "SRA"

    def test_what_has_no_place_stays(self):
        image = scan_of()[torch.tensor([2, 0, 1, 3])]
        found, label = OneOrientation("SRA")((image, "class"))
        assert found.geometry is None
        assert torch.equal(found.as_subclass(Tensor), image.as_subclass(Tensor))
        assert label == "class"

    @given(st.sampled_from(ORDERS), st.sampled_from(ORDERS))
    def test_loses_no_voxel(self, stored, wanted):
        scan = scan_of().reorient(stored)
        found = OneOrientation(wanted)((scan,))[0]
        assert found.geometry.orientation == wanted
        assert found.geometry == scan.geometry.reorient(wanted)
        back = found.reorient(stored)
        assert torch.equal(back.as_subclass(Tensor), scan.as_subclass(Tensor))
        assert back.geometry.agrees(scan.geometry, 1e-9)

    def test_its_argument_is_an_orientation(self):
        with pytest.raises(ValueError, match="orientation must be three letters, one each of L or R"):
            OneOrientation("LRS")
        with pytest.raises(ValueError, match="orientation must be three letters"):
            ImageBlock3D(orientation="up")

    def test_it_shows_what_it_does(self):
        assert OneOrientation("ras").name == "OneOrientation('RAS')"
