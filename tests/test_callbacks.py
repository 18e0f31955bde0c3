"""Callbacks inside real, tiny trainings: with masks, with classes, with several inputs."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.learner import Learner, load_learner
from fastai.torch_core import set_seed
from torch import nn

from faimed3d.augment import ResampleLike
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, MaskBlock3D
from faimed3d.geometry import Geometry
from faimed3d.models import UNet3D
from faimed3d.training import (
    HausdorffDistance95,
    MixSubvol,
    ReloadBestFit,
    SplitVolumes,
    StackVolumes,
    SubsampleShuffle,
    unet_learner_3d,
)
from faimed3d.training.subvolumes import join_parts, split_parts

SHAPE = (5, 6, 9)
GRID = Geometry(SHAPE, spacing=(1, 2, 3), origin=(-7, 11, 5))
COUNT = 6


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Volumes of two sequences whose voxels are 1 or more where the mask is 1; the class is the side of the box."""
    root, random, rows = tmp_path_factory.mktemp("callbacks"), np.random.default_rng(0), []
    for number in range(COUNT):
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:4, 1:5, (5 if number % 2 else 0) : (9 if number % 2 else 4)] = 1
        row = {"mask": f"{root}/mask{number}.nii.gz", "side": "LR"[number % 2]}
        TensorMask3D(mask, GRID).save(row["mask"])
        for name in ("t1", "t2"):
            row[name] = f"{root}/{name}{number}.nii.gz"
            TensorDicom3D(random.normal(0, 0.1, SHAPE).astype(np.float32) + mask, GRID).save(row[name])
        rows.append(row)
    return pd.DataFrame(rows)


def loaders(table, block=None, bs=2, columns=("t1",), **kwargs):
    blocks = [ImageBlock3D for _ in columns]
    block = block or MaskBlock3D(["background", "box"])
    data = DataBlock(
        (*blocks, block), getters=[*map(ColReader, columns), ColReader("side" if block is CategoryBlock else "mask")],
        n_inp=len(columns), splitter=IndexSplitter([4, 5]), **kwargs,
    )  # fmt: skip
    return data.dataloaders(table, bs=bs, num_workers=0)


class Watch(Callback):
    """Note what the network gets and gives, and what the loss sees."""

    order = 100

    def before_fit(self):
        self.seen = []

    def before_batch(self):
        self.came = [tuple(x.shape) for x in (*self.xb, *self.yb)]

    def after_loss(self):
        self.seen.append((self.training, self.came, tuple(self.learn.pred.shape), tuple(self.learn.yb[0].shape)))


class Classifier(nn.Module):
    """Scores of two classes from the means of two halves of what it sees."""

    def __init__(self, n_in=1):
        super().__init__()
        self.conv, self.head = nn.Conv3d(n_in, 4, 3, padding=1), nn.Linear(4 * 2, 2)

    def forward(self, x):
        return self.head(nn.functional.adaptive_avg_pool3d(self.conv(x).relu(), (1, 1, 2)).flatten(1))


def learner(dls, cbs, model=None, metrics=None):
    set_seed(0)
    return Learner(dls, model or UNet3D(1, 2, widths=(4, 6)), cbs=[*cbs, Watch()], metrics=metrics, train_bn=False)


def fit(learn, epochs=1, lr=1e-2):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, lr)
    return learn


