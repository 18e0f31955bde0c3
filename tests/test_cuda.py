"""The library on a CUDA device: the results of the CPU, the geometry kept, nothing between two devices.

Skipped where there is no CUDA device. Random numbers are drawn on the CPU, so that a seed gives one draw on both.
"""

import copy
import inspect
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from coordinates import LOPSIDED, OBLIQUE, OTHER, entries, world
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import default_device, set_seed
from test_tracking import INPUTS, OPERATIONS
from torch import nn
from torch.nn import functional as F
from transforms import GEOMETRY, KINDS, NAMES, RANDOM, batch, make

from faimed3d import _blockwise, intensity
from faimed3d.augment import PadOrCrop3D, RandomAffine3D, Resample3D, aug_transforms_3d
from faimed3d.augment.base import uniform
from faimed3d.augment.warp import Warp, sampling_grid
from faimed3d.basics import (
    Geometry,
    TensorDicom3D,
    TensorMask3D,
    crop_3d,
    normalize,
    show_image_3d,
    show_images_3d,
    strip,
)
from faimed3d.data import ImageDataLoaders3D, SegmentationDataLoaders3D
from faimed3d.display import surface
from faimed3d.intensity.histogram import freqhist_bins, hist_scaled
from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D, DiceLoss3D, FocalLoss3D, TverskyLoss3D
from faimed3d.models import UNet3D, resnet18_3d
from faimed3d.spatial.resizing import resize_linear, resize_nearest
from faimed3d.training import (
    AverageSurfaceDistance,
    HausdorffDistance95,
    SurfaceDice,
    average_surface_distance,
    cnn_learner_3d,
    hausdorff_distance,
    surface_dice,
    unet_learner_3d,
)

DEVICE = "cuda"

if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.gpu

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums with this, for one test below

BIG = Geometry((11, 13, 17), spacing=(1, 2, 3), origin=(-7, 11, 5), direction=OBLIQUE)
TARGETS = {
    "parallel": Geometry((9, 20, 12), (1.3, 1.7, 2.1), (-6, 12, 7), OBLIQUE),
    "turned": Geometry((9, 20, 12), (1.3, 1.7, 2.1), (-8, 9, 3)),
    "far away": BIG.replace(origin=(1e4, 0, 0)),
}


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch):
    """Convolutions in float32 as on the CPU; cuDNN rounds to TF32 unless it is told not to."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def plain(t):
    return t.as_subclass(torch.Tensor)


def there(value):
    """The tensors of ``value`` on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(DEVICE)
    return type(value)(map(there, value)) if isinstance(value, tuple | list) else value


def check_same(found, expected, atol=1e-5, rtol=1e-5):
    """``found``, on the device, is ``expected``, from the CPU: type, kind of number, geometry, values."""
    assert type(found) is type(expected)
    if isinstance(expected, tuple | list):
        for one, other in zip(found, expected, strict=True):
            check_same(one, other, atol, rtol)
        return
    assert found.device.type == torch.device(DEVICE).type
    assert found.dtype == expected.dtype
    assert list(entries(found)) == list(entries(expected)) if isinstance(expected, TensorDicom3D) else True
    torch.testing.assert_close(plain(found).cpu(), plain(expected), atol=atol, rtol=rtol, equal_nan=True)


def check_labels(found, expected, share=0.002):
    """Masks that may differ where a place lies halfway between two voxels, so that rounding decides."""
    assert type(found) is type(expected) is TensorMask3D
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert list(entries(found)) == list(entries(expected))
    assert (plain(found).cpu() != plain(expected)).float().mean() <= share


def image(geometry=BIG, seed=0):
    noise = torch.randn(geometry.shape, generator=torch.Generator().manual_seed(seed))
    return TensorDicom3D(noise * 400 - 100, geometry)


def mask(geometry=BIG, dtype=torch.int64, seed=0):
    labels = torch.randint(0, 4, geometry.shape, generator=torch.Generator().manual_seed(seed))
    return TensorMask3D(labels.to(dtype), geometry)


def gaps(t):
    t = t.clone()
    t[0, 0, 0], t[1, 2, 3], t[2, 2, 2] = torch.nan, torch.inf, -torch.inf
    return t


