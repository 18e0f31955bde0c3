"""Volumes in parts, inside real, tiny trainings."""

import copy
import itertools

import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.block import CategoryBlock
from fastai.learner import load_learner
from fastai.torch_core import set_seed
from small_trainings import SHAPE, Classifier, Watch, fit, learner, loaders, write_volumes
from torch import nn

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.models import UNet3D
from faimed3d.training import (
    HausdorffDistance95,
    MixSubvol,
    SplitVolumes,
    SubsampleShuffle,
    unet_learner_3d,
)
from faimed3d.training.subvolumes import join_parts, split_parts


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("volumes"))


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
