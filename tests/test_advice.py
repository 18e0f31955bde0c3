"""What a message advises can be done where it appears: strict=, series= and like= reach every place that reads."""

import ast
import inspect
import re
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from cases import SHAPE, case_of
from fastai.data.block import DataBlock
from fastai.learner import Learner
from torch import nn

import faimed3d
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, ImageDataLoaders3D, MaskBlock3D, RegionBlock3D, SegmentationDataLoaders3D
from faimed3d.inference import predict_folder, predict_volume
from faimed3d.losses import CrossEntropyLoss3D
from faimed3d.training import VolumeLearner

PACKAGE = Path(faimed3d.__file__).parent
FACTORIES = [
    *(getattr(SegmentationDataLoaders3D, name) for name in ("from_df", "from_path_func")),
    *(getattr(ImageDataLoaders3D, name) for name in ("from_df", "from_folder", "from_path_func")),
]


def advised():
    """Arguments that the texts of errors of reading name: 'pass strict=False', 'series=', ..."""
    found = set()
    for room in ("io", "dicom"):
        for path in (PACKAGE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise):
                    texts = [
                        n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                    ]
                    found |= set(re.findall(r"(?:[Pp]ass|with|as) (strict|series|dtype)=", " ".join(texts)))
    return found


def test_every_argument_that_an_error_of_reading_names_is_taken_by_what_reads():
    assert {"strict", "series", "dtype"} >= advised() >= {"strict"}
    readers = [TensorDicom3D.create, TensorMask3D.create, MaskBlock3D, RegionBlock3D]
    places = [*readers, predict_volume, predict_folder, VolumeLearner.predict, *FACTORIES]
    for place in places:
        assert {"strict", "series", "like"} <= set(inspect.signature(place).parameters), place.__qualname__
    ImageBlock3D(strict=False, series=0, like=None)


def faulty(volume, path):
    """A NIfTI with a voxel size of -1, as programs that flip leave it; its sform is good."""
    volume.save(path)
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(-1).tobytes()
    path.write_bytes(bytes(raw))
    return path