class TestParts:
    @pytest.mark.parametrize("lead", [(2,), (2, 3), (1, 2, 2)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
    def test_are_the_blocks_of_the_volume_in_order(self, lead, dtype):
        x = torch.arange(torch.Size(lead).numel() * 4 * 6 * 3).reshape(*lead, 4, 6, 3).to(dtype)
        parts = split_parts(x, (2, 3, 1))
        assert parts.shape == (6 * lead[0], *lead[1:], 2, 2, 3)
        places = itertools.product(range(lead[0]), range(2), range(3))
        for part, (item, d, h) in zip(parts, places, strict=True):
            assert torch.equal(part, x[item, ..., 2 * d : 2 * d + 2, 2 * h : 2 * h + 2, :])
        assert torch.equal(join_parts(parts, (2, 3, 1)), x)

    def test_repeat_the_last_voxel_where_a_side_is_no_multiple(self):
        x = torch.arange(5).reshape(1, 1, 1, 5)
        parts = split_parts(x, (1, 1, 2))
        assert parts.flatten().tolist() == [0, 1, 2, 3, 4, 4]
        assert torch.equal(join_parts(parts, (1, 1, 2))[..., :5], x)


class TestNumberOfParts:
    @pytest.mark.parametrize(("count", "depth", "counts"), [
        (1, True, (1, 1, 1)), (8, True, (2, 2, 2)), (64, True, (4, 4, 4)), (125, True, (5, 5, 5)),
        (8 * 27, True, (6, 6, 6)), (4, False, (1, 2, 2)), (9, False, (1, 3, 3)),
    ])  # fmt: skip
    @pytest.mark.parametrize("kind", [SplitVolumes, SubsampleShuffle, MixSubvol])
    def test_is_a_whole_root(self, kind, count, depth, counts):
        assert kind(n_subvol=count, split_along_depth=depth).counts == counts

    def test_or_refused(self):
        with pytest.raises(ValueError, match=r"must be a cube \(1, 8, 27, ...\) with split_along_depth=True, got 9"):
            SplitVolumes(9)
        with pytest.raises(ValueError, match=r"must be a square \(1, 4, 9, ...\) with split_along_depth=False, got 8"):
            MixSubvol(n_subvol=8, split_along_depth=False)
        with pytest.raises(ValueError, match="cube"):
            SubsampleShuffle(n_subvol=0)


class TestSplitVolumes:
    def test_the_network_sees_parts_and_the_loss_whole_masks(self, table):
        learn = fit(learner(loaders(table), [SplitVolumes()]))
        assert len(learn.watch.seen) == 3
        for _, came, pred, target in learn.watch.seen:
            assert came == [(16, 1, 3, 3, 5), (2, *SHAPE)]
            assert pred == (2, 2, *SHAPE)
            assert target == (2, *SHAPE)

    def test_with_classes_scores_are_the_mean_of_the_parts(self, table):
        dls = loaders(table, CategoryBlock)
        learn = fit(learner(dls, [SplitVolumes(4, split_along_depth=False)], Classifier()))
        assert all(pred == (2, 2) for _, _, pred, _ in learn.watch.seen)
        x = dls.valid.one_batch()[0].as_subclass(torch.Tensor)
        with torch.no_grad():
            parts = learn.model.eval()(split_parts(x, (1, 2, 2)))
        with learn.no_bar(), learn.no_logging():
            found, _ = learn.get_preds(act=lambda scores: scores)
        torch.testing.assert_close(found, torch.stack([parts[:4].mean(0), parts[4:].mean(0)]))

    def test_a_network_of_single_voxels_gives_the_same_with_and_without(self, table):
        model = nn.Sequential(nn.Conv3d(1, 4, 1), nn.ReLU(), nn.Conv3d(4, 2, 1))
        dls = loaders(table, bs=1)
        plain = fit(learner(dls, [], copy.deepcopy(model)), 0)
        split = fit(learner(dls, [SplitVolumes()], copy.deepcopy(model)), 0)
        with plain.no_bar(), plain.no_logging(), split.no_bar(), split.no_logging():
            torch.testing.assert_close(split.get_preds(with_loss=True)[2], plain.get_preds(with_loss=True)[2])
            torch.testing.assert_close(split.validate(), plain.validate())
        set_seed(1)
        one = fit(plain)
        set_seed(1)
        other = fit(split)
        for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=0)  # Adam enlarges what rounding makes

    def test_learns(self, table):
        learn = fit(learner(loaders(table), [SplitVolumes()]), 15)
        losses = [row[1] for row in learn.recorder.values]
        assert losses[-1] < losses[0] / 2

    def test_metrics_in_mm_know_where_the_volumes_lie(self, table):
        learn = unet_learner_3d(
            loaders(table), UNet3D, model_args={"widths": (4, 6)}, cbs=SplitVolumes(), metrics=HausdorffDistance95()
        )
        with learn.no_bar(), learn.no_logging():
            assert len(learn.validate()) == 2

    def test_holds_no_volume_after_its_batch_and_is_exported(self, table, tmp_path):
        learn = fit(learner(loaders(table), [SplitVolumes()]))
        assert learn.split_volumes._whole is None
        learn.remove_cb(Watch)
        learn.path = tmp_path
        learn.export("model.pkl")
        with pytest.warns(UserWarning, match=r"load_learner.*pickle"):
            assert load_learner(tmp_path / "model.pkl").split_volumes.counts == (2, 2, 2)

    def test_refuses_several_inputs_and_scores_of_another_size(self, table):
        with pytest.raises(ValueError, match=r"SplitVolumes takes one input .* StackVolumes joins several"):
            fit(learner(loaders(table, columns=("t1", "t2")), [SplitVolumes()]))
        shrinking = nn.Conv3d(1, 2, 3, padding=1, stride=2)
        with pytest.raises(
            ValueError, match=r"part has \(3, 3, 5\) voxels, but the network gave scores of \(2, 2, 3\)"
        ):
            fit(learner(loaders(table), [SplitVolumes()], shrinking))


class TestSubsampleShuffle:
    def test_trains_on_a_share_of_the_parts_and_validates_whole_volumes(self, table):
        learn = fit(learner(loaders(table), [SubsampleShuffle(p=0.25)]))
        for training, came, pred, target in learn.watch.seen:
            if training:
                assert came == [(4, 1, 3, 3, 5), (4, 3, 3, 5)]
                assert pred == (4, 2, 3, 3, 5)
            else:
                assert came == [(16, 1, 3, 3, 5), (2, *SHAPE)]
                assert (pred, target) == ((2, 2, *SHAPE), (2, *SHAPE))

    def test_images_and_masks_stay_together(self, table):
        pairs = []

        class Check(Callback):
            order = 50

            def before_batch(self):
                pairs.append((self.xb[0][:, 0] > 0.5, self.yb[0] > 0))

        fit(learner(loaders(table), [SubsampleShuffle(p=0.5), Check()]))
        for bright, inside in pairs[:2]:
            assert inside.any()
            assert torch.equal(bright, inside)

    def test_a_part_has_the_class_of_its_volume(self, table):
        pairs = []

        class Check(Callback):
            order = 50

            def before_batch(self):
                if self.training:
                    pairs.append((self.xb[0], self.yb[0]))

        dls = loaders(table, CategoryBlock, bs=4)
        learn = fit(learner(dls, [SubsampleShuffle(p=1, n_subvol=4, split_along_depth=False), Check()], Classifier()))
        (parts, labels), = pairs  # fmt: skip
        assert sorted(labels.tolist()) == [0] * 8 + [1] * 8
        for number in range(4):
            image = TensorDicom3D.create(table["t1"][number]).as_subclass(torch.Tensor)[None, None]
            label = dls.vocab.o2i[table["side"][number]]
            for part in split_parts(image, (1, 2, 2)):
                same = [k for k in range(16) if torch.equal(parts[k], part)]
                assert labels[same].tolist() == [label]
        assert learn.watch.seen[-1][2] == (2, 2)

    def test_at_least_one_part_is_seen(self, table):
        learn = fit(learner(loaders(table, bs=1), [SubsampleShuffle(p=0.01)]))
        assert learn.watch.seen[0][1] == [(1, 1, 3, 3, 5), (1, 3, 3, 5)]

    @pytest.mark.parametrize("p", [0, 1.5])
    def test_refuses_what_is_no_share(self, p):
        with pytest.raises(ValueError, match=f"p must be a share above 0 and up to 1, got {p}"):
            SubsampleShuffle(p=p)


class TestMixSubvol:
    def batches(self, table, block=None, model=None, **kwargs):
        pairs = []

        class Check(Callback):
            order = 50

            def before_batch(self):
                pairs.append((self.training, self.xb[0], self.yb[0]))

        fit(learner(loaders(table, block, bs=4), [MixSubvol(**kwargs), Check()], model))
        return pairs

    def test_images_and_masks_change_places_together(self, table):
        (training, images, masks), (validating, *untouched) = self.batches(table, p=1)
        assert (training, validating) == (True, False)
        assert images.shape == (4, 1, *SHAPE)
        assert torch.equal(images[:, 0] > 0.5, masks > 0)
        originals = [TensorMask3D.create(file).long() for file in table["mask"]]
        assert not any(torch.equal(masks[0], original) for original in originals)
        assert sum(int(mask.sum()) for mask in masks) == sum(int(mask.sum()) for mask in originals[:4])
        assert torch.equal(untouched[1], torch.stack(originals[4:]))

    def test_what_is_over_stays_in_its_place(self, table):
        (_, images, _), _ = self.batches(table, p=1)
        firsts = torch.stack([TensorDicom3D.create(file).as_subclass(torch.Tensor) for file in table["t1"][:4]])
        for edge in (images[:, 0, -1], images[:, 0, :, :, -1]):
            rows = {tuple(item.flatten().tolist()) for item in edge}
            same = firsts[:, -1] if edge.shape[1:] == SHAPE[1:] else firsts[..., -1]
            assert rows == {tuple(item.flatten().tolist()) for item in same}

    def test_parts_stay_in_their_volume_where_it_has_a_class(self, table):
        (_, images, labels), _ = self.batches(table, CategoryBlock, Classifier(), p=1)
        for image, label in zip(images, labels, strict=True):
            values = sorted(image.flatten().tolist())
            for number in range(4):
                original = TensorDicom3D.create(table["t1"][number]).flatten().tolist()
                if sorted(original) == values:
                    assert "LR"[int(label)] == table["side"][number]
                    assert image.flatten().tolist() != original
                    break
            else:
                raise AssertionError("the parts of a volume were given to another one")

    def test_some_batches_are_left_alone(self, table):
        (_, images, _), _ = self.batches(table, p=0)
        firsts = {tuple(TensorDicom3D.create(file).flatten().tolist()) for file in table["t1"][:4]}
        assert {tuple(image.flatten().tolist()) for image in images} == firsts

    def test_volumes_smaller_than_the_parts_are_left_alone(self):
        mix = MixSubvol(n_subvol=27)
        x = torch.rand(1, 1, 2, 3, 3)
        assert torch.equal(mix._mixed(x, torch.arange(27)), x)

    def test_refuses_what_is_no_probability(self):
        with pytest.raises(ValueError, match=r"p must be a probability in 0..1, got 2"):
            MixSubvol(p=2)


class TestStackVolumes:
    def test_inputs_become_channels_in_training_validation_and_prediction(self, table):
        learn = learner(loaders(table, columns=("t1", "t2")), [StackVolumes()], UNet3D(2, 2, widths=(4, 6)))
        fit(learn)
        assert all(came == [(2, 2, *SHAPE), (2, *SHAPE)] for _, came, _, _ in learn.watch.seen)
        with learn.no_bar(), learn.no_logging():
            scores, _ = learn.get_preds()
        assert scores.shape == (2, 2, *SHAPE)

    def test_the_learners_of_this_package_take_the_number_of_channels(self, table):
        dls = loaders(table, columns=("t1", "t2"))
        learn = unet_learner_3d(
            dls, UNet3D, n_in=2, cbs=[StackVolumes(), SplitVolumes()], model_args={"widths": (4, 6)}
        )
        learn.add_cb(Watch())
        fit(learn)
        assert learn.watch.seen[0][1] == [(16, 2, 3, 3, 5), (2, *SHAPE)]

    def test_one_input_stays(self, table):
        learn = fit(learner(loaders(table), [StackVolumes()]))
        assert learn.watch.seen[0][1] == [(2, 1, *SHAPE), (2, *SHAPE)]

    @pytest.fixture
    def shifted(self, table, tmp_path):
        moved = table.copy()
        for number in range(COUNT):
            volume = TensorDicom3D.create(table["t2"][number])
            volume.set_origin((-7, 11, 9 if number == 1 else 5))
            moved.loc[number, "t2"] = str(tmp_path / f"{number}.nii.gz")
            volume.save(moved["t2"][number])
        return moved

    def test_inputs_that_lie_elsewhere_are_refused(self, shifted):
        learn = learner(loaders(shifted, columns=("t1", "t2"), bs=4), [StackVolumes()], UNet3D(2, 2, widths=(4, 6)))
        with pytest.raises(ValueError, match=r"inputs 1 and 2 of item . .* lie on different grids: .*ResampleLike\(\)"):
            fit(learn)

    def test_and_can_be_brought_onto_one_grid(self, shifted):
        dls = loaders(shifted, columns=("t1", "t2"), bs=4, item_tfms=ResampleLike())
        learn = fit(learner(dls, [StackVolumes()], UNet3D(2, 2, widths=(4, 6))))
        assert learn.watch.seen[0][1] == [(4, 2, *SHAPE), (4, *SHAPE)]

    def test_inputs_of_other_sizes_are_refused(self):
        stack = StackVolumes()
        stack.learn = type("Learn", (), {"xb": (torch.rand(2, 1, 2, 3, 4), torch.rand(2, 1, 2, 3, 5))})()
        with pytest.raises(ValueError, match=r"input 1 is \(2, 1, 2, 3, 4\) and input 2 is \(2, 1, 2, 3, 5\)"):
            stack.before_batch()
        stack.learn.xb = (torch.rand(2, 1, 2, 3, 4), "text")
        with pytest.raises(ValueError, match="and input 2 is str"):
            stack.before_batch()


class Stray(Callback):
    """Spoil the weights after some epochs, as a step that is too large does."""

    order = 40

    def __init__(self, epochs):
        super().__init__()
        self.epochs, self.before = epochs, {}

    def after_train(self):
        if self.epoch in self.epochs:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.add_(100)


class TestReloadBestFit:
    def run(self, table, tmp_path, epochs, spoiled, lr=1e-3, **kwargs):
        learn = learner(loaders(table, bs=4), [ReloadBestFit(**kwargs), Stray(spoiled)])
        learn.path = tmp_path
        return fit(learn, epochs, lr)

    def test_the_best_weights_and_optimizer_come_back(self, table, tmp_path):
        learn = self.run(table, tmp_path, 4, [3])
        assert learn.reload_best_fit.reloaded == [3]
        stored = torch.load(tmp_path / "models" / "best.pth", weights_only=False)
        assert all(torch.equal(value, stored["model"][key]) for key, value in learn.model.state_dict().items())
        assert max(float(p.detach().abs().max()) for p in learn.model.parameters()) < 10
        with learn.no_bar(), learn.no_logging():
            best = min(row[1] for row in learn.recorder.values)
            assert learn.validate()[0] == pytest.approx(best, rel=1e-4)
            assert learn.reload_best_fit.reloaded == [3]
        steps = [state["step"] for state in learn.opt.state.values()]
        assert set(steps) == {3}  # of the third epoch, one batch each

    def test_training_goes_on_from_there(self, table, tmp_path):
        learn = self.run(table, tmp_path, 6, [3])
        losses = [row[1] for row in learn.recorder.values]
        assert losses[3] > 2 * losses[2]
        assert max(losses[4:]) < 1.1 * losses[2]

    def test_waits_as_long_as_it_is_told(self, table, tmp_path):
        learn = self.run(table, tmp_path, 6, [2, 3, 4, 5], patience=2)
        assert learn.reload_best_fit.reloaded == [3, 5]

    def test_nothing_is_loaded_while_training_improves(self, table, tmp_path):
        assert self.run(table, tmp_path, 3, []).reload_best_fit.reloaded == []

    def test_a_file_of_an_earlier_fit_is_not_loaded(self, table, tmp_path):
        learn = self.run(table, tmp_path, 2, [])
        with torch.no_grad():
            for parameter in learn.model.parameters():
                parameter.fill_(torch.nan)
        fit(learn, 2)
        assert learn.reload_best_fit.reloaded == []
        assert all(parameter.isnan().all() for parameter in learn.model.parameters())

    @pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning")  # fastai's own callback
    def test_works_beside_save_model_callback(self, table, tmp_path, capsys):
        learn = learner(loaders(table, bs=4), [ReloadBestFit(fname="mine"), SaveModelCallback(), Stray([2])])
        learn.path = tmp_path
        fit(learn, 3, 1e-3)
        assert learn.reload_best_fit.reloaded == [2]
        assert {file.name for file in (tmp_path / "models").iterdir()} == {"mine.pth", "model.pth"}

    def test_refuses_no_patience(self):
        with pytest.raises(ValueError, match="patience must be at least 1 epoch, got 0"):
            ReloadBestFit(patience=0)
