"""A place that is made up is known to be made up, whatever is made of it, and what writes mm or a file says so."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from coordinates import LOPSIDED
from fastai.data.load import fa_collate
from fasttransform import Pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.augment import RemoveSmallObjects, Resample3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D, show_image_3d
from faimed3d.io import read, write
from faimed3d.tracking import current_grid
from faimed3d.training import KeepGeometry, SurfaceDice

NOTHING_SAYS = "nothing says where this volume lies"
KINDS = [TensorDicom3D, TensorMask3D]
ASSUMED = Geometry((4, 6, 8), assumed="all")
PLACED = Geometry((4, 6, 8), (1, 2, 3), (-7, 11, 5), LOPSIDED.direction)


def image(kind=TensorDicom3D):
    return kind(torch.arange(4.0 * 6 * 8).reshape(4, 6, 8), PLACED)


# each keeps a volume (4, 6, 8) on a straight grid
KEEPING = {
    "slice": lambda t: t[1:, :4, 2:7],
    "step": lambda t: t[::2, :, ::3],
    "flip": lambda t: t.flip(0, 2),
    "permute": lambda t: t.permute(2, 0, 1),
    "rot90": lambda t: torch.rot90(t, 1, (1, 2)),
    "add": lambda t: t + 1,
    "with a plain tensor": lambda t: t * torch.ones(t.shape),
    "with itself": lambda t: t * t,
    "compare": lambda t: t > 3,
    "clone": lambda t: t.clone(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda t: pickle.loads(pickle.dumps(t)),
    "double": lambda t: t.double(),
    "detach": lambda t: t.detach(),
    "channel and back": lambda t: t[None][0],
    "stack": lambda t: torch.stack([t, t])[1],
    "collate": lambda t: fa_collate([(t, t), (t, t)])[0][1],
    "cat of channels": lambda t: torch.cat([t[None], t[None]])[0],
    "cut and joined": lambda t: torch.cat([t[:1], t[1:]]),
    "pad": lambda t: F.pad(t, (1, 0, 2, 1, 0, 3)),
    "pool": lambda t: F.avg_pool3d(t.float()[None, None], 2)[0, 0],
    "interpolate": lambda t: F.interpolate(t.float()[None, None], scale_factor=2, mode="trilinear")[0, 0],
    "crop_3d": lambda t: t.crop_3d((1, 1, 2)),
    "pad_or_crop": lambda t: t.pad_or_crop((5, 4, 8)),
    "resize": lambda t: t.resize_3d_tensor((8, 9, 11)),
    "reorient": lambda t: t.reorient("RSA"),
    "as mask": TensorMask3D,
    "as image": TensorDicom3D,
    "metadata": lambda t: TensorDicom3D(t.as_subclass(torch.Tensor), t.metadata) if t.shape == (4, 6, 8) else t,
    "like itself": lambda t: TensorMask3D(t.as_subclass(torch.Tensor), like=t),
    "create": lambda t: TensorDicom3D.create(t),
}


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    stated=st.booleans(),
    names=st.lists(st.sampled_from(sorted(KEEPING)), min_size=1, max_size=3),
)
def test_what_is_made_of_a_volume_knows_whether_its_place_is_made_up(kind, stated, names):
    t = kind(torch.arange(4.0 * 6 * 8).reshape(4, 6, 8), *([Geometry((4, 6, 8))] if stated else []))
    assert t.geometry.stated is stated
    for name in names:
        if min(t.shape) < 5 and name in ("pool", "crop_3d", "slice", "step"):
            continue
        t = KEEPING[name](t)
    assert t.geometry is not None
    assert t.geometry.stated is stated
    assert t.geometry.assumed == ("" if stated else "all")


@given(st.sampled_from(["", "position", "all"]), st.sampled_from([None, (4, 4), (2, 0)]), st.booleans())
def test_every_derived_geometry_keeps_what_is_assumed_and_which_world_it_is_in(assumed, codes, sheared):
    direction = (1, 0.01, 0, 0, (1 - 0.01**2) ** 0.5, 0, 0, 0, 1) if sheared else LOPSIDED.direction
    one = Geometry((2, 3, 4), (1, 2, 3), (5, 6, 7), direction, assumed, codes)
    for other in (
        one.regrid((1, 3, 2), (2, -1, 1), (0, 2, 1)),
        one.permute((2, 0, 1)),
        one.nearest_orthogonal(),
        one.replace(shape=(4, 4, 4)),
        one.replace(),
        pickle.loads(pickle.dumps(one)),
        copy.copy(one),
        copy.deepcopy(one),
    ):
        assert (other.assumed, other.nifti_codes) == (assumed, codes)
    for change in ({"spacing": (3, 2, 1)}, {"origin": (0, 0, 0)}, {"direction": np.eye(3)}):
        assert one.replace(**change).stated
        assert one.replace(**change).nifti_codes == codes


def test_geometries_compare_by_what_is_assumed_and_agree_without():
    here, there = Geometry((2, 3, 4)), Geometry((2, 3, 4), assumed="all")
    assert here != there
    assert hash(here) != hash(there)
    assert here.agrees(there)
    assert here == Geometry((2, 3, 4), nifti_codes=(4, 4))
    assert hash(here) == hash(Geometry((2, 3, 4), nifti_codes=(4, 4)))
    assert repr(there).endswith("LPS, place assumed)")
    assert repr(TensorDicom3D(torch.zeros(2, 3, 4))).endswith("spacing 1x1x1 mm (x, y, z), assumed")
    with pytest.raises(ValueError, match="assumed must be one of '', 'position', 'all', got 'nothing'"):
        Geometry((2, 3, 4), assumed="nothing")


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_is_stated_once_it_is_set(kind):
    for set_one in ("spacing", "origin", "direction"):
        t = kind(torch.zeros(2, 3, 4))
        value = getattr(LOPSIDED, set_one)
        getattr(t, f"set_{set_one}")(value)
        assert t.geometry.stated
        assert kind(torch.zeros(2, 3, 4), {set_one: value}).geometry.stated
    assert kind(torch.zeros(2, 3, 4), LOPSIDED).geometry.stated
    assert kind(np.zeros((2, 3, 4)), like=LOPSIDED).geometry.stated
    assert not kind(torch.zeros(2, 3, 4), {}).geometry.stated


def test_a_place_that_is_made_up_gives_way_to_one_that_is_stated():
    t, array = image(), TensorMask3D(torch.ones(4, 6, 8))
    for result in (t * array, array * t, t + TensorDicom3D(np.ones((4, 6, 8))), torch.where(array > 0, t, 0 * t)):
        assert result.geometry == PLACED
    array += t
    assert array.geometry == PLACED
    part = image()[1:3]
    assert part.geometry is not None
    first = torch.stack([t, TensorDicom3D(torch.ones(4, 6, 8))])
    assert [one.geometry.stated for one in first] == [True, False]
    assert first.sum(0).geometry == PLACED
    moved = TensorDicom3D(t.as_subclass(torch.Tensor), PLACED.replace(origin=(0, 0, 0)))
    assert (t + moved).geometry is None


class TestWarnings:
    def said(self, function):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("default")
            for _ in range(3):
                function()
        return [str(one.message) for one in said]

    @pytest.mark.parametrize("source", ["array", "tensor", "npy", "flipped", "cut"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_writes_mm_or_a_file_warns_once(self, kind, source, tmp_path):
        np.save(tmp_path / "a.npy", np.ones((2, 3, 4), np.float32))
        t = {
            "array": lambda: kind(np.ones((2, 3, 4), np.float32)),
            "tensor": lambda: kind(torch.ones(2, 3, 4)),
            "npy": lambda: kind.create(tmp_path / "a.npy"),
            "flipped": lambda: kind(torch.ones(2, 3, 4)).flip(1),
            "cut": lambda: kind(torch.ones(4, 4, 4))[1:3, :3],
        }[source]()
        calls = {
            "calc_volume": lambda: TensorMask3D(t).calc_volume(),
            "save": lambda: t.save(tmp_path / "t.nrrd"),
            "resample": lambda: t.resample(2),
            "resample_like": lambda: t.resample_like(Geometry((2, 3, 4), (1, 1, 1), (0.5, 0.5, 1))),
            "RemoveSmallObjects(mm3=True)": lambda: RemoveSmallObjects(2, mm3=True)(TensorMask3D(t)),
        }
        for what, call in calls.items():
            (one,) = self.said(call)
            assert one.startswith(f"{what}: {NOTHING_SAYS}, so 1 mm voxels at origin 0 are assumed. ")
            assert "TensorMask3D(array, like=image)" in one
        placed = kind(t, like=Geometry((2, 3, 4), (1, 2, 3)))
        assert self.said(lambda: placed.save(tmp_path / "t.nrrd")) == []
        assert self.said(lambda: TensorMask3D(placed).calc_volume()) == []

    def test_a_folder_for_a_dicom_series_and_io_write_warn_too(self, tmp_path):
        with pytest.warns(UserWarning, match=f"save: {NOTHING_SAYS}"):
            TensorDicom3D(torch.ones(2, 3, 4)).save(tmp_path / "series")
        with pytest.warns(UserWarning, match=f"save: {NOTHING_SAYS}"):
            write(tmp_path / "t.nii", np.ones((2, 3, 4)), Geometry((2, 3, 4), assumed="all"))

    def test_the_warning_points_to_the_line_of_the_user(self, tmp_path):
        with pytest.warns(UserWarning, match=NOTHING_SAYS) as said:
            Pipeline(Resample3D(2))(TensorDicom3D(torch.ones(2, 3, 4))).save(tmp_path / "t.nrrd")
        assert said[-1].filename == __file__

    def test_a_file_without_a_position_has_its_spacing(self, tmp_path):
        t = TensorMask3D(torch.ones(2, 3, 4), Geometry((2, 3, 4), (1, 2, 3), assumed="position"))
        assert t.calc_volume()["class 1"] == 24 * 6
        assert t.resample(2).geometry.assumed == "position"
        with pytest.warns(UserWarning, match="so origin 0 and axes L, P, S are assumed"):
            t.save(tmp_path / "t.nrrd")

    def test_surface_metrics_warn(self):
        keeper, metric = KeepGeometry(), SurfaceDice(tolerance=1)
        labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
        labels[:, 1:3] = 1
        keeper.geometries = [Geometry((4, 4, 4), assumed="all")]
        scores = torch.stack([1 - labels, labels], 1).float()
        learn = type(
            "Learner", (), {"pred": scores, "y": labels, "keep_geometry": keeper, "to_detach": lambda _, x, **__: x}
        )()
        with pytest.warns(UserWarning, match=f"surface_dice_1mm: {NOTHING_SAYS}"):
            metric.accumulate(learn)

    def test_the_first_page_says_nothing(self):
        t = TensorDicom3D(torch.rand(6, 8, 10) * 100)
        show_image_3d(t)
        t.crop_3d((1, 1, 1)).hist_scaled()
        t.resize_3d_tensor((3, 4, 5))
        TensorMask3D(t > 50).render_3d(alpha=(0.15,))

    def test_arrays_of_which_one_is_a_part_of_the_other_are_resampled_in_silence(self):
        t = TensorDicom3D(torch.rand(4, 4, 4))
        assert t.resample_like(t[1:3]).tolist() == t[1:3].tolist()


class TestLike:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "array", [np.ones((4, 6, 8), np.uint8), torch.ones(4, 6, 8), np.ones((3, 4, 6, 8)).tolist()]
    )
    def test_an_array_lies_where_the_image_lies(self, kind, array, tmp_path):
        image().save(tmp_path / "image.nrrd")
        for like in (image(), PLACED, image()[None], image().as_sitk(), tmp_path / "image.nrrd"):
            placed = kind(array, like=like)
            assert placed.geometry.agrees(PLACED)
            assert placed.geometry.stated
            assert type(placed) is kind
            if not isinstance(array, list):
                assert kind.create(array, like=like).geometry == placed.geometry

    def test_a_file_that_says_nothing_is_placed_on_reading(self, tmp_path):
        np.save(tmp_path / "mask.npy", np.ones((4, 6, 8), np.uint8))
        TensorMask3D(torch.ones(4, 6, 8), {"origin": (0, 0, 0)}).save(tmp_path / "default.nrrd")
        for name in ("mask.npy", "default.nrrd"):
            mask = TensorMask3D.create(tmp_path / name, like=image())
            assert mask.geometry == PLACED
            assert "table" in mask.metadata

    def test_batches_take_the_place_of_each_item(self):
        images = torch.stack([image(), image().flip(0)])[:, None]
        for shape in ((2, 4, 6, 8), (2, 3, 4, 6, 8)):
            masks = TensorMask3D(torch.ones(shape), like=images)
            assert [one.geometry for one in masks] == [PLACED, image().flip(0).geometry]

    def test_an_operation_that_lost_the_place_may_be_told_it(self):
        lost = image().roll(1, 0)
        assert lost.geometry is None
        assert TensorDicom3D(lost, like=image()).geometry == PLACED

    def test_other_sizes_are_refused(self):
        with pytest.raises(ValueError, match=r"this tensor has \(4, 6, 7\), like has \(4, 6, 8\)$"):
            TensorMask3D(np.ones((4, 6, 7)), like=image())
        with pytest.raises(ValueError, match=r"like has \(4, 6, 8\)\. Arrays of nibabel .*: take array\.T"):
            TensorMask3D(np.ones((8, 6, 4)), like=image())
        with pytest.raises(ValueError, match=r"this tensor has \(48,\), like has \(4, 6, 8\)"):
            TensorDicom3D(np.ones(48), like=image())
        with pytest.raises(ValueError, match=r"like has \(2, 1, 4, 6, 8\)"):
            TensorMask3D(torch.ones(3, 4, 6, 8), like=torch.stack([image(), image().flip(0)])[:, None])

    def test_what_says_itself_where_it_lies_is_not_moved(self, tmp_path):
        moved = TensorMask3D(torch.ones(4, 6, 8), PLACED.replace(origin=(0, 1, 2)))
        moved.save(tmp_path / "moved.nrrd")
        for make in (
            lambda: TensorMask3D(moved, like=image()),
            lambda: TensorMask3D.create(moved, like=image()),
            lambda: TensorMask3D.create(tmp_path / "moved.nrrd", like=image()),
        ):
            with pytest.raises(ValueError, match=r"says itself where it lies, and like= says otherwise.*resample_like"):
                make()
        assert TensorMask3D(moved.numpy(), like=image()).geometry == PLACED

    def test_what_has_no_place_gives_none(self):
        with pytest.raises(ValueError, match=r"like= needs a volume with a geometry, and this \(4, 6, 8\) tensor"):
            TensorMask3D(torch.ones(4, 6, 8), like=image().roll(1, 0))
        with pytest.raises(TypeError, match=r"like must be a volume, a Geometry, .*got Tensor"):
            TensorMask3D(torch.ones(4, 6, 8), like=torch.ones(4, 6, 8))
        with pytest.raises(TypeError, match="metadata and like both say"):
            TensorMask3D(torch.ones(4, 6, 8), PLACED, like=image())


def test_npy_files_say_nothing(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4)))
    assert read(tmp_path / "a.npy")[1] == Geometry((2, 3, 4), assumed="all")
    assert sitk.GetImageFromArray(np.ones((2, 3, 4))).GetSpacing() == (1, 1, 1)
    assert TensorDicom3D.create(tmp_path / "a.npy").geometry.assumed == "all"
    assert current_grid(TensorDicom3D(torch.ones(5))) is None
