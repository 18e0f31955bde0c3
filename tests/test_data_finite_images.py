"""NaN and infinite voxels never reach a network: refused naming the file, and filled where asked."""

import numpy as np
import pytest
import torch

from faimed3d.augment import FillNaN3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageDataLoaders3D
from faimed3d.data.block_transforms import AddChannel

SHAPE = (2, 3, 4)


def image(value=np.nan, dtype=torch.float32):
    voxels = torch.arange(24.0).reshape(SHAPE).to(dtype)
    voxels[1, 0, 2] = value
    return TensorDicom3D(voxels, Geometry(SHAPE, (1, 2, 3)))


@pytest.mark.parametrize(("value", "workers"), [(np.nan, 0), (np.inf, 0), (-np.inf, 0), (np.nan, 1)])
def test_loaders_refuse_them_naming_file_and_remedy(tmp_path, value, workers, monkeypatch):
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)  # for a worker that has failed
    for k in range(3):
        (image(value) if k == 1 else image(0)).save(tmp_path / f"i{k}.nii.gz")
    files = [tmp_path / f"i{k}.nii.gz" for k in range(3)]

    def loaders(**kwargs):
        return ImageDataLoaders3D.from_lists(
            tmp_path, files, ["a", "b", "a"], valid_pct=0, bs=3, num_workers=workers, **kwargs
        )

    with pytest.raises(ValueError, match=r"i1\.nii\.gz: 1 of 24 voxels .* NaN or infinite.*FillNaN3D\(value\)"):
        list(loaders().train)
    images = loaders(item_tfms=FillNaN3D(-5)).train.one_batch()[0]
    assert images.amin().item() == -5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_numbers_are_no_infinity(dtype):
    large = TensorDicom3D(torch.full(SHAPE, torch.finfo(dtype).max, dtype=dtype))
    assert AddChannel()(large).shape == (1, *SHAPE)
    with pytest.raises(ValueError, match="an image from memory: 1 of 24 voxels"):
        AddChannel()(image(dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("fill", "expected"), [(0.0, 0), (-7, -7), (None, 1)])
def test_filling(dtype, value, fill, expected):
    t = image(value, dtype)
    t[0, 0, 0] = 1
    mask = TensorMask3D(torch.ones(SHAPE))
    for split in (0, 1):
        found, same = FillNaN3D(fill)((t, mask), split_idx=split)
        assert found[1, 0, 2] == expected
        assert found.isfinite().all()
        assert torch.equal(found[0], t[0])
        assert found.geometry == t.geometry
        assert found.dtype == dtype
        assert same is mask or torch.equal(same, mask)


def test_errors():
    with pytest.raises(ValueError, match="FillNaN3D takes a finite number or None, got nan"):
        FillNaN3D(float("nan"))
    with pytest.raises(ValueError, match="smallest finite value, but a channel holds none"):
        FillNaN3D(None)(TensorDicom3D(torch.full(SHAPE, torch.nan)))
