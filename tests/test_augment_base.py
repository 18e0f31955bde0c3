"""What holds for every transform of the package: who is touched, who is not, and what a draw is."""

import pickle
import warnings

import pytest
import torch
from fastai.data.core import Datasets, TfmdDL
from hypothesis import given, settings
from hypothesis import strategies as st
from transforms import (
    FIXED,
    GEOMETRY,
    GRID,
    INTENSITY,
    KINDS,
    MASK_EDITING,
    MOVING,
    NAMES,
    RANDOM,
    batch,
    item,
    make,
    plain,
)

from faimed3d import augment
from faimed3d.augment import (
    IntensityTransform3D,
    RandomTransform3D,
    SpatialTransform3D,
)
from faimed3d.augment.base import count_items
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D


class TestEveryTransform:
    def test_belongs_to_one_kind(self):
        assert sorted(INTENSITY + MASK_EDITING + MOVING + GRID) == NAMES

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("channels", [None, 2])
    def test_takes_items_and_keeps_types(self, name, channels):
        image, mask = make(name)(item(channels), split_idx=0)
        assert type(image) is TensorDicom3D
        assert type(mask) is TensorMask3D
        assert image.ndim == (3 if channels is None else 4)
        assert image.shape[-3:] == mask.shape
        assert image.geometry is not None
        assert image.geometry.agrees(mask.geometry)

    @pytest.mark.parametrize("name", NAMES)
    def test_takes_batches(self, name):
        image, mask = make(name)(batch(2), split_idx=0)
        assert image.shape[:2] == (2, 1)
        assert mask.shape == (2, *image.shape[2:])
        assert image[1].geometry is not None

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("whole", [False, True])
    def test_leaves_its_input_as_it_was(self, name, whole):
        image, mask = batch(2) if whole else item()
        before = plain(image).clone(), plain(mask).clone()
        make(name)((image, mask), split_idx=0)
        assert torch.equal(plain(image), before[0])
        assert torch.equal(plain(mask), before[1])
        assert (image[0, 0] if whole else image).geometry == GEOMETRY

    @pytest.mark.parametrize("name", NAMES)
    def test_passes_what_is_no_volume(self, name):
        _, target, text = make(name)((item()[0], 7, "a"), split_idx=0)
        assert (target, text) == (7, "a")

    @pytest.mark.parametrize("name", NAMES)
    def test_shows_its_settings_and_survives_pickling(self, name):
        transform = pickle.loads(pickle.dumps(make(name)))
        assert name in repr(transform)
        transform(item(), split_idx=0)

    @pytest.mark.parametrize("name", INTENSITY)
    @pytest.mark.parametrize("whole", [False, True])
    def test_of_intensity_leaves_masks_alone_and_changes_images(self, name, whole):
        image, mask = batch(2) if whole else item()
        if name == "FillNaN3D":
            image[..., 0, 0, 0] = torch.inf
        changed, same = make(name)((image, mask), split_idx=0)
        assert torch.equal(plain(same), plain(mask))
        assert not torch.equal(plain(changed), plain(image))

    @pytest.mark.parametrize("name", MASK_EDITING)
    def test_of_labels_leaves_images_alone_and_keeps_the_type(self, name):
        image, mask = item()
        same, changed = make(name)((image, mask), split_idx=1)
        assert torch.equal(plain(same), plain(image))
        assert changed.dtype == mask.dtype
        assert not torch.equal(plain(changed), plain(mask))

    @pytest.mark.parametrize("name", MOVING + GRID)
    @settings(max_examples=4, deadline=None)
    @given(labels=st.lists(st.integers(-3, 300), min_size=2, max_size=4, unique=True), seed=st.integers(0, 10**6))
    def test_of_space_invents_no_label(self, name, labels, seed):
        torch.manual_seed(seed)
        image, mask = item(labels=labels, seed=seed)
        moved = make(name)((image, mask), split_idx=0)[1]
        assert moved.dtype == mask.dtype
        assert set(plain(moved).unique().tolist()) <= {0, *labels}


