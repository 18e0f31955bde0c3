"""A scan that is not such as the network was trained on is refused, or warned of."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from dicom_series import AXIAL, SECRETS, write_series
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from torch import Tensor

from faimed3d.augment import RandomCrop3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.data.trained_on import TrainedOn
from faimed3d.errors import UnsuitedScan
from faimed3d.inference import load_model
from faimed3d.inference.suitability import Seen, judge
from faimed3d.models import UNet3D
from faimed3d.training import unet_learner_3d

SHAPE = (8, 12, 14)
SPACING = (1.1, 0.8, 2.5)


def stored(number, shape=SHAPE):
    """Air, a body and some bone, in Hounsfield units."""
    random = np.random.default_rng(number)
    values = random.normal(-1000, 10, shape)
    values[:, 2:-2, 2:-2] = random.normal(40, 30, values[:, 2:-2, 2:-2].shape)
    values[2:6, 4:6, 4:9] = random.normal(900, 50, values[2:6, 4:6, 4:9].shape)
    return values.astype(np.int16)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("ct")
    for number in range(3):
        write_series(root / str(number), stored(number), orientation=AXIAL, spacing=SPACING)
    return [root / str(number) for number in range(3)]


@pytest.fixture(scope="module")
def learn(folders):
    df = pd.DataFrame({"image": list(map(str, folders))})
    df["mask"] = [TensorMask3D(TensorDicom3D.create(folder) > 500) for folder in folders]
    dls = SegmentationDataLoaders3D.from_df(
        df, fn_col="image", label_col="mask", codes=["none", "bone"], valid_pct=0.4, seed=0, bs=1, num_workers=0
    )
    return unet_learner_3d(dls, UNet3D, widths=(4, 6))


@pytest.fixture(scope="module")
def model(learn, tmp_path_factory):
    return load_model(learn.export_model(tmp_path_factory.mktemp("model") / "bone.fm3d"), device="cpu")


@pytest.fixture(scope="module")
def scan(folders):
    return TensorDicom3D.create(folders[0])


def on(scan, function):
    return scan.with_voxels(function(scan.as_subclass(Tensor)))


def spaced(scan, spacing):
    return TensorDicom3D(scan.as_subclass(Tensor), scan.geometry.replace(spacing=spacing))


REFUSED = {
    "sides of an array": (lambda scan: scan.numpy(), "nothing says how it lies in the patient"),
    "sides of a tensor": (lambda scan: torch.from_numpy(scan.numpy()), "nothing says how it lies in the patient"),
    "sides of a file without axes": (
        lambda scan: TensorDicom3D(scan.as_subclass(Tensor), Geometry(SHAPE, SPACING, assumed="position")),
        "nothing says how it lies in the patient",
    ),
    "spacing twice": (lambda scan: spaced(scan, (2.2, 1.6, 5)), "with a spacing of 2.2x1.6x5 mm"),
    "spacing half": (lambda scan: spaced(scan, (0.55, 0.4, 1.25)), "with a spacing of 0.55x0.4x1.25 mm"),
    "spacing along x": (lambda scan: spaced(scan, (1.7, 0.8, 2.5)), "with a spacing of 1.7x0.8x2.5 mm"),
    "spacing of slices": (lambda scan: spaced(scan, (1.1, 0.8, 5)), "with a spacing of 1.1x0.8x5 mm"),
    "axes exchanged": (lambda scan: spaced(scan, (2.5, 0.8, 1.1)), "with a spacing of 2.5x0.8x1.1 mm"),
    "grey values": (lambda scan: on(scan, lambda x: (x + 1000) / 8), "these may be other units"),
    "shares of 1": (lambda scan: on(scan, lambda x: (x + 1000) / 2000), "these may be other units"),
    "a window": (lambda scan: on(scan, lambda x: x.clamp(-160, 240)), "these may be other units"),
    "thousandths": (lambda scan: on(scan, lambda x: x * 1000), "these may be other units"),
    "one value": (lambda scan: on(scan, lambda x: torch.full_like(x, 40)), "these may be other units"),
    "no intercept": (lambda scan: on(scan, lambda x: x + 1024), "all of them are shifted"),
    "intercept twice": (lambda scan: on(scan, lambda x: x - 1024), "all of them are shifted"),
}
WARNED = {
    "no air": (lambda scan: scan[:, 2:-2, 2:-2], r"its values run from -\d"),
    "a far field of view": (
        lambda scan: TensorDicom3D(torch.cat([scan.as_subclass(Tensor)] * 3), scan.geometry.regrid((24, 12, 14))),
        "it shows 15 x 10 x 60 mm",
    ),
    "a near field of view": (lambda scan: scan[:3], "it may be of another part of the body"),
}
FINE = {
    "as it is": lambda scan: scan,
    "stored another way round": lambda scan: scan.reorient("SAR"),
    "a little finer": lambda scan: spaced(scan, (0.9, 0.7, 2.2)),
    "noisy": lambda scan: on(scan, lambda x: x + 60 * torch.randn(x.shape, generator=torch.manual_seed(0))),
    "half of it": lambda scan: scan[:5],
}


class TestOutside:
    @pytest.mark.parametrize("case", REFUSED)
    def test_is_refused_with_the_way_out(self, model, scan, case):
        change, text = REFUSED[case]
        changed = change(scan)
        with pytest.raises(UnsuitedScan, match=f"{text}.*pass outside='warn'"):
            model.predict_volume(changed, progress=False)
        with pytest.warns(UserWarning, match=text):
            assert model.predict_volume(changed, progress=False, outside="warn").shape[-3:] == changed.shape

    @pytest.mark.parametrize("case", WARNED)
    def test_is_warned_of(self, model, scan, case):
        change, text = WARNED[case]
        with pytest.warns(UserWarning, match=text):
            model.predict_volume(change(scan), progress=False)

    @pytest.mark.parametrize("case", FINE)
    def test_is_not_what_augmentation_makes_up_for(self, model, scan, case):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.predict_volume(FINE[case](scan), progress=False)

    @pytest.mark.parametrize("modality", ["MR", "PT", "NM"])
    def test_of_another_modality(self, model, tmp_path, modality):
        write_series(tmp_path, stored(0), orientation=AXIAL, spacing=SPACING, Modality=modality)
        with pytest.raises(UnsuitedScan, match=f"that it is {modality}, but the network was trained on CT"):
            model.predict_volume(tmp_path, progress=False)

    def test_a_file_that_names_no_modality_is_judged_by_the_rest(self, model, scan, tmp_path):
        scan.save(tmp_path / "scan.nii.gz")
        expected = model.predict_volume(scan, progress=False)
        assert torch.equal(model.predict_volume(tmp_path / "scan.nii.gz", progress=False), expected)

    def test_like_says_where_an_array_lies(self, model, scan):
        mask = model.predict_volume(scan.numpy(), like=scan, progress=False)
        assert torch.equal(mask, model.predict_volume(scan, progress=False))

    def test_is_an_error_of_its_case_in_a_folder(self, model, scan, tmp_path):
        scans = [scan, spaced(scan, (5, 5, 5)), on(scan, lambda x: x + 1024)]
        with pytest.warns(UserWarning, match="2 of 3 cases failed"), model.no_bar():
            report = model.predict_folder(scans, tmp_path, names=["a", "b", "c"])
        assert [error.partition(":")[0] for error in report["error"]] == ["", "UnsuitedScan", "UnsuitedScan"]

    def test_a_learner_looks_at_the_spacing_unless_it_is_asked(self, learn, scan):
        learn.predict_volume(on(scan, lambda x: x + 1024), progress=False)
        with pytest.raises(UnsuitedScan, match="all of them are shifted"):
            learn.predict_volume(on(scan, lambda x: x + 1024), progress=False, outside="refuse")
        with pytest.raises(UnsuitedScan, match=r"with a spacing of 5x5x5 mm.*pass outside='warn'"):
            learn.predict_volume(spaced(scan, (5, 5, 5)), progress=False)
        with pytest.raises(ValueError, match="outside must be one of 'refuse', 'warn' or None, got 'allow'"):
            learn.predict_volume(scan, outside="allow")


class TestOtherTrainings:
    def trained(self, folders, tmp_path, item_tfms=None, **how):
        df = pd.DataFrame({"image": list(map(str, folders))})
        df["mask"] = [TensorMask3D(TensorDicom3D.create(folder) > 500) for folder in folders]
        dls = SegmentationDataLoaders3D.from_df(
            df, fn_col="image", label_col="mask", codes=["none", "bone"], valid_pct=0.4, seed=0, bs=1, num_workers=0,
            item_tfms=item_tfms,
        )  # fmt: skip
        learn = unet_learner_3d(dls, UNet3D, widths=(4, 6), **how)
        return learn, load_model(learn.export_model(tmp_path / "a"), device="cpu")

    def test_of_volumes_by_their_own_foreground_know_no_units(self, folders, scan, tmp_path):
        _, model = self.trained(folders, tmp_path, normalize="volume")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.predict_volume(on(scan, lambda x: 50 * x + 70000), progress=False)

    @pytest.mark.filterwarnings("ignore:the transforms have cut the volume")
    def test_on_crops_are_compared_with_whole_scans(self, folders, scan, tmp_path):
        _, model = self.trained(folders, tmp_path, RandomCrop3D((4, 6, 6)))
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "a TensorDicom3D: ")
            model.predict_volume(scan, progress=False, patch=(4, 6, 6))
            model.predict_volume(scan, progress=False)
        with pytest.raises(UnsuitedScan, match="all of them are shifted"):
            model.predict_volume(on(scan, lambda x: x + 1024), progress=False)

    def test_that_go_on_with_other_scans_know_both(self, folders, scan, tmp_path):
        learn, _ = self.trained(folders, tmp_path)
        shifted = [on(TensorDicom3D.create(folder), lambda x: x + 1024) for folder in folders]
        dls = SegmentationDataLoaders3D.from_path_func(
            ".",
            shifted,
            lambda image: TensorMask3D(image > 1500),
            codes=["none", "bone"],
            valid_pct=0.4,
            bs=1,
            num_workers=0,
        )
        before, learn.dls = learn.trained_on, dls
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
        begin, end, _ = learn.trained_on.intensities[0]
        assert begin[0] == before.intensities[0][0][0]
        assert end[1] > 1900
        model = load_model(learn.export_model(tmp_path / "b"), device="cpu")
        model.predict_volume(on(scan, lambda x: x + 1024), progress=False)


class TestWhatIsKnown:
    def trained(self, learn):
        return [int(str(path)[-1]) for path in learn.dls.train.items["image"]]

    def test_is_of_the_training_items(self, learn, scan):
        known = learn.trained_on
        assert (known.modalities, known.stated, known.orientation) == (("CT",), True, "LPS")
        assert known.extent[1] == pytest.approx((15.4, 9.6, 20))
        seen = np.array([np.percentile(stored(number), (0.5, 99.5)) for number in self.trained(learn)])
        low, high = seen.T
        expected = [(one.min(), one.max()) for one in (low, high, high - low)]
        assert np.allclose(known.intensities, [expected])

    def test_no_header_value_goes_into_the_file(self, model, folders):
        data = model.file.read_bytes()
        values = {
            str(element.value) for path in folders[0].iterdir() for element in dcmread(path) if element.VR != "OW"
        }
        assert set(SECRETS) <= values
        assert [value for value in values if len(value) > 3 and value.encode() in data] == []


SPANS = st.tuples(st.floats(-2000, 0), st.floats(50, 3000))


class TestVerdicts:
    @given(st.lists(SPANS, min_size=1, max_size=5), st.data())
    def test_no_item_of_the_training_breaks_a_rule(self, ends, data):
        low, high = zip(*ends, strict=True)
        widths = [b - a for a, b in ends]
        spans = tuple((min(one), max(one)) for one in (low, high, widths))
        known = TrainedOn("LPS", ((1, 1, 1),) * 3, stated=True, extent=((4, 3, 2),) * 3, intensities=(spans,))
        grid = Geometry((2, 3, 4))
        one = data.draw(st.sampled_from(ends))
        assert judge(known, Seen("", grid, grid, grid, (one,))) == ()
        factor = data.draw(st.sampled_from([1 / 500, 1 / 250, 250, 500]))
        verdicts = judge(known, Seen("", grid, grid, grid, ((one[0] * factor, one[1] * factor),)))
        assert [(verdict.rule, verdict.refused) for verdict in verdicts] == [("intensity", True)]

    def test_nothing_is_said_where_nothing_is_known(self):
        grid = Geometry((2, 3, 4), assumed="all")
        assert judge(TrainedOn(), Seen("MR", grid, grid, grid, ((0, 1),))) == ()
        assert judge(TrainedOn("LPS"), Seen("MR", grid, grid, grid, ((0, 1),))) == ()

    def test_the_worst_comes_first(self):
        known = TrainedOn("LPS", modalities=("CT",), stated=True, extent=((40, 30, 20),) * 3)
        grid = Geometry((2, 3, 4))
        assert [one.rule for one in judge(known, Seen("MR", grid, grid, grid, ()))] == ["modality", "field of view"]
