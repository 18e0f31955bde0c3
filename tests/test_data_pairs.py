"""Images and masks of two folders come together by their names; what is not one pair is refused."""

import numpy as np
import pytest

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageDataLoaders3D, SegmentationDataLoaders3D

SHAPE = (2, 3, 4)
PLACE = Geometry(SHAPE, (1, 2, 3), (5, -6, 7))


def lay(root, images, masks):
    for kind, names, cls in (("images", images, TensorDicom3D), ("masks", masks, TensorMask3D)):
        (root / kind).mkdir(exist_ok=True)
        for number, name in enumerate(names):
            voxels = np.full(SHAPE, 1 if cls is TensorMask3D else number, np.uint8)
            cls(voxels, PLACE).save(root / kind / name)


def load(root, **kwargs):
    return SegmentationDataLoaders3D.from_folder(root, codes=["none", "organ"], bs=1, num_workers=0, seed=0, **kwargs)


CASES = [f"c{k}.nii.gz" for k in range(5)]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".nhdr"])
def test_masks_of_any_format_are_found(tmp_path, suffix):
    lay(tmp_path, CASES, [f"c{k}{suffix}" for k in range(5)])
    dls = load(tmp_path)
    image, mask = dls.one_batch()
    assert image.shape == (1, 1, *SHAPE)
    assert mask.unique().tolist() == [1]


@pytest.mark.parametrize("channels", [1, 2])
def test_channels_of_nnunet(tmp_path, channels):
    lay(tmp_path, [f"c{k}_{c:04}.nii.gz" for k in range(5) for c in range(channels)], CASES)
    image, _ = load(tmp_path).one_batch()
    assert image.shape == (1, channels, *SHAPE)
    assert image.flatten(2)[0, :, 0].diff().tolist() == [1.0] * (channels - 1)


def test_a_name_that_ends_in_four_digits_is_its_own_case(tmp_path):
    names = [f"c_{k:04}.nii.gz" for k in range(5)]
    lay(tmp_path, names, names)
    assert load(tmp_path).one_batch()[0].shape == (1, 1, *SHAPE)


def test_hidden_files_of_the_decathlon_are_left_out(tmp_path):
    lay(tmp_path, CASES, CASES)
    for kind in ("images", "masks"):
        (tmp_path / kind / "._c0.nii.gz").write_bytes(b"\0\5\x16\7")
    dls = load(tmp_path)
    assert len(dls.train_ds) + len(dls.valid_ds) == 5


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("double", ["c0.nrrd", "c0.nii", "c0.seg.nrrd", "c0.mha"])
def test_two_of_one_name_are_refused_naming_both(tmp_path, kind, double):
    lay(tmp_path, CASES, CASES)
    TensorMask3D(np.zeros(SHAPE, np.uint8), PLACE).save(tmp_path / kind / double)
    with pytest.raises(ValueError, match=rf"two {kind} are named 'c0': .*{kind}.c0.* and .*{kind}.c0") as caught:
        load(tmp_path)
    assert double in str(caught.value)
    assert "c0.nii.gz" in str(caught.value)


def test_images_of_one_name_in_one_class(tmp_path):
    for part in ("train", "valid"):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            TensorDicom3D(np.zeros(SHAPE), PLACE).save(tmp_path / part / label / "c0.nii.gz")
    ImageDataLoaders3D.from_folder(tmp_path, bs=1, num_workers=0)
    TensorDicom3D(np.zeros(SHAPE), PLACE).save(tmp_path / "train" / "a" / "c0.mha")
    with pytest.raises(ValueError, match="two images are named 'train/a/c0'"):
        ImageDataLoaders3D.from_folder(tmp_path, bs=1, num_workers=0)


def test_images_without_a_mask_name_what_is_near(tmp_path):
    lay(tmp_path, CASES, ["c0_seg.nii.gz", *CASES[1:]])
    with pytest.raises(FileNotFoundError, match=r"c0\.nii\.gz: no mask c0\.\* .*there is c0_seg\.nii\.gz.*from_name"):
        load(tmp_path)


def test_cases_with_different_channels_are_refused(tmp_path):
    lay(tmp_path, ["c0_0000.nii.gz", "c1_0000.nii.gz", "c1_0001.nii.gz"], CASES[:2])
    with pytest.raises(ValueError, match="different numbers of channels: c0 has 1, c1 has 2"):
        load(tmp_path)
