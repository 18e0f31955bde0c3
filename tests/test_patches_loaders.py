"""From a cache to patches, whole cases and raw scans."""

import gc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cached_cases import CODES, make_cache, volume_and_mask
from fastai.learner import load_learner
from torch import Tensor

import faimed3d.evaluation
from faimed3d.augment import (
    Normalize3D,
    PadOrCrop3D,
    RandomAffine3D,
    RandomCrop3D,
    RandomElastic3D,
    RandomFlip3D,
    RandomNoise3D,
    RandomSpatial3D,
    ZScore3D,
    aug_transforms_3d,
)
from faimed3d.cache import case_file
from faimed3d.models import UNet3D
from faimed3d.patches import PatchDataLoaders3D
from faimed3d.patches.kept_cases import fits
from faimed3d.training import dice_per_class, unet_learner_3d
from faimed3d.training.whole_cases import WholeCases

VALID = [3, 4]
PATCH = (4, 6, 5)
assert faimed3d.evaluation  # gives Learner its evaluate


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("plain"), orientation="LPS")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("scored"), item_tfms=[ZScore3D()])


def loaders(cache, patch=PATCH, **kwargs):
    how = {"valid": VALID, "num_workers": 0, "device": "cpu", **kwargs}
    return PatchDataLoaders3D.from_cache(cache, patch, **how)


def items_of(dls, epochs=1):
    """Patches one by one, as (image, mask)."""
    for _ in range(epochs):
        for images, masks in dls.train:
            yield from zip(images, masks, strict=True)


def learner(dls, **kwargs):
    torch.manual_seed(0)
    return unet_learner_3d(dls, UNet3D, widths=(4, 6), **kwargs)