class TestIntensity:
    VOLUMES = {  # noqa: RUF012
        "whole": lambda: image().round(),
        "float": image,
        "gaps": lambda: gaps(image()),
        "int16": lambda: image().short(),
        "float64": lambda: image().double(),
        "constant": lambda: image() * 0 + 3,
    }
    FUNCTIONS = {  # noqa: RUF012
        "freqhist_bins": freqhist_bins,
        "few bins": lambda t: freqhist_bins(t, 7),
        "hist_scaled": hist_scaled,
        "hist_scaled with breaks": lambda t: hist_scaled(t, [-300.0, 0, 20, 500]),
        "normalize": intensity.normalize,
        "mean_scale": intensity.mean_scale,
        "median_scale": intensity.median_scale,
        "max_scale": intensity.max_scale,
        "divide_by_max": intensity.divide_by_max,
        "divide by a number": lambda t: intensity.divide_by_max(t, 7),
        "window": lambda t: intensity.apply_window(t, "abdomen"),
    }

    @pytest.mark.parametrize("kind", VOLUMES)
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_as_on_the_cpu(self, name, kind):
        t, function = plain(self.VOLUMES[kind]()), self.FUNCTIONS[name]
        check_same(function(there(t)), function(t), atol=2e-6)

    @pytest.mark.parametrize("name", ["hist_scaled", "normalize"])
    def test_in_several_chunks(self, name, monkeypatch):
        t = plain(gaps(image()) + 1e5)
        expected = self.FUNCTIONS[name](t)
        monkeypatch.setattr(_blockwise, "DEVICE_CHUNK", 100)
        check_same(self.FUNCTIONS[name](there(t)), expected, atol=2e-5)

    def test_the_geometry_stays(self):
        t = image()
        check_same(there(t).hist_scaled(), t.hist_scaled(), atol=2e-6)
        check_same(normalize(there(t)), normalize(t))
        check_same(there(t).freqhist_bins(), t.freqhist_bins())

    def test_the_largest_value_becomes_exactly_one(self):
        for seed in range(20):
            t = there(plain(image(seed=seed)))
            assert intensity.max_scale(t).max() == intensity.divide_by_max(t).max() == 1


class TestSpace:
    @pytest.mark.parametrize("size", [(5, 6, 7), (23, 9, 30), (11, 30, 4), (1, 1, 1)])
    def test_resize(self, size):
        check_same(there(image()).resize_3d_tensor(size), image().resize_3d_tensor(size), atol=2e-3)
        check_same(there(mask()).resize_3d_tensor(size), mask().resize_3d_tensor(size))
        channels = plain(image()).expand(2, 3, -1, -1, -1)
        check_same(resize_linear(there(channels), size), resize_linear(channels, size), atol=2e-3)
        check_same(resize_nearest(there(channels), size), resize_nearest(channels, size))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int16, torch.uint8])
    @pytest.mark.parametrize("name", TARGETS)
    def test_resample_like(self, name, dtype):
        t = image().abs().clamp(max=255).to(dtype)
        check_same(there(t).resample_like(TARGETS[name]), t.resample_like(TARGETS[name]), atol=2e-3)
        labels = mask(dtype=dtype)
        check_labels(there(labels).resample_like(TARGETS[name]), labels.resample_like(TARGETS[name]))

    @pytest.mark.parametrize("spacing", [0.7, (2, 2.5, 2.2), 40])
    def test_resample(self, spacing):
        check_same(there(image()).resample(spacing), image().resample(spacing), atol=2e-3)
        check_labels(there(mask()).resample(spacing), mask().resample(spacing))

    @pytest.mark.parametrize("name", TARGETS)
    def test_channels_and_gaps(self, name):
        t = torch.stack([image(), image(seed=1)])
        t[1, 3, 4, 5] = torch.nan
        check_same(there(t).resample_like(TARGETS[name]), t.resample_like(TARGETS[name]), atol=2e-3)

    def test_a_gradient_flows(self):
        t = there(plain(image())).requires_grad_()
        TensorDicom3D(t, BIG).resample_like(TARGETS["turned"]).sum().backward()
        here = plain(image()).requires_grad_()
        TensorDicom3D(here, BIG).resample_like(TARGETS["turned"]).sum().backward()
        torch.testing.assert_close(t.grad.cpu(), here.grad, atol=1e-4, rtol=1e-4)

    def test_what_moves_no_voxel(self):
        for t in (image(), mask()):
            for change in (
                lambda t: crop_3d(t, (1, 2, 3)),
                lambda t: t.pad_or_crop((20, 9, 17)),
                lambda t: t.reorient("RAS"),
                lambda t: strip(t.clamp(min=0)),
            ):
                check_same(change(there(t)), change(t))


