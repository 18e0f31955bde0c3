"""A model as one file: it predicts what its learner predicts, to the bit, and holds no code."""

import json
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fasttransform import Transform
from hypothesis import given, settings
from hypothesis import strategies as st
from shown_labels import learner_of, write_cases
from torch import Tensor, nn
from torchvision.models.video import mc3_18

from faimed3d import augment
from faimed3d.augment import CropForeground3D, RandomFlip3D, Resample3D, StandardScale, ZScore3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.cache import preprocess
from faimed3d.data import AddChannel, ImageDataLoaders3D, OneOrientation, SegmentationDataLoaders3D
from faimed3d.errors import DamagedFile, ReadError, UnsupportedModel, is_ours
from faimed3d.inference import Ensemble, StoredModel, load_model
from faimed3d.inference.model_file import read_model, write_model
from faimed3d.inference.stored_loaders import TRANSFORMS, _describe_step, _step_from
from faimed3d.losses import DiceLoss3D
from faimed3d.models import UNet3D, create_unet_model_3d
from faimed3d.models.recipe import recipe_of
from faimed3d.patches import PatchDataLoaders3D
from faimed3d.training import StoredNetwork, unet_learner_3d, volume_learner

NAMES = ["background", "left kidney", "right kidney"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


def learner(table, item_tfms=None, batch_tfms=None, seed=0, **how):
    how = {"codes": NAMES, **how} if "regions" not in how else how
    dls = SegmentationDataLoaders3D.from_df(
        table, fn_col="image", label_col="mask", valid_pct=0.4, seed=0, bs=1, num_workers=0,
        item_tfms=item_tfms, batch_tfms=batch_tfms, **how,
    )  # fmt: skip
    torch.manual_seed(seed)
    return unet_learner_3d(dls, UNet3D, widths=(4, 6), strides=[(1, 2, 2)], deep_supervision=False)


@pytest.fixture(scope="module")
def learn(table):
    flips = RandomFlip3D(axis=(-1, -2), swap_labels={1: 2})
    return learner(table, [CropForeground3D(margin=1), Resample3D((1, 1, 1.5))], [flips])


@pytest.fixture(scope="module")
def file(learn, tmp_path_factory):
    return learn.export_model(tmp_path_factory.mktemp("models") / "kidneys.fm3d", licence="CC0", about={"of": "tests"})


@pytest.fixture(scope="module")
def model(file):
    return load_model(file)


def plain(volume):
    return volume.as_subclass(Tensor)


def same(model, learn, scan, **asked):
    """Whether both say the same of a scan, to the bit."""
    ours, theirs = (one.predict_volume(scan, probabilities=True, progress=False, **asked) for one in (model, learn))
    assert torch.equal(plain(ours[0]), plain(theirs[0]))
    assert torch.equal(plain(ours[1]), plain(theirs[1]))
    assert (ours[0].geometry, ours[0].codes) == (theirs[0].geometry, theirs[0].codes)
    assert plain(theirs[1]).std() > 0
    return True


class TestPredictsAsTheLearner:
    @pytest.mark.parametrize("asked", [{}, {"patch": (4, 6, 5), "tta": True, "overlap": 0.25}])
    def test_of_labels(self, model, learn, table, asked):
        assert same(model, learn, table["image"][1], **asked)
        assert model.classes == dict(enumerate(NAMES))
        assert repr(model) == "StoredModel('kidneys.fm3d': background, left kidney, right kidney)"
        assert model.trained_on == learn.trained_on

    def test_of_a_scan_stored_in_another_order(self, model, learn, table):
        assert same(model, learn, TensorDicom3D.create(table["image"][0]).reorient("SAR"))

    def test_of_a_folder(self, model, table, tmp_path):
        with model.no_bar():
            report = model.predict_folder(table["image"], tmp_path)
        assert report["error"].tolist() == [""] * 3

    def test_of_regions_and_units_of_each_volume(self, table, tmp_path):
        learn = learner(table, [ZScore3D(foreground="minimum")], regions={"organ": (1, 2), "kidney": 2})
        assert same(load_model(learn.export_model(tmp_path / "a")), learn, table["image"][1])

    def test_of_channels(self, table, tmp_path):
        two = table.assign(image=[[one, one] for one in table["image"]])
        learn = learner(two)
        assert same(load_model(learn.export_model(tmp_path / "a")), learn, two["image"][1])

    def test_of_an_ensemble_of_stored_networks(self, table, tmp_path):
        members = [learner(table, [Resample3D(1)], seed=seed) for seed in range(2)]
        stored = [StoredNetwork.save(tmp_path / f"{k}.safetensors", one) for k, one in enumerate(members)]
        file = Ensemble(stored).export_model(tmp_path / "a.fm3d")
        assert same(load_model(file), Ensemble(members), table["image"][1])
        assert len(load_model(file).members) == 2

    def test_of_patches_of_a_cache(self, table, tmp_path):
        cache = preprocess(table, tmp_path / "cache", item_tfms=Resample3D((1, 1, 1.5)), fn_col="image",
                           label_col="mask", codes=NAMES, n_jobs=1, progress=False)  # fmt: skip
        flip = RandomFlip3D(axis=-1, swap_labels={1: 2})
        dls = PatchDataLoaders3D.from_cache(cache, (4, 6, 5), valid=[2], batch_tfms=[flip], num_workers=0, device="cpu")
        learn = unet_learner_3d(dls, UNet3D, widths=(4, 6))
        model = load_model(learn.export_model(tmp_path / "a"))
        assert same(model, learn, table["image"][1], tta=True)
        assert model.dls.patch == (4, 6, 5)

    def test_in_half_precision(self, learn, table, tmp_path):
        half = volume_learner(learn.dls, UNet3D(1, 3, widths=(4, 6), act_cls=nn.SiLU).bfloat16())
        assert same(load_model(half.export_model(tmp_path / "a")), half, table["image"][1])

    def test_with_the_arguments_that_it_was_exported_with(self, learn, table, tmp_path):
        model = load_model(learn.export_model(tmp_path / "a", overlap=0.25, tta=(2,)))
        asked = {"patch": (4, 6, 5), "progress": False}
        expected = learn.predict_volume(table["image"][1], overlap=0.25, tta=(2,), **asked)
        assert torch.equal(plain(model.predict_volume(table["image"][1], **asked)), plain(expected))


FIXED = [
    augment.Clip3D((-1,), (0.5,)), augment.Clip3D(2, 98, percentiles=True), CropForeground3D(0.2, margin=(0, 1, 2)),
    CropForeground3D(margin=2.5, mm=True), augment.FillNaN3D(None), augment.HistScaled3D(torch.tensor([0.0, 0.3, 1.0])),
    augment.MaxScale(), augment.MeanScale(), augment.MedianScale(), augment.Normalize3D(0.1, 0.3),
    augment.Pad3D((9, 9, 9), value=3), augment.PadOrCrop3D((4, 9, 3), value=-1), augment.Reorient3D("RAS"),
    augment.PiecewiseHistScaling(StandardScale((0, 50, 100), (0, 20, 100), foreground="all")),
    augment.RandomCrop3D((2, 3, 9), value=0.25), Resample3D((1, 2.5, 0.7), value=2), augment.Resize3D(7),
    augment.Resize3D(scale_factor=(1, 2, 0.5)), augment.ResizeCrop3D((0, 0.1, 0.2), (3, 4, 5), perc_crop=True),
    augment.RescaleIntensity3D(-1, 2, (5, 95)), augment.Window3D((0.3, 0.5)), augment.Window3D("lung"),
    ZScore3D("mean"), ZScore3D(0.2), AddChannel(), OneOrientation("SAR"),
]  # fmt: skip


class TestTransforms:
    @pytest.mark.parametrize("step", FIXED, ids=lambda step: type(step).__name__)
    def test_do_the_same_out_of_the_file(self, step):
        again = _step_from(json.loads(json.dumps(_describe_step(step))))
        image = TensorDicom3D(torch.rand(5, 6, 8, generator=torch.manual_seed(0)), {"spacing": (1, 2, 3)})
        once, twice = (one(image.clone(), split_idx=1) for one in (step, again))
        assert torch.equal(plain(once), plain(twice))
        assert once.geometry == twice.geometry

    def test_that_can_be_named_are_all_tried(self):
        tried = {f"{type(step).__name__}" for step in FIXED} | {"StandardScale"}
        assert {name.rpartition(".")[2] for name in TRANSFORMS._homes} == tried


def test_an_encoder_of_torchvision_goes_by_its_name():
    with torch.device("meta"):  # shapes alone
        described = recipe_of(create_unet_model_3d(mc3_18, 3, n_in=1, pretrained=False, act_cls=nn.SiLU))
    assert described.name == "faimed3d.models.create_unet_model_3d"
    names = {"arch": "torchvision.models.video.mc3_18", "act_cls": "torch.nn.SiLU"}
    assert described.arguments == {"n_out": 3, "n_in": 1, **{key: {"name": name} for key, name in names.items()}}


class Lambda(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


class Doubled(Transform):
    def encodes(self, x: TensorDicom3D):
        return x if isinstance(x, TensorMask3D) else x * 2


class Sharp(DiceLoss3D):
    def activation(self, x):
        return (2 * x).softmax(1)


class TestWhatHasNoNameIsRefused:
    @pytest.mark.parametrize("step", [Doubled(), Transform(lambda x: x)], ids=["a class", "a lambda"])
    def test_a_transform(self, table, tmp_path, step):
        with pytest.raises(TypeError, match=r"the transform .* has no name .* use those of faimed3d.augment"):
            learner_of(table, [step], model=UNet3D(1, 3, widths=(4, 6))).export_model(tmp_path / "a")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("model", "text"),
        [
            (Lambda(), r"a Lambda, is built: .*network='\w+:Lambda', arguments"),
            (UNet3D(1, 3, widths=(4, 6), act_cls=lambda: nn.ReLU()), r"a UNet3D, is built \(.*<lambda> has no name"),
            (create_unet_model_3d(nn.Sequential(nn.Conv3d(1, 4, 3, padding=1)), 3), r"\(a Sequential has no name"),
        ],
        ids=["a class", "an activation", "an encoder"],
    )
    def test_a_network(self, table, tmp_path, model, text):
        with pytest.raises(TypeError, match=text):
            learner_of(table, model=model).export_model(tmp_path / "a")

    def test_a_network_whose_layers_were_exchanged(self, table, tmp_path):
        model = UNet3D(1, 3, widths=(4, 6))
        model.encoder[0][0][1] = nn.GroupNorm(2, 4)
        with pytest.raises(ValueError, match=r"the network is not as faimed3d.models.UNet3D builds it"):
            learner_of(table, model=model).export_model(tmp_path / "a")

    def test_an_activation(self, table, tmp_path):
        with pytest.raises(TypeError, match="the activation of the loss, a Sharp, is none of softmax, sigmoid"):
            learner_of(table, model=UNet3D(1, 3, widths=(4, 6)), loss=Sharp()).export_model(tmp_path / "a")

    def test_loaders_that_do_not_say_how_a_scan_is_read(self, tmp_path):
        items = [(TensorDicom3D(torch.rand(1, 4, 6, 8)), TensorMask3D(torch.zeros(4, 6, 8).long()))] * 2
        learn = unet_learner_3d(DataLoaders.from_dsets(items, items, bs=2), UNet3D, n_out=2, widths=(4, 6))
        with pytest.raises(TypeError, match="these dls do not say how a scan is read"):
            learn.export_model(tmp_path / "a")

    def test_classes_of_whole_volumes(self, table, tmp_path):
        dls = ImageDataLoaders3D.from_df(table.assign(kind=[*"aba"]), fn_col="image", label_col="kind", valid_pct=0.4,
                                         seed=0, bs=1, num_workers=0)  # fmt: skip
        learn = Learner(dls, nn.Conv3d(1, 2, 3), loss_func=DiceLoss3D())
        with pytest.raises(TypeError, match="a model file is for labels of voxels"):
            learn.export_model(tmp_path / "a")

    @pytest.mark.parametrize("count", [1, 4])
    def test_a_network_of_other_classes_than_the_loaders_name(self, table, tmp_path, count):
        with pytest.raises(ValueError, match=f"codes are 3 names, and the network gives scores of {count} classes"):
            learner_of(table, model=UNet3D(1, count, widths=(4, 6))).export_model(tmp_path / "a")

    def test_what_is_no_plain_value(self, learn, tmp_path):
        with pytest.raises(TypeError, match="must be plain values, as JSON holds them: Object of type set"):
            learn.export_model(tmp_path / "a", about={"classes": {1, 2}})


class TestAnotherNetwork:
    NAME = "torch.nn:Conv3d"
    SIDES = {"in_channels": 1, "out_channels": 3, "kernel_size": 3, "padding": 1}  # noqa: RUF012 - a constant

    def test_is_built_by_who_loads_it(self, table, tmp_path):
        learn = learner_of(table, model=nn.Conv3d(**self.SIDES))
        file = learn.export_model(tmp_path / "a", network=self.NAME, arguments=self.SIDES)
        with pytest.raises(UnsupportedModel, match=r"needs the network torch.nn:Conv3d.*networks=\{'torch.nn:Conv3d'"):
            load_model(file)
        assert same(load_model(file, networks={self.NAME: nn.Conv3d}), learn, table["image"][1])

    def test_must_be_what_its_name_and_arguments_build(self, table, tmp_path):
        learn = learner_of(table, model=nn.Conv3d(**self.SIDES))
        with pytest.raises(ValueError, match=r"the network is not as torch.nn:Conv3d builds it"):
            learn.export_model(tmp_path / "a", network=self.NAME, arguments={**self.SIDES, "padding": 0})
        with pytest.raises(ValueError, match="network must be 'module:Class'"):
            learn.export_model(tmp_path / "a", network="torch.nn.Conv3d")
        with pytest.raises(TypeError, match="must be plain values, as JSON holds them"):
            learn.export_model(tmp_path / "a", network=self.NAME, arguments={"in_channels": nn.ReLU})


def edited(file, target, change):
    """A file whose content was changed, with the right checksums."""
    content, weights = read_model(file)
    change(content)
    write_model(target, content, weights)
    return target


def outcome(function, *args, errors=ReadError, **kwargs):
    """What a function returns, or the named error that it raises."""
    try:
        return function(*args, **kwargs)
    except errors as error:
        return error


def put(value, *path):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def places_in(node, at=()):
    """The places of all entries of plain JSON."""
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield (*at, key)
        yield from places_in(node[key], (*at, key))


VALUES = [None, -1, 2, 0.5, 1e30, "x", "RAS", [], {}, [[1]], [0, 1, 2], {"new": "x"}, {"name": 1}, True]
OF_FIRST, KNOWN = ("members", 0), ("members", 0, "trained_on")
VIDEO, HISTOGRAM = "torchvision.models.video.r3d_18", "faimed3d.augment.PiecewiseHistScaling"
ACT = ("members", 0, "network", "arguments", "act_cls")


class TestTheFile:
    def test_is_safetensors_from_its_first_byte_to_its_last(self, file):
        data = file.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
        assert set(header.pop("__metadata__")) == {"format", "faimed3d_model", "sha256"}
        ends = sorted(entry["data_offsets"] for entry in header.values())
        assert [low for low, _ in ends] == [0, *(high for _, high in ends[:-1])]
        assert ends[-1][1] == len(data) - 8 - size
        assert {entry["dtype"] for entry in header.values()} == {"F32"}
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, IndexError, KeyError)):
            pickle.loads(data)

    def test_is_loaded_by_a_process_that_imports_nothing_that_trains_and_unpickles_nothing(self, file, table):
        # a process of its own, for the tests have imported everything: some seconds
        code = f"""
import warnings; warnings.simplefilter("ignore")
import pickle, sys, types
import numba.core.caching, torch
from faimed3d.inference import load_model
def refused(*args, **kwargs): raise AssertionError("unpickled")
numba.core.caching.pickle = types.SimpleNamespace(**vars(pickle))  # it keeps its compiled loops so, beside our modules
pickle.load = pickle.loads = pickle.Unpickler = pickle._Unpickler = torch.load = refused
mask = load_model({str(file)!r}, device="cpu").predict_volume({table["image"][1]!r}, progress=False)
rooms = ("training", "plan", "patches", "evaluation")
print([name for name in sys.modules if name.startswith(tuple(f"faimed3d.{{room}}" for room in rooms))])
print(tuple(mask.shape))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split("\n")[:2] == ["[]", "(9, 12, 14)"]

    def test_says_what_people_want_to_know(self, learn, table, tmp_path):
        learn = learner(table)
        with learn.no_bar(), learn.no_logging():
            learn.fit(2, 1e-3)
        plan = json.dumps({"plan": {"lr": 1e-3}, "reasons": {"lr": "a case of Doe's"}})
        about = load_model(learn.export_model(tmp_path / "a", plan=plan, licence="CC-BY-4.0", about={"n": 1})).about
        assert (about["licence"], about["about"], about["plan"]) == ("CC-BY-4.0", {"n": 1}, {"lr": 1e-3})
        (training,) = about["training"]
        assert training["epochs"] == 2
        assert set(training["last"]) == {"train_loss", "valid_loss", "dice"}

    @settings(max_examples=150)
    @given(place=st.integers(0, 2**16), bit=st.integers(0, 7), cut=st.booleans())
    def test_that_was_damaged_is_refused_by_name_or_says_the_same(self, file, tmp_path_factory, place, bit, cut):
        data = bytearray(file.read_bytes())
        place %= len(data)
        data[place] ^= 1 << bit
        other = tmp_path_factory.mktemp("damaged") / "a.fm3d"
        other.write_bytes(data[:place] if cut else data)
        found, expected = outcome(read_model, other), read_model(file)
        if isinstance(found, ReadError):
            assert str(other) in str(found)
        else:  # the word "pt", which nobody reads
            assert found[0] == expected[0]
            assert all(torch.equal(one, expected[1][name]) for name, one in found[1].items())

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            (put(2, "format"), UnsupportedModel, "is of format 2, and this version of faimed3d reads format 1"),
            (put("os:system", "members", 0, "network", "name"), UnsupportedModel, "needs the network os:system"),
            (
                put("torch.nn.ReLU", "members", 0, "network", "name"),
                UnsupportedModel,
                "needs the network torch.nn.ReLU",
            ),
            (put({"name": "builtins.eval"}, "members", 0, "network", "arguments", "act_cls"), UnsupportedModel, "eval"),
            (put({"new": "os.system", "arguments": {}}, "members", 0, "item_tfms", 1), UnsupportedModel, "'os.system'"),
            (put({"name": "faimed3d.augment.Resample3D"}, "members", 0, "item_tfms", 1), UnsupportedModel, "no name"),
            (put("argmax", "members", 0, "activation"), UnsupportedModel, "'argmax'"),
            (put(True, "members", 0, "network", "arguments", "pretrained"), UnsupportedModel, "'pretrained'"),
            (put({"new": VIDEO, "arguments": {"weights": 1}}, "members", 0, "item_tfms", 1), UnsupportedModel, VIDEO),
            (put({"new": VIDEO, "arguments": {}}, *ACT), UnsupportedModel, VIDEO),
            (
                put({"partial": {"name": VIDEO}, "args": [1], "keywords": {"mapping": []}}, *ACT),
                UnsupportedModel,
                VIDEO,
            ),
            (
                put({"new": HISTOGRAM, "arguments": {"scale": "/etc/passwd"}}, "members", 0, "item_tfms", 1),
                UnsupportedModel,
                "passwd",
            ),
            (put([4, 8], "members", 0, "network", "arguments", "widths"), DamagedFile, "its weights do not fit"),
            (put([4], "members", 0, "network", "arguments", "widths"), DamagedFile, "cannot be built"),
            (lambda content: content.pop("predict"), DamagedFile, "KeyError: 'predict'"),
            (put(NAMES[1:], *OF_FIRST, "codes"), DamagedFile, "codes are 2 names, and the network gives scores of 3"),
            (put(["a", "b"], *OF_FIRST, "regions"), DamagedFile, "codes must be background and the regions"),
            (put([[1, 3]], *OF_FIRST, "mirrored", "swap_labels", "mapping"), DamagedFile, "pair labels from 0 to 2"),
            (put([1, 1], *OF_FIRST, "mirrored", "axes"), DamagedFile, "axes must be different axes of 0, 1, 2"),
            (put([4, 6], *OF_FIRST, "patch"), DamagedFile, r"patch must be three whole numbers from 1 up, .* \[4, 6\]"),
            (
                put(1.0, "predict", "overlap"),
                DamagedFile,
                "predict.overlap must be a number from 0 to below 1, got 1.0",
            ),
            (put("yes", "predict", "tta"), DamagedFile, "predict.tta must be true, false or different axes"),
            (put([], "members"), DamagedFile, "members must be a list of networks"),
            (put([["strct", 1]], *OF_FIRST, "reader", "create", "mapping"), DamagedFile, "did you mean 'strict'"),
            (put("LAS", *KNOWN, "orientation"), DamagedFile, "store scans as LPS, and trained_on.orientation is LAS"),
            (put("LRS", *KNOWN, "orientation"), DamagedFile, "orientation must be three letters such as LPS"),
            (put([], *OF_FIRST, "batch_tfms"), DamagedFile, r"says mean \[.*\] and std .* the transforms Normalize3D"),
            (put([1.0, 1.0], *KNOWN, "std"), DamagedFile, "trained_on says mean"),
            (put([0.0], *KNOWN, "std"), DamagedFile, "std must be numbers above 0"),
            (put([[[0, 1]] * 3] * 2, *KNOWN, "intensities"), DamagedFile, "is of 2 channels, and the network takes 1"),
            (put([[[1, 0]] * 3], *KNOWN, "intensities"), DamagedFile, "intensities must be three spans a channel"),
            (put([[2, 2, 2], [1, 1, 1], [3, 3, 3]], *KNOWN, "spacing"), DamagedFile, "three numbers above 0 that rise"),
        ],
    )
    def test_that_says_what_is_not_known_is_refused(self, file, tmp_path, change, error, text):
        with pytest.raises(error, match=text):
            load_model(edited(file, tmp_path / "a", change))

    @settings(max_examples=60)
    @given(data=st.data())
    def test_that_says_anything_else_is_refused_by_name_or_predicts(self, file, table, tmp_path_factory, data):
        content, weights = read_model(file)
        places = [place for place in places_in(content) if place[0] not in ("about", "plan", "licence")]
        put(data.draw(st.sampled_from(VALUES)), *data.draw(st.sampled_from(places)))(content)
        other = tmp_path_factory.mktemp("edited") / "a.fm3d"
        write_model(other, content, weights)
        found = outcome(load_model, other, device="cpu")
        if not isinstance(found, StoredModel):
            assert str(other) in str(found)
            return
        how = {"progress": False, "tta": True, "errors": (ValueError, TypeError)}
        mask = outcome(found.predict_volume, table["image"][1], **how)
        if isinstance(mask, Exception):  # of a transform that cannot be, or of a scan that does not suit
            assert is_ours(mask)
        else:
            assert plain(mask).max() < len(NAMES)
            assert found.classes is None or found.classes == mask.codes

    def test_other_files_are_refused(self, learn, tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no such file"):
            load_model(tmp_path / "none.fm3d")
        StoredNetwork.save(tmp_path / "a.safetensors", learn)
        with pytest.raises(UnsupportedModel, match="is a safetensors file, but no model file"):
            load_model(tmp_path / "a.safetensors")
        torch.save({"weights": torch.ones(2)}, tmp_path / "a.pth")
        with pytest.raises(DamagedFile, match="is no safetensors file"):
            load_model(tmp_path / "a.pth")


class TestDisagreement:
    def test_is_none_where_all_mirror_images_say_the_same(self, table):
        learn = learner_of(table)  # judges each voxel on its own
        mask, share = learn.predict_volume(table["image"][1], tta=(0, 2), disagreement=True)
        assert share == 0
        assert (mask > 0).any()

    def test_is_what_the_mirror_images_say_apart(self, table):
        torch.manual_seed(0)
        learn = learner_of(table, model=nn.Conv3d(1, 3, 3, padding=1))
        scan = TensorDicom3D.create(table["image"][1])
        _, share = learn.predict_volume(scan, tta=(2,), disagreement=True)
        x = plain(scan)[None, None]
        with torch.no_grad():
            each = [learn.model(x).softmax(1), learn.model(x.flip(-1)).flip(-1).softmax(1)]
        mean, *each = (one[0].argmax(0).numpy() for one in (sum(each) / 2, *each))
        same = sum(((one == mean) & (mean > 0)).sum() for one in each)
        total = sum((one > 0).sum() + (mean > 0).sum() for one in each)
        assert share == pytest.approx(1 - 2 * same / total)
        assert 0 < share < 1

    def test_is_in_the_report_of_each_case(self, model, table, tmp_path):
        asked = {"names": ["a", "b"]}
        with model.no_bar():
            report = model.predict_folder(table["image"][:2], tmp_path / "a", tta=True, **asked)
            without = model.predict_folder(table["image"][:2], tmp_path / "b", **asked)
        assert report["disagreement"].between(0, 1).all()
        assert without["disagreement"].isna().all()
        again = model.predict_volume(table["image"][1], tta=True, disagreement=True, progress=False)[1]
        assert np.isclose(report["disagreement"][1], again)