class TestPatches:
    def test_lie_in_the_patient_where_their_voxels_lie(self, cache):
        cases = [volume_and_mask(number) for number in range(3)]
        torch.manual_seed(0)
        seen = set()
        for image, mask in items_of(loaders(cache, foreground=0.5, length=24)):
            assert image.geometry == mask.geometry
            voxels = image[0].as_subclass(Tensor)
            inside = voxels > (voxels == 1).sum().clamp(max=1)  # the padding is 1, and so is one voxel
            index = np.argwhere(inside.numpy())
            world = image.geometry.index_to_world(index)
            found = False
            for number, (full, labels) in enumerate(cases):
                place = full.geometry.world_to_index(world).round().astype(int)
                if (place >= 0).all() and (place < full.shape).all():
                    same = full.as_subclass(Tensor)[tuple(place.T)] == voxels[inside]
                    if same.all():
                        found = True
                        seen.add(number)
                        assert torch.equal(labels.as_subclass(Tensor)[tuple(place.T)], mask[inside].byte())
            assert found
        assert seen == {0, 1, 2}

    def test_a_smaller_case_lies_in_the_middle_of_its_smallest_value(self, cache):
        dls = loaders(cache, patch=(5, 4, 4), valid=[0, 1, 3, 4], length=2, foreground=0)
        for image, mask in items_of(dls):
            assert (image[0, [0, 4]] == 1).all()
            assert (image[0, 1:4] > 1).all() or (image[0, 1:4] == 1).sum() == 1
            assert (mask[[0, 4]] == 0).all()

    def test_outside_lies_the_label_that_is_none(self, tmp_path):
        for ignored in (255, -1):
            made = make_cache(tmp_path, ignore_index=ignored)
            (tmp_path / "other").mkdir(exist_ok=True)
            dls = loaders(made, patch=(5, 4, 4), valid=[0, 1, 3, 4], length=2, batch_tfms=RandomFlip3D())
            for _, mask in items_of(dls):
                assert (mask[[0, 4]] == ignored).all()
                assert (mask[1:4] >= 0).all()

    @pytest.mark.parametrize("moved", [False, True])
    def test_torch_repeats_a_run_whatever_the_number_of_workers(self, cache, moved):
        tfms = [RandomSpatial3D(RandomAffine3D(), RandomElastic3D(p=0.5)), RandomNoise3D()] if moved else None

        def run(workers):
            dls = loaders(cache, batch_tfms=tfms, num_workers=workers, length=6)
            torch.manual_seed(5)
            return [part for _ in range(2) for batch in dls.train for part in batch], torch.rand(())

        one, after = run(0)
        two, after_two = run(2)
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        assert after == after_two
        assert len({float(part.float().mean()) for part in one[::2]}) == len(one) / 2  # batch by batch other patches

    def test_image_and_mask_move_alike(self, cache):
        tfms = [
            RandomAffine3D(degrees=20, scale=0.2),
            RandomElastic3D(max_displacement=1, control_points=4),
            RandomFlip3D(),
        ]
        dls = loaders(cache, patch=(8, 9, 9), length=20, batch_tfms=tfms, foreground=1)
        dls.train.dataset.cases = [bright(case) for case in dls.train.dataset.cases]
        for image, mask in items_of(dls):
            shown, labels = image[0].as_subclass(Tensor), mask.as_subclass(Tensor)
            agree = ((shown > 0.5) == (labels == 1)).float().mean()
            assert agree > 0.97  # linear at the corners of a box is not nearest

    def test_a_mirrored_patch_is_the_patch_mirrored(self, cache):
        def run(**how):
            torch.manual_seed(2)
            return list(items_of(loaders(cache, length=4, **how)))

        plain = run()
        mirrored = run(batch_tfms=RandomFlip3D(p=1, axis=(-1, -3)))
        for (image, mask), (other, flipped) in zip(plain, mirrored, strict=True):
            assert image.geometry == other.geometry
            assert torch.equal(image.as_subclass(Tensor).flip(1, 3), other.as_subclass(Tensor))
            assert torch.equal(mask.as_subclass(Tensor).flip(0, 2), flipped.as_subclass(Tensor))

    def test_left_and_right_change_places_with_their_labels(self, cache):
        def run(**how):
            torch.manual_seed(2)
            return torch.stack(
                [mask.as_subclass(Tensor) for _, mask in items_of(loaders(cache, foreground=1, length=8, **how))]
            )

        plain = run()
        swapped = run(batch_tfms=RandomFlip3D(p=1, axis=-1, swap_labels={1: 2}))
        assert torch.equal(torch.tensor([0, 2, 1])[plain].flip(-1), swapped)
        assert {1, 2} <= set(swapped.unique().tolist())

    def test_only_what_a_patch_needs_is_read(self, cache, monkeypatch):
        read = []

        def reading(self, corner=(0, 0, 0), size=None, original=case_file.CaseFile.read):
            read.append(tuple(size))
            return original(self, corner, size)

        monkeypatch.setattr(case_file.CaseFile, "read", reading)
        list(items_of(loaders(cache, (2, 3, 4), length=6)))
        assert set(read) == {(2, 3, 4)}
        read.clear()
        list(items_of(loaders(cache, (2, 3, 4), length=6, batch_tfms=RandomAffine3D(degrees=5, scale=0.1))))
        assert max(map(np.prod, read)) < 6 * 2 * 3 * 4

    def test_a_file_is_mapped_once_in_a_process(self, cache, monkeypatch):
        opened = []
        original = case_file.map_arrays
        dls = loaders(cache, length=12)
        dls.train.dataset.cases = [reopened(case) for case in dls.train.dataset.cases]
        monkeypatch.setattr(case_file, "map_arrays", lambda path, *a: opened.append(path) or original(path, *a))
        list(items_of(dls, 3))
        assert sorted(opened) == sorted({case.path for case in dls.train.dataset.cases})

    def test_memory_is_flat(self, cache):
        dls = loaders(cache, length=20, batch_tfms=[RandomAffine3D(), RandomElastic3D()])
        held = []
        for _ in range(3):
            for _ in dls.train:
                pass
            gc.collect()
            held.append(anonymous_memory())
        assert held[2] - held[1] < 3e6


def bright(case):
    """A case that shows 1 where its label is 1."""

    def read(corner, size):
        labels = case.read(corner, size)[1]
        return (labels == 1)[None].astype(np.float32), labels

    return SimpleNamespace(
        read=read, lowest=(0.0,), shape=case.shape, geometry=case.geometry, labels=(0, 1), positions=case.positions
    )


def reopened(case):
    """As another process gets it."""
    function, arguments = case.__reduce__()
    return function(*arguments)