NOISY = ("RandomNoise3D", "RandomRicianNoise3D")  # one number for each voxel, drawn where the voxels are


class TestAugment:
    @pytest.mark.parametrize("name", [name for name in NAMES if name not in NOISY])
    def test_batches_as_on_the_cpu_by_the_same_draw(self, name):
        transform, results = make(name), []
        for volumes in (batch(), there(batch())):
            torch.manual_seed(5)
            results.append(transform(volumes, split_idx=0))
        (images, masks), (found_images, found_masks) = results
        check_same(found_images, images, atol=2e-4)
        check_labels(found_masks, masks, share=0.02)

    @pytest.mark.parametrize("name", NOISY)
    def test_noise_is_as_strong_as_on_the_cpu(self, name):
        geometry = Geometry((40, 50, 60))
        images = TensorDicom3D(torch.rand(3, 1, *geometry.shape) * 100, geometry)
        masks = TensorMask3D(torch.ones(3, *geometry.shape), geometry)
        spreads = []
        for volumes in ((images, masks), there((images, masks))):
            torch.manual_seed(5)
            noisy, kept = make(name)(volumes, split_idx=0)
            assert torch.equal(plain(kept).cpu(), plain(masks))
            spreads.append(plain(noisy - volumes[0]).flatten(1).std(1).cpu())
        torch.testing.assert_close(*spreads, rtol=0.02, atol=0)

    @pytest.mark.parametrize("name", [name for name in RANDOM if "p" in inspect.signature(KINDS[name]).parameters])
    def test_items_that_are_not_drawn_stay(self, name):
        images, masks = there(batch())
        images_after, masks_after = make(name, p=0)((images, masks), split_idx=0)
        assert torch.equal(plain(images_after), plain(images))
        assert torch.equal(plain(masks_after), plain(masks))

    def test_a_whole_set_of_them(self):
        torch.manual_seed(0)
        images, masks = there(batch(4))
        for transform in aug_transforms_3d(p_all=0.5, modality="MR", warp=True, perspective=True, rotate=True):
            images, masks = transform((images, masks), split_idx=0)
        assert images.device.type == masks.device.type == torch.device(DEVICE).type
        assert images.isfinite().all()
        assert set(masks.unique().tolist()) <= {0, 1, 3}
        assert [item.geometry for item in images] == [GEOMETRY] * 4

    def test_places_are_exact_where_tensor_cores_round(self):
        """However they were switched on: a place off by parts of a voxel would blur."""
        torch.manual_seed(0)
        count, size = 2, (30, 40, 50)
        warp = Warp.of(
            count, displacement=uniform(-8, 8, count, 3, 5, 5, 5), matrix=RandomAffine3D(1).draw_warp([BIG] * 2).matrix
        )
        frames = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
        expected = sampling_grid(size, frames, warp)
        before = torch.backends.cuda.matmul.fp32_precision
        try:
            for switch in ("tf32", "ieee"):
                torch.backends.cuda.matmul.fp32_precision = switch
                found = sampling_grid(size, frames, warp, DEVICE)
                assert (found.cpu() - expected).abs().max() < 1e-4  # of half a side: 0.0025 voxels
        finally:
            torch.backends.cuda.matmul.fp32_precision = before
        with torch.autocast(torch.device(DEVICE).type, torch.float16):
            assert (sampling_grid(size, frames, warp, DEVICE).cpu() - expected).abs().max() < 2e-3

    def test_a_run_is_repeated_by_its_seed(self):
        done = []
        for _ in range(2):
            torch.manual_seed(3)
            images, masks = there(batch())
            for transform in aug_transforms_3d(p_all=1.0, rician_noise=True):
                images, masks = transform((images, masks), split_idx=0)
            done.append((images, masks))
        assert torch.equal(plain(done[0][0]), plain(done[1][0]))
        assert torch.equal(plain(done[0][1]), plain(done[1][1]))