@pytest.fixture
def table(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rows = []
    for number in range(4):
        image, mask = case_of(number)
        rows.append(
            {
                "image": str(faulty(image, tmp_path / "images" / f"{number}.nii")),
                "mask": str(faulty(mask, tmp_path / "masks" / f"{number}.nii")),
                "label": "ab"[number % 2],
            }
        )
    return pd.DataFrame(rows)


OPTIONS = {"bs": 2, "num_workers": 0, "device": "cpu", "valid_pct": 0.5, "seed": 0}


class TestStrict:
    def makers(self, table):
        root = Path(table.image[0]).parents[1]
        codes = {"codes": ["none", "lesion"], **OPTIONS}
        mask_of = dict(zip(map(Path, table.image), table["mask"], strict=True)).get
        return {
            "from_df": lambda **k: SegmentationDataLoaders3D.from_df(
                table, fn_col="image", label_col="mask", **codes, **k
            ),
            "counted": lambda **k: SegmentationDataLoaders3D.from_df(
                table, fn_col="image", label_col="mask", **OPTIONS, **k
            ),
            "regions": lambda **k: SegmentationDataLoaders3D.from_df(
                table, fn_col="image", label_col="mask", regions={"lesion": 1}, **OPTIONS, **k
            ),
            "several": lambda **k: SegmentationDataLoaders3D.from_df(
                table.assign(other=[np.zeros(SHAPE, np.uint8)] * 4), fn_col="image", label_col=["mask"], **codes, **k
            ),
            "from_folder": lambda **k: SegmentationDataLoaders3D.from_folder(root, **codes, **k),
            "from_path_func": lambda **k: SegmentationDataLoaders3D.from_path_func(
                root, list(map(Path, table.image)), mask_of, **codes, **k
            ),
            "images": lambda **k: ImageDataLoaders3D.from_df(table, fn_col="image", label_col="label", **OPTIONS, **k),
            "lists": lambda **k: ImageDataLoaders3D.from_lists(
                root, list(table.image), list(table.label), **OPTIONS, **k
            ),
        }

    @pytest.mark.parametrize(
        "name", ["from_df", "counted", "regions", "several", "from_folder", "from_path_func", "images", "lists"]
    )
    def test_the_advice_can_be_followed_in_every_factory(self, table, name):
        make = self.makers(table)[name]
        with pytest.raises(ValueError, match="pass strict=False"):
            make().one_batch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert make(strict=False).one_batch()[0].shape[-3:] == SHAPE

    def test_and_in_prediction(self, table, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dls = SegmentationDataLoaders3D.from_df(
                pd.DataFrame([dict(zip(("image", "mask"), case_of(k), strict=True)) for k in range(4)]),
                codes=["none", "lesion"],
                **OPTIONS,
            )
            learn = Learner(dls, nn.Conv3d(1, 2, 1), loss_func=CrossEntropyLoss3D())
            with pytest.raises(ValueError, match="pass strict=False"):
                learn.predict_volume(table.image[3])
            assert learn.predict_volume(table.image[3], strict=False).shape == SHAPE
            report = learn.predict_folder(list(table.image[2:]), tmp_path / "out", strict=False)
            learn = VolumeLearner(dls, nn.Conv3d(1, 2, 1), loss_func=CrossEntropyLoss3D())
            with pytest.raises(ValueError, match="pass strict=False"), learn.no_bar():
                learn.predict(table.image[3])
            with learn.no_bar():
                assert learn.predict(table.image[3], strict=False)[0].shape == SHAPE
        assert report["error"].tolist() == [""] * 2
        array = np.zeros(SHAPE, np.float32)
        assert learn.predict_volume(array, like=case_of(3)[0]).geometry == case_of(3)[0].geometry


class TestLikeImage:
    @pytest.mark.parametrize("kind", ["array", "npy", "default header"])
    def test_masks_that_do_not_say_where_they_lie_lie_where_their_images_lie(self, tmp_path, kind):
        rows = []
        for number in range(4):
            image, mask = case_of(number)
            array = mask.numpy().astype(np.uint8)
            cell = array
            if kind == "npy":
                cell = str(tmp_path / f"{number}.npy")
                np.save(cell, array)
            elif kind == "default header":
                cell = str(tmp_path / f"{number}.nii")
                nib.Nifti1Image(array.T, np.eye(4)).to_filename(cell)
            rows.append({"image": image, "mask": cell})
        options = {"codes": ["none", "lesion"], **OPTIONS}
        with pytest.raises(ValueError, match=r"pass like='image' \(MaskBlock3D, SegmentationDataLoaders3D\)"):
            SegmentationDataLoaders3D.from_df(pd.DataFrame(rows), **options).one_batch()
        dls = SegmentationDataLoaders3D.from_df(pd.DataFrame(rows), like="image", **options)
        for images, masks in (dls.train.one_batch(), dls.valid.one_batch()):
            assert [one.geometry for one in images] == [one.geometry for one in masks]
            assert (images[:, 0] > 0.5).float().mean() == pytest.approx((masks > 0).float().mean())

    @pytest.mark.parametrize(
        "block", [lambda **k: MaskBlock3D(["none", "lesion"], **k), lambda **k: RegionBlock3D({"lesion": 1}, **k)]
    )
    def test_blocks_take_it_too(self, table, block):
        """Of faulty masks, and of arrays, which do not say where they lie."""

        def batch(masks, **how):
            get = dict(zip(range(4), masks, strict=True)).get
            data = DataBlock(
                (ImageBlock3D(strict=False), block(**how)), get_x=dict(enumerate(table.image)).get, get_y=get
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return data.dataloaders([*range(4)], bs=2, num_workers=0, device="cpu").one_batch()

        with pytest.raises(ValueError, match="pass strict=False"):
            batch(table["mask"])
        arrays = [case_of(k)[1].numpy().astype(np.uint8) for k in range(4)]
        with pytest.raises(ValueError, match=r"pass like='image'"):
            batch(arrays)
        for images, masks in (batch(table["mask"], strict=False), batch(arrays, like="image")):
            assert [one.geometry for one in images] == [one.geometry for one in masks]
            assert masks.any()

    def test_a_mask_that_says_it_lies_elsewhere_is_not_moved(self):
        rows = [{"image": case_of(k)[0], "mask": case_of(k + 1)[1]} for k in range(4)]
        with pytest.raises(ValueError, match="does not lie on the grid of its image"):
            SegmentationDataLoaders3D.from_df(
                pd.DataFrame(rows), like="image", codes=["none", "lesion"], **OPTIONS
            ).one_batch()

    def test_other_words_are_refused(self, table):
        with pytest.raises(ValueError, match="like must be 'image' or None, got 'mask'"):
            MaskBlock3D(["none", "lesion"], like="mask")
        with pytest.raises(ValueError, match="like='image' says where masks lie, and these items have none"):
            ImageDataLoaders3D.from_df(table, label_col="label", like="image", **OPTIONS)