def anonymous_memory():
    """Bytes of this process that are no map of a file (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not say how much memory a process holds")
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("RssAnon"))


class TestTransforms:
    def test_of_intensities_act_in_the_workers_of_a_cpu_and_on_batches_of_a_gpu(self, cache):
        tfms = [RandomFlip3D(), RandomNoise3D(), Normalize3D(1, 2)]
        names = [type(step).__name__ for step in loaders(cache, batch_tfms=tfms).train.after_item.fs]
        assert "RandomNoise3D" in names
        assert "Normalize3D" not in names
        dls = loaders(cache, batch_tfms=tfms)
        assert [type(step).__name__ for step in dls.valid.after_batch.fs] == [
            "ToLabels",
            "RandomNoise3D",
            "Normalize3D",
        ]

    def test_validation_is_of_whole_cases_as_they_lie_in_the_cache(self, cache):
        dls = loaders(cache, batch_tfms=aug_transforms_3d(p_all=1))
        assert len(dls.valid) == 2
        for number, (image, mask) in zip(VALID, dls.valid, strict=True):
            full, labels = volume_and_mask(number)
            assert torch.equal(image[0, 0].as_subclass(Tensor), full.as_subclass(Tensor))
            assert torch.equal(mask[0].as_subclass(Tensor), labels.as_subclass(Tensor).long())
            assert image[0].geometry.agrees(full.geometry)

    @pytest.mark.parametrize(
        ("tfms", "text"),
        [
            (RandomCrop3D(4), r"cut already: leave RandomCrop3D out"),
            ([ZScore3D()], r"ZScore3D would scale each patch by its own values: .*item_tfms of the cache"),
            ([RandomAffine3D(fill=3), RandomElastic3D(fill="edge")], r"in one way, got \['3', 'edge'\]"),
            ([RandomElastic3D(), RandomElastic3D()], "takes one elastic part"),
        ],
    )
    def test_that_do_not_suit_patches_are_refused(self, cache, tfms, text):
        with pytest.raises(ValueError, match=text):
            loaders(cache, batch_tfms=tfms)


class TestRefused:
    @pytest.mark.parametrize(
        ("how", "text"),
        [
            ({"foreground": 1.5}, "foreground must be a share from 0 to 1, got 1.5"),
            ({"foreground": "a third"}, "foreground must be a share from 0 to 1, got 'a third'"),
            ({"bs": 0}, "at least one batch of bs=0, .* whole numbers from 1 on"),
            ({"bs": 1.5}, "at least one batch of bs=1.5, .* whole numbers from 1 on"),
            ({"length": 2.5}, "length=2.5 patches .* whole numbers from 1 on"),
            ({"valid": [5]}, r"rows of the cache, each once, from 0 to 4; got \[5\]"),
            ({"valid": [1, 1]}, r"each once, from 0 to 4; got \[1, 1\]"),
            ({"valid": range(5)}, "all 5 cases are in validation"),
            ({"length": 1}, r"length=1 patches must have at least one batch of bs=2"),
            ({"valid_overlap": 1}, "overlap must be a share"),
            ({"patch": 0}, "patch must be"),
        ],
    )
    def test_arguments(self, cache, how, text):
        with pytest.raises(ValueError, match=text):
            loaders(cache, **how)

    @pytest.mark.parametrize("valid", [3, None, "1", [True, False]])
    def test_what_names_no_rows(self, cache, valid):
        with pytest.raises(TypeError, match="valid must be numbers of rows of the cache, got"):
            loaders(cache, valid=valid)

    def test_a_keyword_that_nobody_takes(self, cache):
        with pytest.raises(TypeError, match="did you mean 'foreground'"):
            PatchDataLoaders3D.from_cache(cache, PATCH, foregrund=1)


@pytest.fixture(scope="module")
def trained(scored):
    dls = loaders(scored, length=4)
    learn = learner(dls, metrics=dice_per_class(dls))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
    return learn


class TestLearners:
    def test_dice_of_validation_is_that_of_the_scans(self, trained):
        with trained.no_bar(), trained.no_logging():
            dice = trained.validate()[1]
            table = trained.evaluate()
        assert table["error"].eq("").all()
        assert dice == pytest.approx(table["dice"].mean(), abs=1e-6)
        assert list(table["case"].unique()) == ["image3", "image4"]

    def test_classes_and_what_was_done_in_the_cache_are_known(self, trained, scored):
        known = trained.trained_on
        assert known.classes == tuple(CODES)
        assert known.scaling == ("ZScore3D(foreground=None)",)
        assert known.orientation == scored[0].geometry.orientation
        assert known.mean is None
        for dl in trained.dls.loaders:
            assert not any(isinstance(step, Normalize3D) for step in dl.after_batch.fs)
        raw = trained.dls.scans.one_batch()[0]
        torch.testing.assert_close(raw[0].as_subclass(Tensor), scored[3].whole()[0].as_subclass(Tensor))

    def test_windows_are_those_of_training_also_after_export(self, trained, tmp_path):
        trained.path = tmp_path
        trained.export("learner.pkl")
        with pytest.warns(UserWarning, match="pickle"):
            loaded = load_learner(tmp_path / "learner.pkl")
        source = trained.dls.cache.table["image"][3]
        found = trained.predict_volume(source, progress=False)
        assert torch.equal(found, trained.predict_volume(source, PATCH, progress=False))
        assert torch.equal(found, loaded.predict_volume(source, progress=False))
        assert b"image3" not in (tmp_path / "learner.pkl").read_bytes()

    def test_bring_whole_cases_unless_given(self, scored):
        dls = loaders(scored)
        assert learner(dls).whole_cases.windows == 2
        own = learner(dls, cbs=WholeCases(3, overlap=0))
        assert [cb.overlap for cb in own.cbs if isinstance(cb, WholeCases)] == [0]

    def test_mean_and_std_are_those_of_whole_cases(self, cache):
        known = learner(loaders(cache)).trained_on
        values = torch.cat([cache[row].whole()[0].flatten().as_subclass(Tensor) for row in range(3)])
        assert known.mean == pytest.approx((values.mean().item(),), rel=1e-5)
        assert known.std == pytest.approx((values.std().item(),), rel=1e-5)

    def test_patches_are_not_scaled_by_their_own_foreground(self, cache):
        with pytest.raises(ValueError, match=r"loaders give patches: put ZScore3D\('minimum'\) into the item_tfms"):
            learner(loaders(cache), normalize="volume")

    def test_numbers_of_the_cache_are_not_applied_twice(self, tmp_path):
        made = make_cache(tmp_path, item_tfms=[Normalize3D(500, 300)])
        learn = learner(loaders(made))
        assert learn.trained_on.mean == (500,)
        for dl in learn.dls.loaders[:2]:
            assert not any(isinstance(step, Normalize3D) for step in dl.after_batch.fs)
        assert learn.dls.valid.one_batch()[0].max() < 10

    def test_a_cache_in_another_order_is_refused(self, cache, tmp_path):
        learn = learner(loaders(cache))
        other = loaders(make_cache(tmp_path, orientation="RAS"))
        with pytest.raises(ValueError, match=r"trained on scans stored LPS, .* are stored RAS: .*orientation='LPS'"):
            learn.dls = other

    def test_other_scans_go_through_the_steps_of_the_cache(self, tmp_path):
        made = make_cache(tmp_path, item_tfms=[PadOrCrop3D((8, 8, 8)), ZScore3D()])
        dls = loaders(made)
        batch = dls.test_dl([made.table["image"][0]], num_workers=0).one_batch()
        torch.testing.assert_close(batch[0][0].as_subclass(Tensor), made[0].whole()[0].as_subclass(Tensor))


class TestOnADevice:
    def test_patches_are_those_of_the_files(self, cache, tmp_path):
        tfms = [RandomSpatial3D(RandomAffine3D(p=0.6), RandomElastic3D(p=0.5)), RandomFlip3D()]
        for made in (cache, make_cache(tmp_path, bricks=4, item_tfms=[ZScore3D()])):
            how = {"patch": (5, 6, 4), "length": 12, "batch_tfms": tfms, "bs": 3, "foreground": 0.5}
            found = []
            for kept in (False, True):
                torch.manual_seed(4)
                found.append([part for batch in loaders(made, on_device=kept, **how).train for part in batch])
            for one, two in zip(*found, strict=True):
                assert type(one) is type(two)
                assert one.dtype == two.dtype
                torch.testing.assert_close(one.as_subclass(Tensor), two.as_subclass(Tensor), atol=1e-3, rtol=1e-4)
                assert [item.geometry for item in one] == [item.geometry for item in two]

    def test_it_is_said_where_they_are(self, cache):
        assert loaders(cache).place.startswith("made by workers from the files of 3 cases, ")
        dls = loaders(cache, on_device=True)
        assert dls.place.startswith("made on cpu, which keeps 3 cases, ")
        assert dls.train.num_workers == 1  # fastai's way to say none
        learn = learner(dls)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)

    def test_a_gpu_keeps_what_fits_into_half_of_its_free_memory(self, cache, monkeypatch):
        cases = [cache[0], cache[1]]
        total = sum(Path(case.path).stat().st_size for case in cases)
        for free, kept in ((2 * total, True), (2 * total - 1, False)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 9 * free))
            assert fits(cases, torch.device("cuda:0")) is kept
        assert not fits(cases, torch.device("cpu"))