class TestGeometry:
    @pytest.mark.parametrize(
        "move",
        [
            lambda t: t.to(DEVICE),
            lambda t: t.to(DEVICE, torch.float16),
            lambda t: t.cuda(),
            lambda t: t.to(DEVICE).cpu(),
            lambda t: t.pin_memory().to(DEVICE, non_blocking=True),
            lambda t: t.to(DEVICE).clone().double(),
            lambda t: copy.deepcopy(t.to(DEVICE)),
            lambda t: pickle.loads(pickle.dumps(t.to(DEVICE))),
            lambda t: torch.zeros_like(t, device=DEVICE),
        ],
    )
    def test_moving_to_the_device_and_back_keeps_it(self, move):
        items = torch.stack([world(LOPSIDED, 0), world(OTHER, 0)])
        for t in (image(), mask(), items):
            moved = move(t)
            assert type(moved) is type(t)
            assert list(entries(moved)) == list(entries(t))

    @pytest.mark.parametrize("kind", INPUTS)
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_follows_every_operation_as_on_the_cpu(self, name, kind):
        operate = OPERATIONS[name][0]
        t = INPUTS[kind][0](0)
        expected = operate(t)
        with torch.device(DEVICE):
            found = operate(there(t))
        if isinstance(expected, torch.Tensor):
            expected, found = [expected], [found]
        for one, other in zip(found, expected, strict=True):
            assert type(one) is type(other)
            assert list(entries(one)) == list(entries(other))
            torch.testing.assert_close(plain(one).cpu(), plain(other))

    def test_voxels_chosen_by_a_mask_stay_on_the_device(self):
        t = there(image())
        assert t[t > 0].device == t.device
        t[t > 0] = 0
        assert t.geometry == BIG
        assert t.max() == 0

    def test_repr_says_where_it_is(self):
        assert f"on {DEVICE}" in repr(there(image()))

    def test_saved_and_loaded(self, tmp_path):
        torch.save(there(image()), tmp_path / "t.pt")
        for location in ("cpu", DEVICE):
            back = torch.load(tmp_path / "t.pt", map_location=location)
            assert back.device.type == location
            assert back.geometry == BIG


class TestFilesAndPictures:
    @pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
    def test_save(self, suffix, tmp_path):
        for number, t in enumerate((image(), mask(dtype=torch.uint8))):
            there(t).save(tmp_path / f"{number}{suffix}")
            back = type(t).create(tmp_path / f"{number}{suffix}", dtype=None)
            assert torch.equal(plain(back), plain(t))
            assert back.geometry.agrees(BIG)

    def test_volumes_in_mm3(self):
        assert there(mask()).calc_volume() == mask().calc_volume()

    def test_as_sitk(self):
        assert there(image()).as_sitk().GetSpacing() == BIG.spacing

    def test_create_takes_it_as_it_is(self):
        assert TensorDicom3D.create(there(image())).device.type == torch.device(DEVICE).type
        with pytest.raises(ValueError, match="cannot be held by float32"):
            TensorDicom3D.create(there(mask() + 2**25))

    def test_mosaics_are_those_of_the_cpu(self):
        for t in (image(), mask(), image().half()):
            found = show_image_3d(there(t), axis="coronal", return_grid=True)
            assert torch.equal(found, show_image_3d(t, axis="coronal", return_grid=True))

    def test_drawing(self):
        import matplotlib.pyplot as plt

        t, labels = there(image()), there(mask())
        show_image_3d(t, mask=labels, window="lung", letters=True, slice_numbers=True)
        show_images_3d(torch.stack([t, t]), mask=torch.stack([labels, labels]), max_slices=3)
        labels.show(ctx=t.show(axis="sagittal"))
        labels.render_3d()
        labels.create_mesh_for_classes()
        plt.close("all")

    def test_surface(self):
        vertices, faces = surface(there(mask()), 2)
        expected, _ = surface(mask(), 2)
        np.testing.assert_array_equal(vertices, expected)
        assert len(faces)


LOSSES = (CrossEntropyLoss3D, FocalLoss3D, DiceLoss3D, TverskyLoss3D, DiceCELoss3D)


