"""Loaders whose labels mean other classes than those of the network are refused, wherever they are given to it."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from fastai.data.block import CategoryBlock
from fastai.learner import load_learner
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training_volume_learner import quiet
from tiny_networks import tiny_network

from faimed3d.data import ImageDataLoaders3D, SegmentationDataLoaders3D
from faimed3d.models import UNet3D
from faimed3d.training import cnn_learner_3d, unet_learner_3d


def table(labels):
    return pd.DataFrame({"image": [np.full((2, 3, 4), float(n % 3)) for n in range(len(labels))], "label": labels})


def classes(labels, **kwargs):
    """Loaders that train on all labels, and validate on two cases more."""
    count, labels = len(labels), [*labels, *labels[:2]]
    splits = {"splitter": lambda df: ([*range(count)], [*range(count, len(labels))])}
    kwargs = {"bs": 2, "num_workers": 0, "seed": 0, **splits, **kwargs}
    return ImageDataLoaders3D.from_df(table(labels), label_col="label", **kwargs)


def masks(codes, labels=2):
    df = table([np.full((2, 3, 4), n % labels, np.uint8) for n in range(4)])
    return SegmentationDataLoaders3D.from_df(df, codes=codes, bs=2, num_workers=0, seed=0, valid_pct=0.5)


def of_masks(codes):
    return quiet(unet_learner_3d(masks(codes), UNet3D, model_args={"widths": (4,)}))


def classifier(labels, **kwargs):
    return quiet(cnn_learner_3d(classes(labels, **kwargs), tiny_network))


def give_to_learner(learn, dls):
    learn.dls = dls


WAYS = {
    "dls": give_to_learner,
    "validate": lambda learn, dls: learn.validate(dl=dls.valid),
    "get_preds": lambda learn, dls: learn.get_preds(dl=dls.valid),
}
everywhere = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


class TestClasses:
    @everywhere
    def test_a_cohort_that_lacks_one_is_refused(self, way):
        learn = classifier(["high", "low", "mid", "low"])
        wanted = r"trained for the classes high, low, mid, but these loaders have low, mid.*CategoryBlock\(vocab="
        with pytest.raises(ValueError, match=wanted):
            way(learn, classes(["low", "mid"] * 2))

    @everywhere
    def test_numbers_too(self, way):
        with pytest.raises(ValueError, match="classes 1, 2, 3, but these loaders have 2, 3"):
            way(classifier([1, 2, 3, 2]), classes([2, 3, 3, 2]))

    @everywhere
    def test_what_the_error_advises_works(self, way):
        learn = classifier(["high", "low", "mid", "low"])
        block = CategoryBlock(vocab=["high", "low", "mid"], sort=False)
        way(learn, classes(["low", "mid"] * 2, y_block=block))
        targets = learn.get_preds(dl=learn.dls.test_dl(table(["mid", "low"]), with_labels=True))[1]
        assert targets.tolist() == [2, 1]

    def test_in_a_new_session(self, tmp_path):
        learn = classifier(["high", "low", "mid", "low"])
        learn.path = tmp_path
        learn.export("learner.pkl")
        with pytest.warns(UserWarning, match="load_learner.*pickle"):
            loaded = quiet(load_learner(tmp_path / "learner.pkl"))
        with pytest.raises(ValueError, match="trained for the classes high, low, mid"):
            loaded.validate(dl=classes(["low", "mid"] * 2).valid)

    def test_several_at_once_must_be_the_same(self):
        learn = classifier(["a;b", "b", "c", "a"], label_delim=";")
        with pytest.raises(ValueError, match="classes a, b, c, but these loaders have a, b:"):
            learn.validate(dl=classes(["a;b", "b", "b", "a"], label_delim=";").valid)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.sampled_from("abcd"), min_size=3, max_size=6))
    def test_are_right_or_refused(self, labels):
        learn = classifier(["a", "b", "c", "a"])
        dls = classes(labels)
        if list(dls.vocab) == ["a", "b", "c"][: len(dls.vocab)]:
            assert learn.get_preds(dl=dls.valid)[1].tolist() == ["abc".index(label) for label in labels[:2]]
        else:
            with pytest.raises(ValueError, match="a label would mean another class"):
                learn.get_preds(dl=dls.valid)


class TestLabelsOfVoxels:
    @everywhere
    @pytest.mark.parametrize("codes", [["none", "b", "a"], ["none", "b"], ["none", "a", "b", "c"]])
    def test_named_otherwise_are_refused(self, way, codes):
        with pytest.raises(ValueError, match=r"classes none, a, b, but these loaders have none.*codes=\['none', 'a'"):
            way(of_masks(["none", "a", "b"]), masks(codes))

    @everywhere
    def test_the_same_names_and_none_are_taken(self, way):
        way(of_masks(["none", "a", "b"]), masks(["none", "a", "b"]))
        way(of_masks(["none", "a", "b"]), masks(["none", "a"]))
        way(of_masks(["none", "a", "b"]), masks(None))
        way(of_masks(None), masks(["none", "a"]))

    @everywhere
    def test_regions_in_another_order_are_refused(self, way):
        df = table([np.full((2, 3, 4), n % 3, np.uint8) for n in range(4)])
        make = partial(SegmentationDataLoaders3D.from_df, df, bs=2, num_workers=0, valid_pct=0.5)
        learn = quiet(unet_learner_3d(make(regions={"whole": (1, 2), "core": 2}), UNet3D, model_args={"widths": (4,)}))
        with pytest.raises(ValueError, match=r"regions of the names \['whole', 'core'\], in this order"):
            way(learn, make(regions={"core": 2, "whole": (1, 2)}))

    def test_after_loading_the_names_here_hold(self, tmp_path):
        learn = of_masks(["none", "a", "b"])
        learn.path = tmp_path
        learn.save("weights")
        other = of_masks(["none", "x", "y"])
        other.path = tmp_path
        with pytest.warns(UserWarning, match="classes"):
            other.load("weights", with_opt=False)
        other.fit(1)
        assert other.trained_on.classes == ("none", "x", "y")