class TestRandomTransforms:
    @pytest.mark.parametrize("name", RANDOM)
    def test_do_nothing_in_validation(self, name):
        image, mask = item()
        state = torch.get_rng_state()
        result = make(name)((image, mask), split_idx=1)
        assert result[0] is image
        assert result[1] is mask
        assert torch.equal(state, torch.get_rng_state())

    @pytest.mark.parametrize("name", RANDOM)
    def test_draw_for_each_item_of_a_batch(self, name):
        torch.manual_seed(3)
        image, _ = make(name)(batch(8, same=True), split_idx=0)
        assert any(not torch.equal(plain(image[0]), plain(one)) for one in image[1:])

    @pytest.mark.parametrize("name", RANDOM)
    def test_repeat_with_the_seed(self, name):
        results = []
        for _ in range(2):
            torch.manual_seed(5)
            results.append(make(name)(batch(2), split_idx=0))
        assert torch.equal(plain(results[0][0]), plain(results[1][0]))
        assert torch.equal(plain(results[0][1]), plain(results[1][1]))

    @pytest.mark.parametrize("name", [n for n in RANDOM if n not in ("RandomFlip3D", "RandomSpatial3D")])
    def test_change_as_many_items_as_p_says(self, name):
        torch.manual_seed(0)
        assert KINDS[name](p=0)(images := batch(2), split_idx=0)[0] is images[0]
        image, _ = KINDS[name](p=0.5)(batch(40, same=True), split_idx=0)
        changed = sum(not torch.equal(plain(one), plain(item(1)[0])) for one in image)
        assert 5 < changed < 35

    @pytest.mark.parametrize("name", RANDOM)
    def test_hold_nothing_of_a_patient_afterwards(self, name):
        transform = make(name)
        before = len(pickle.dumps(transform))
        transform(batch(2), split_idx=0)
        assert len(pickle.dumps(transform)) < before + 100

    def test_refuse_a_p_that_is_no_probability(self):
        with pytest.raises(ValueError, match=r"p must be a probability in 0\.\.1, got 1\.5"):
            augment.RandomNoise3D(p=1.5)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_draw_other_numbers_in_every_worker(self, workers):
        class Training(list):
            split_idx = 0

        volumes = Training((TensorDicom3D(torch.arange(27.0).view(3, 3, 3)),) for _ in range(4))
        loader = TfmdDL(volumes, bs=1, num_workers=workers, after_item=[augment.RandomNoise3D(1)], device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork in a threaded process
            epochs = [[tuple(image.flatten().tolist()) for (image,) in loader] for _ in range(2)]
        assert len(set(epochs[0] + epochs[1])) == 8


class TestFixedTransforms:
    @pytest.mark.parametrize("name", FIXED)
    def test_treat_training_and_validation_alike(self, name):
        transform, state = make(name), torch.get_rng_state()
        train, valid = transform(item(), split_idx=0), transform(item(), split_idx=1)
        assert torch.equal(plain(train[0]), plain(valid[0]))
        assert torch.equal(plain(train[1]), plain(valid[1]))
        assert torch.equal(state, torch.get_rng_state())


class TestOwnTransforms:
    def test_with_encodes_leave_masks_alone(self):
        class Invert(IntensityTransform3D):
            def encodes(self, x: TensorDicom3D):
                return -x

        image, mask = item()
        inverted, same = Invert()((image, mask), split_idx=0)
        assert torch.equal(plain(inverted), -plain(image))
        assert same is mask

    def test_with_untyped_encodes_leave_masks_alone(self):
        class Invert(IntensityTransform3D):
            def encodes(self, x):
                return -x

        image, mask = item()
        inverted, same = Invert()((image, mask), split_idx=0)
        assert torch.equal(plain(inverted), -plain(image))
        assert same is mask

    def test_without_apply_say_what_is_missing(self):
        class Nothing(IntensityTransform3D):
            pass

        with pytest.raises(NotImplementedError, match=r"Nothing must define apply\(self, x, \*\*drawn\)"):
            Nothing()(item(), split_idx=0)

    def test_without_draw_warp_say_what_is_missing(self):
        class Still(SpatialTransform3D):
            pass

        with pytest.raises(NotImplementedError, match=r"Still must define draw_warp\(self, geometries\)"):
            Still()(item(), split_idx=0)


class TestItemOrBatch:
    @pytest.mark.parametrize(
        ("shapes", "count"),
        [
            ({"image": (2, 3, 4)}, None),
            ({"image": (5, 2, 3, 4)}, None),
            ({"image": (6, 1, 2, 3, 4)}, 6),
            ({"mask": (2, 3, 4)}, None),
            ({"mask": (6, 2, 3, 4)}, 6),
            ({"mask": (6, 1, 2, 3, 4)}, 6),
            ({"image": (5, 2, 3, 4), "mask": (5, 2, 3, 4)}, None),
            ({"mask": (2, 3, 4), "image": (1, 2, 3, 4)}, None),
        ],
    )
    def test_is_decided_by_the_first_image(self, shapes, count):
        kinds = {"image": TensorDicom3D, "mask": TensorMask3D}
        assert count_items([kinds[kind](torch.zeros(shape)) for kind, shape in shapes.items()]) == count

    def test_a_batch_whose_mask_has_other_items_is_refused(self):
        image, mask = batch(3)
        with pytest.raises(ValueError, match=r"a batch of 3 items holds a TensorMask3D of shape \(2, 5, 6, 8\)"):
            augment.RandomFlip3D()((image, mask[:2]), split_idx=0)

    def test_geometries_come_from_each_item(self):
        class Look(RandomTransform3D):
            def draw(self, geometries):
                self.seen = geometries
                return {}

            def apply(self, x):
                return x

        coarse = TensorDicom3D(torch.zeros(1, *GEOMETRY.shape), GEOMETRY.replace(spacing=(4, 4, 4)))
        look = Look()
        look((torch.stack([item(1)[0], coarse]),), split_idx=0)
        assert [geometry.spacing for geometry in look.seen] == [(1, 2, 3), (4, 4, 4)]
        bare = item()[0]
        bare = bare.roll(1, 0)
        assert bare.geometry is None
        look((bare,), split_idx=0)
        assert look.seen == [Geometry(GEOMETRY.shape, assumed="all")]


class TestInDataLoaders:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_training_varies_and_validation_does_not(self, workers):
        datasets = Datasets(range(4), [[_image], [_mask]], splits=[[0, 1], [2, 3]])
        dls = datasets.dataloaders(
            bs=2,
            after_item=[augment.RandomCrop3D((4, 5, 6)), augment.ReduceClasses([3])],
            after_batch=[augment.Normalize3D(1, 2), *augment.aug_transforms_3d(p_all=1)],
            num_workers=workers,
            device="cpu",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork in a threaded process
            train, valid = ([list(dl).pop() for _ in range(2)] for dl in dls)
        for image, mask in (*train, *valid):
            assert image.shape == (2, 1, 4, 5, 6)
            assert mask.shape == (2, 4, 5, 6)
            assert type(mask) is TensorMask3D
            assert mask.dtype == torch.int64
            assert set(mask.unique().tolist()) <= {0, 1}
        assert not torch.equal(plain(train[0][0]), plain(train[1][0]))
        assert torch.equal(plain(valid[0][0]), plain(valid[1][0]))
        centre = plain(item(1, seed=2)[0])[:, 0:4, 0:5, 1:7]
        torch.testing.assert_close(plain(valid[0][0])[0], (centre - 1) / 2)


def _image(seed):
    return item(1, seed=seed)[0]


def _mask(seed):
    return item(1, seed=seed)[1]