class TestLossesAndMetrics:
    @pytest.mark.parametrize("kind", LOSSES)
    @pytest.mark.parametrize("weight", [None, (1.0, 2.0, 0.5)])
    def test_value_and_gradient(self, kind, weight):
        torch.manual_seed(0)
        scores, target = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
        grads, values = [], []
        for device in ("cpu", DEVICE):
            x = scores.detach().clone().to(device).requires_grad_()
            given = {} if weight is None else {"weight": torch.tensor(weight)}
            if weight is not None and kind in (CrossEntropyLoss3D, FocalLoss3D):
                given["weight"] = given["weight"].to(device)  # as fastai's losses want it
            value = kind(**given)(x, TensorMask3D(target).to(device))
            value.backward()
            values.append(value.detach().cpu())
            grads.append(x.grad.cpu())
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*grads, atol=1e-6, rtol=1e-4)

    def test_labels_that_are_no_class_are_named(self):
        scores, target = torch.randn(1, 2, 3, 4, 5, device=DEVICE), torch.full((1, 3, 4, 5), 2, device=DEVICE)
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
            DiceCELoss3D()(scores, target)

    def test_half_precision_scores(self):
        scores = torch.randn(1, 2, 3, 4, 5, device=DEVICE)
        target = torch.randint(0, 2, (1, 3, 4, 5), device=DEVICE)
        found = DiceCELoss3D()(scores.half(), target)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, DiceCELoss3D()(scores, target), atol=1e-3, rtol=1e-3)

    def test_surface_distances(self):
        a, b = mask() == 1, mask(seed=1) == 1
        for measure in (hausdorff_distance, average_surface_distance, lambda *args: surface_dice(*args, 2.0)):
            assert measure(there(a), there(b), BIG.spacing) == measure(a, b, BIG.spacing)


SHAPE = (12, 16, 20)
CODES = ["background", "bright", "dark"]


