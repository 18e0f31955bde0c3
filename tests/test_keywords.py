"""A keyword that nobody takes is refused by everything that users call, and the near one is suggested."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.data import WeightedDL
from fastai.learner import Learner
from hypothesis import given
from hypothesis import strategies as st
from test_public_api import functions_of, public_names
from torch import nn

import faimed3d.all as names
from faimed3d._keywords import StrictKeywords, keywords_of, refuse_unknown, strict_keywords
from faimed3d.legacy.arguments import BY_POSITION, RENAMED

CALLED = {
    owner.removesuffix(".__init__"): function
    for name, thing in public_names()
    for owner, function in functions_of(name, thing)
    if not isinstance(thing, type) or not owner.endswith("__init__")
}
CLASSES = {name: thing for name, thing in public_names() if inspect.isclass(thing) and not issubclass(thing, Exception)}
ALLOWED = {  # fastai's own convention: what a tensor is made with becomes its attributes, unless it is nearly metadata
    "basics.TensorDicom3D",
    "basics.TensorMask3D",
    "tracking.TrackedTensor",
}
PASSES_ON = {  # calls whose keywords go to what the user has written himself
    "tracking.TrackedTensor",
    "augment.RandomTransform3D.apply",
    "legacy.tensors",
    "archive.DicomWeb.search",  # elements of DICOM, refused by name where there is none; see its example
}
TABLE = pd.DataFrame({"image": [np.zeros((2, 3, 4))] * 8, "label": list("abababab")})


def misspelt(word):
    return word[:-2] + word[-1] + word[-2] if len(set(word[-2:])) == 2 else word + "x"


def of_object(function):
    """The function as it is called: of a class or an object, with something in the place of that."""
    first = next(iter(inspect.signature(function).parameters), None)
    return first in ("self", "cls")


@pytest.mark.parametrize("name", [name for name in CALLED if not any(map(name.startswith, PASSES_ON))])
def test_no_function_swallows_a_keyword(name):
    function = CALLED[name]
    owner = [names.ImageDataLoaders3D] if "from_" in name else [None]
    with pytest.raises(TypeError, match="swalowed"):
        function(*(owner if of_object(function) else ()), swalowed=1)


@pytest.mark.parametrize(
    "name", [name for name, kind in CLASSES.items() if name not in ALLOWED and not issubclass(kind, Exception)]
)
def test_no_class_swallows_a_keyword(name):
    kind = CLASSES[name]
    with pytest.raises(TypeError, match=r"swalowed|takes no keyword arguments"):
        kind(swalowed=1)


@pytest.mark.parametrize("word", ["metdata", "spacing", "orgin", "direction", "geometry"])
def test_a_volume_is_not_given_its_place_as_an_attribute(word):
    with pytest.raises(
        TypeError,
        match=rf"TensorDicom3D\(\) takes no argument '{word}': say where it lies with like=, or with metadata",
    ):
        names.TensorDicom3D(torch.rand(2, 3, 4), **{word: (1, 2, 3)})
    assert names.TensorDicom3D(torch.rand(2, 3, 4), patient="A").patient == "A"  # as fastai's TensorBase


STRICT = {name: function for name, function in CALLED.items() if hasattr(function, "is_strict")}
STRICT |= {name: kind for name, kind in CLASSES.items() if hasattr(kind.__init__, "is_strict")}


@pytest.mark.parametrize("name", STRICT)
def test_a_misspelt_argument_is_told_from_the_right_one(name):
    function = STRICT[name]
    words = [word for word in keywords_of(function) if len(word) > 3 and word not in ("self", "cls", "kwargs")]
    owner = [names.ImageDataLoaders3D] if "from_" in name else [None] if of_object(function) else []
    for word in words:
        if misspelt(word) not in words:
            with pytest.raises(TypeError, match=f"takes no argument '{misspelt(word)}': did you mean '"):
                function(*owner, **{misspelt(word): 1})


class TestFactories:
    def test_the_table_of_the_fault(self):
        for wrong, meant in (
            ({"item_tfm": []}, "did you mean 'item_tfms'?"),
            ({"group_column": "who"}, "did you mean 'group_col'?"),
            ({"validpct": 0.5}, "did you mean 'valid_pct'?"),
            ({"num_worker": 0}, "did you mean 'num_workers'?"),
            ({"size_for_resampling": (8, 8, 8)}, "put Resize3D((D, H, W)) into item_tfms"),
            ({"rescale_method": None}, "put the transform into batch_tfms"),
            ({"quatsch": 1}, "it takes df, path, valid_pct"),
        ):
            (word,) = wrong
            text = f"ImageDataLoaders3D.from_df() takes no argument '{word}': {meant}"
            with pytest.raises(TypeError, match=re.escape(text)):
                names.ImageDataLoaders3D.from_df(TABLE, bs=2, **wrong)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"num_workers": 0, "pin_memory": False, "val_bs": 1, "val_num_workers": 0, "persistent_workers": False},
            {"dl_type": WeightedDL, "wgts": [1.0] * 6},
            {"drop_last": False, "val_shuffle": True, "n": 4, "timeout": 0, "indexed": None, "create_batch": None},
            {"before_iter": None, "wif": None, "shuffle_fn": None, "retain": None, "verbose": False},
        ],
        ids=lambda arguments: next(iter(arguments)),
    )
    def test_what_fastai_takes_passes(self, arguments):
        dls = names.ImageDataLoaders3D.from_df(TABLE, bs=2, valid_pct=0.25, seed=1, device="cpu", **arguments)
        assert len(dls.train_ds) == 6

    def test_a_factory_that_calls_another_one_names_itself(self, tmp_path):
        for call, text in (
            (lambda: names.ImageDataLoaders3D.from_csv(tmp_path, delimeter=";"), r"from_csv.*mean 'delimiter'"),
            (lambda: names.ImageDataLoaders3D.from_csv(tmp_path, label_cal=1), r"from_csv.*mean 'label_col'"),
            (lambda: names.SegmentationDataLoaders3D.from_folder(tmp_path, imges="i"), r"from_folder.*mean 'images'"),
            (lambda: names.SegmentationDataLoaders3D.from_name_re(tmp_path, [], "", maks=""), r"name_re.*mean 'mask'"),
            (lambda: names.ImageDataLoaders3D.from_name_func(tmp_path, [], len, seeds=1), r"name_func.*mean 'seed'"),
        ):
            with pytest.raises(TypeError, match=text):
                call()


class TestLearners:
    def dls(self):
        return names.ImageDataLoaders3D.from_df(TABLE, bs=2, num_workers=0, device="cpu", seed=1)

    def encoder(self):
        return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, stride=2, padding=1))

    def test_take_the_arguments_of_their_network_as_fastai_does(self):
        learn = names.cnn_learner_3d(self.dls(), self.encoder(), ps=0.25, lin_ftrs=[5], y_range=(0, 100), n_out=1)
        head = learn.model[1]
        assert [layer.p for layer in head.modules() if isinstance(layer, nn.Dropout)] == [0.125, 0.25]
        assert [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)] == [5, 1]
        assert (head[-1].low, head[-1].high) == (0, 100)
        net = names.unet_learner_3d(
            self.dls(), self.encoder(), n_out=2, loss_func=nn.CrossEntropyLoss(), norm_type=names.NormType.Instance,
            bottle=True, wd=0.1,
        )  # fmt: skip
        assert any(isinstance(layer, nn.InstanceNorm3d) for layer in net.model.modules())
        assert net.wd == 0.1

    def test_refuse_what_neither_network_nor_learner_take(self):
        for arguments, text in (
            ({"pss": 0.2}, "cnn_learner_3d() takes no argument 'pss': did you mean 'ps'?"),
            ({"config": {"ps": 0.2}}, "'config': pass its entries as arguments, or as model_args"),
            ({"metric": []}, "'metric': did you mean 'metrics'?"),
            ({"self_attention": True}, "'self_attention': there is none"),
        ):
            with pytest.raises(TypeError, match=re.escape(text)):
                names.cnn_learner_3d(self.dls(), self.encoder(), **arguments)
        with pytest.raises(TypeError, match="ps is given twice: as an argument and in model_args"):
            names.cnn_learner_3d(self.dls(), self.encoder(), ps=0.1, model_args={"ps": 0.2})

    @pytest.mark.parametrize("learner", ["unet_learner_3d", "deeplab_learner_3d", "cnn_learner_3d"])
    def test_refuse_a_third_argument_by_position_whose_meaning_changed(self, learner):
        with pytest.raises(TypeError, match=r"takes 2 arguments by position, got 3: name all after arch"):
            getattr(names, learner)(self.dls(), self.encoder(), True)

    def test_every_argument_of_learner_passes(self):
        ours = set(keywords_of(names.unet_learner_3d))
        assert set(keywords_of(Learner.__init__)) - {"self", "model"} <= ours


class TestShowing:
    image = names.TensorDicom3D(torch.rand(2, 3, 4))

    def test_what_matplotlib_takes_passes(self):
        ax = self.image.show(vmin=0, vmax=1, interpolation="nearest", zorder=3, origin="upper", picker=True)
        assert ax.images[0].get_zorder() == 3

    def test_what_nobody_takes_is_refused(self):
        for call, text in (
            (
                lambda: self.image.show(wndow="lung"),
                r"show_volume\(\) takes no argument 'wndow': did you mean 'window'",
            ),
            (lambda: self.image.show(scale=True), r"'scale': scale the values first, t.hist_scaled\(\).show\(\)"),
            (lambda: names.show_image_3d(self.image, nrows=2), r"'nrows': did you mean 'nrow'"),
            (lambda: names.TensorMask3D(torch.ones(2, 3, 4)).render_3d(colours=1), r"'colours': did you mean 'colors'"),
        ):
            with pytest.raises(TypeError, match=text):
                call()

    def test_show_batch_refuses_before_it_draws(self):
        dls = names.ImageDataLoaders3D.from_df(TABLE, bs=2, num_workers=0, device="cpu", seed=1)
        with pytest.raises(TypeError, match=r"show_batch or show_results\(\) takes no argument 'ncol'.*'ncols'"):
            dls.show_batch(ncol=2)
        assert dls.show_batch(ncols=2, max_n=2, max_slices=4, window=(0, 1), cmap="gray") is None


class TestByPosition:
    IMAGE = names.TensorDicom3D(torch.rand(2, 3, 4))

    @pytest.mark.parametrize(
        ("call", "text"),
        [
            (lambda: names.Resample3D((20, 112, 112), (1, 1, 1)), r"0\.0\.6 had \(size, spacing\)"),
            (lambda: names.Resample3D(size=(2, 2, 2), spacing=1), r"'size': resample to a spacing"),
            (lambda: names.Pad3D((4, 4, 4), 1), "today it always pads; name value"),
            (lambda: names.MaskErase(torch.ones(2, 3, 4), None, 1.0), "today it always acts; name value"),
            (lambda: names.ReduceClasses([2], 1), "name other, what other labels become"),
            (lambda: names.ReduceClasses(reduce_to=[1]), r"its name is 'classes'"),
            (lambda: names.RandomBlur3D(0.5, [5, 11]), "0.0.6 had kernel sizes there; name sigma, in mm"),
            (lambda: names.RandomBlur3D(kernel_size_range=[5, 11]), "pass sigma, in mm"),
            (lambda: names.RandomBrightness3D(0.5, [-0.3, 0.3]), "0.0.6 had beta_range there; name max_beta"),
            (lambda: names.RandomBrightness3D(beta_range=[-0.3, 0.3]), "pass max_beta"),
            (lambda: names.RandomContrast3D(alpha_range=[0.7, 2.0]), "its name is 'alpha'"),
            (lambda: names.RandomContrast3D(0.5, (0.7, 2.0), 25), "0.0.6 had alpha_step there"),
            (lambda: names.RandomPerspective3D(224, 0.5), "0.0.6 had input_size first, which is gone"),
            (lambda: names.RandomPerspective3D(112, p=0.1), "got p twice, by position and by name: 0.0.6 had"),
            (lambda: names.resnet34_3d(pretrained=True), "'pretrained': there are no weights"),
            (lambda: names.resnet18_3d(n_channels=1), r"create_body\(arch, n_in\) fit the first convolution"),
            (lambda: names.RandomPerspective3D(input_size=112, p=0.1), "takes volumes of any size; leave it out"),
            (lambda: names.RandomCrop3D((0, 5, 5), (0, 2, 2)), "the size that is left, not margins"),
            (lambda: names.aug_transforms_3d(0.1, True), "name the parts"),
            (lambda: names.aug_transforms_3d(p_warp=0.3), "give the part its probability: warp=0.3"),
            (lambda: names.AddChannel(p=1.0), "it always acts, and the blocks have it already"),
            (lambda: names.ClampMask3D(0, 1, p=1), "it always acts"),
            (lambda: names.ResizeCrop3D((0, 0, 0), (8, 8, 8), p=1), "it always acts"),
            (lambda: names.PiecewiseHistScaling(landmark_percs=1), "it takes one fitted scale"),
            (lambda: names.MaskBlock3D(cls=names.TensorMask3D), "masks are always TensorMask3D; leave it out"),
            (lambda: names.TensorDicom3D.create("x", load_header=True), "headers are read when t.metadata is"),
            (lambda: names.TensorMask3D.create("x", load_header=False), "TensorMask3D.create.. takes no argument"),
            (lambda: TestByPosition.IMAGE.crop_3d(crop_by=(1, 1, 1)), "its name is 'margins'"),
            (lambda: TestByPosition.IMAGE.crop_3d((0.1, 0.1, 0.1), perc_crop=True), "its name is 'perc_margins'"),
            (lambda: names.resample(TestByPosition.IMAGE, reference_size=(2, 2, 2)), "size follows from the spacing"),
            (lambda: names.ImageCorrectionWrapper(verbose=True), "it prints nothing; leave it out"),
            (lambda: names.ImageBlock3D(rescale=True), "reading applies Rescale Slope and Intercept"),
        ],
    )  # fmt: skip
    def test_an_argument_of_006_never_gets_another_meaning(self, call, text):
        with pytest.raises(TypeError, match=text):
            call()

    def test_every_advice_is_for_a_callable_that_is_there_and_lacks_the_argument(self):
        import faimed3d.models as models
        from faimed3d import display

        for name in {*RENAMED, *BY_POSITION} - {"*"}:
            owner, _, method = name.rpartition(".")
            homes = [home for home in (names, models, display) if hasattr(home, owner or name)]
            found = getattr(homes[0], owner or name)
            found = getattr(found, method) if owner else found
            taken = keywords_of(found)
            assert not set(RENAMED.get(name, ())) & set(taken), name


@given(word=st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=12))
def test_any_word_passes_or_is_named(word):
    known = ["axis", "window", "figsize"]
    if word in known:
        refuse_unknown([word], known, "show")
    else:
        with pytest.raises(TypeError, match=rf"^show\(\) takes no argument '{word}': (did you|it takes axis, window)"):
            refuse_unknown([word], known, "show")


class TestStrictKeywords:
    def test_reach_those_that_inherit(self):
        class Base(StrictKeywords):
            def __init__(self, size=1):
                self.size = size

        class Child(Base):
            def __init__(self, shape=2, **kwargs):
                super().__init__(**kwargs)
                self.shape = shape

        assert Child(shape=3, size=4).size == 4
        with pytest.raises(TypeError, match=r"Child\(\) takes no argument 'shpe': did you mean 'shape'\?"):
            Child(shpe=1)
        with pytest.raises(TypeError, match=r"Base\(\) takes no argument 'other': it takes size"):
            Base(other=1)

    def test_keep_name_document_and_signature(self):
        @strict_keywords
        def crop(t, margins=0):
            """Crop."""

        assert (crop.__name__, crop.__doc__, str(inspect.signature(crop))) == ("crop", "Crop.", "(t, margins=0)")

    def test_a_function_without_arguments(self):
        @strict_keywords
        def alone():
            return 1

        assert alone() == 1
        with pytest.raises(TypeError, match=r"alone\(\) takes no argument 'x': it takes none"):
            alone(x=1)