def labels_of(number):
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    labels[2:7, 3:9, 3 + number : 10 + number] = 1
    labels[6:10, 9:14, 11:17] = 2
    return labels


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Table of five images that show their labels, with masks, each on a grid of its own."""
    root, rows = tmp_path_factory.mktemp("cuda"), []
    for number in range(5):
        labels = labels_of(number)
        geometry = Geometry(SHAPE, (1 + 0.1 * number, 1.2, 2), (10 * number, -5, 7), OBLIQUE)
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(number)) * 0.1
        values = torch.tensor([0.0, 1.0, -1.0])[labels.long()] + noise
        row = {"image": f"{root}/image{number}.nii.gz", "mask": f"{root}/mask{number}.nii.gz", "valid": number > 2}
        row["kind"], row["age"] = ("odd", "even")[number % 2], 40.0 + number
        TensorDicom3D(values, geometry).save(row["image"])
        TensorMask3D(labels, geometry).save(row["mask"])
        rows.append(row)
    return pd.DataFrame(rows)


def segmentation(cases, **kwargs):
    given = {
        "item_tfms": [Resample3D((1.2, 1.2, 2)), PadOrCrop3D((12, 16, 24))],
        "batch_tfms": aug_transforms_3d(flip=False, low_resolution=False),
        **{"codes": CODES, "valid_col": "valid", "bs": 2, "num_workers": 0, "device": DEVICE},
    }
    return SegmentationDataLoaders3D.from_df(cases, fn_col="image", label_col="mask", **{**given, **kwargs})


def trained(cases, prepare=lambda learn: learn, epochs=15):
    set_seed(0)
    dls = segmentation(cases, bs=1, val_bs=2)
    net = {"model_args": {"widths": (8, 16)}}
    metrics = [HausdorffDistance95(), AverageSurfaceDistance(), SurfaceDice(2.0)]
    learn = prepare(unet_learner_3d(dls, UNet3D, metrics=metrics, **net))
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, 0.01)
    return learn


class TestTraining:
    @pytest.mark.parametrize("precision", ["to_fp32", "to_fp16", "to_bf16"])
    def test_a_small_net_learns(self, cases, precision):
        learn = trained(cases, lambda learn: getattr(learn, precision)() if precision != "to_fp32" else learn)
        assert next(learn.model.parameters()).device.type == torch.device(DEVICE).type
        loss, hd95, distance, share = learn.recorder.values[-1][1:]
        assert np.isfinite([loss, hd95, distance]).all()
        assert share > 0.9
        assert next(learn.model.parameters()).dtype == torch.float32

    def test_batches_lie_on_the_device_with_their_places(self, cases):
        for pin in (False, True):
            dls = segmentation(cases, num_workers=2, pin_memory=pin, batch_tfms=None)
            images, masks = dls.one_batch()
            assert images.device.type == masks.device.type == torch.device(DEVICE).type
            for images, masks in dls.valid:
                assert type(masks) is TensorMask3D
                for number, one, other in zip((3, 4), images, masks, strict=True):
                    source = TensorDicom3D.create(cases["image"][number])
                    expected = source.resample((1.2, 1.2, 2)).pad_or_crop((12, 16, 24))
                    assert one.geometry.agrees(other.geometry)
                    check_same(one[0], expected, atol=1e-5)

    def test_the_device_of_the_loaders_is_the_default_one(self, cases):
        images, _ = segmentation(cases, device=None).one_batch()
        assert images.device.type == default_device().type
        assert segmentation(cases, device="cpu").cuda().one_batch()[0].device.type == torch.device(DEVICE).type

    def test_pictures_and_predictions(self, cases):
        import matplotlib.pyplot as plt

        learn = trained(cases, epochs=2)
        with learn.no_bar():
            learn.dls.show_batch()
            learn.show_results()
            scores, targets = learn.get_preds()
            assert scores.device.type == targets.device.type == "cpu"
            assert scores.shape == (2, 3, 12, 16, 24)
            assert learn.predict(cases["image"][3])[0].shape == (12, 16, 24)
        plt.close("all")

    @pytest.mark.parametrize("fp16", [False, True])
    def test_classifier(self, cases, fp16):
        dls = ImageDataLoaders3D.from_df(
            cases, fn_col="image", label_col="kind", valid_col="valid", bs=2, num_workers=0, device=DEVICE,
            item_tfms=PadOrCrop3D((12, 16, 20)), batch_tfms=aug_transforms_3d(),
        )  # fmt: skip
        learn = cnn_learner_3d(dls, resnet18_3d, loss_func=CrossEntropyLossFlat())
        learn = learn.to_fp16() if fp16 else learn
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-4)
            scores, _ = learn.get_preds()
            assert learn.predict(cases["image"][3])[0] in ("odd", "even")
        assert scores.shape == (2, 2)
        assert scores.isfinite().all()

    @pytest.mark.filterwarnings("ignore")  # what the compiler has to say of itself
    def test_compiled(self):
        torch.compiler.reset()
        torch.manual_seed(0)
        model, x = UNet3D(1, 3, (4, 8)).to(DEVICE), torch.randn(2, 1, 9, 12, 14, device=DEVICE)
        target = torch.randint(0, 3, (2, 9, 12, 14), device=DEVICE)
        compiled = torch.compile(copy.deepcopy(model))
        torch.testing.assert_close(compiled(x), model(x), atol=1e-4, rtol=1e-3)
        grads = []
        for net in (model, compiled):
            DiceCELoss3D()(net(x), target).backward()
            grads.append(next(net.parameters()).grad)
        torch.testing.assert_close(grads[1], grads[0], atol=1e-4, rtol=1e-2)


@pytest.fixture(scope="module")
def learner(cases):
    return trained(cases, epochs=25)


class TestPrediction:
    def dice(self, found, number):
        found, truth = plain(found), labels_of(number)
        return [2 * ((found == k) & (truth == k)).sum() / ((found == k).sum() + (truth == k).sum()) for k in (1, 2)]

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"patch": (10, 16, 20)},
            {"patch": (12, 14, 20), "tta": (0, 1, 2), "bs": 3},
            {"patch": (12, 16, 19), "memory": 1},
        ],
    )
    @pytest.mark.filterwarnings("ignore:the probabilities of 3 classes would take")
    @pytest.mark.filterwarnings("ignore:the transforms have cut the volume")
    def test_comes_to_the_cpu_on_the_grid_of_the_source(self, learner, cases, arguments):
        found = learner.predict_volume(cases["image"][4], **arguments)
        assert found.device.type == "cpu"
        assert found.geometry == TensorDicom3D.create(cases["image"][4]).geometry
        assert min(self.dice(found, 4)) > 0.7

    def test_a_volume_on_the_device_is_taken_too(self, learner, cases):
        source = TensorDicom3D.create(cases["image"][4])
        found = learner.predict_volume(there(source), patch=(12, 16, 16))
        assert torch.equal(plain(found), plain(learner.predict_volume(source, patch=(12, 16, 16))))

    def test_as_on_the_cpu(self, learner, cases):
        arguments = {"patch": (8, 12, 16), "tta": (0, 2), "probabilities": True}
        _, found = learner.predict_volume(cases["image"][4], **arguments)
        learner.model.cpu()
        try:
            _, expected = learner.predict_volume(cases["image"][4], **arguments)
        finally:
            learner.model.to(DEVICE)
        assert found.device.type == "cpu"
        torch.testing.assert_close(plain(found), plain(expected), atol=1e-3, rtol=1e-3)

    def test_half_precision_model(self, learner, cases):
        expected = learner.predict_volume(cases["image"][4])
        learner.model.half()
        try:
            found = learner.predict_volume(cases["image"][4])
        finally:
            learner.model.float()
        assert (plain(found) == plain(expected)).float().mean() > 0.99

    def test_is_the_same_in_deterministic_mode(self, learner, cases):
        torch.use_deterministic_algorithms(True)
        try:
            first, second = (learner.predict_volume(cases["image"][4], patch=(8, 12, 16), tta=(0, 1, 2)) for _ in "ab")
            for transform in aug_transforms_3d(p_all=1.0):
                transform(there(batch()), split_idx=0)
            there(image()).resample_like(TARGETS["turned"])
            there(image()).hist_scaled()
        finally:
            torch.use_deterministic_algorithms(False)
        assert torch.equal(plain(first), plain(second))

    def test_memory_of_the_device_does_not_hold_all_scores(self, learner):
        grown = []
        for depth in (16, 400):  # one slab, and many
            geometry = Geometry((depth, 128, 128))
            source = TensorDicom3D(torch.randn(geometry.shape), geometry)
            for _ in range(2):  # the first call also finds cuDNN's fastest ways
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                learner.predict_volume(source.resample((1.2, 1.2, 2)), patch=(16, 64, 64), overlap=0.25)
            grown.append(torch.cuda.max_memory_allocated() - before)
        voxels = (200 - 8) * 107 * 107
        assert grown[1] - grown[0] < 4 * voxels * 2  # the volume is there once, the scores would be three more

    def test_folder(self, learner, cases, tmp_path):
        report = learner.predict_folder(list(cases["image"][3:]), tmp_path / "out")
        assert (report["error"] == "").all()
        assert (report["class 1"] > 0).all()

    @pytest.mark.filterwarnings("ignore:.*pickle:UserWarning")  # fastai says so at every load
    def test_export_and_load(self, learner, cases, tmp_path):
        from fastai.learner import load_learner

        expected = learner.predict_volume(cases["image"][4])
        learner.path = tmp_path
        learner.export("model.pkl")
        assert next(learner.model.parameters()).device.type == torch.device(DEVICE).type
        for cpu in (True, False):
            again = load_learner(tmp_path / "model.pkl", cpu=cpu)
            kind = next(again.model.parameters()).device.type
            assert kind == ("cpu" if cpu else torch.device(DEVICE).type)
            assert (plain(again.predict_volume(cases["image"][4])) == plain(expected)).float().mean() > 0.999
            with again.no_bar():
                scores, *_ = again.get_preds(dl=again.dls.test_dl(list(cases["image"][3:])))
            assert scores.isfinite().all()
        again = load_learner(tmp_path / "model.pkl", cpu=True)
        again.model.to(DEVICE)
        assert (plain(again.predict_volume(cases["image"][4])) == plain(expected)).float().mean() > 0.999

    def test_training_goes_on_after_a_prediction(self, learner, cases):
        learner.predict_volume(cases["image"][4])
        assert learner.model.training or not any(module.training for module in learner.model.modules())
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, 0.001)


class TestPlainNetworks:
    def test_convolution_keeps_no_geometry(self):
        t = there(image())[None, None]
        assert F.conv3d(t, torch.ones(1, 1, 2, 2, 2, device=DEVICE)).geometry is None

    def test_a_module_takes_volumes_as_they_are(self):
        net = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.ReLU()).to(DEVICE)
        assert net(there(image())[None, None]).shape == (1, 2, *BIG.shape)
