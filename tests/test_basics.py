"""The page's names, arguments and numbers, and the two types as users meet them."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from coordinates import LOPSIDED, OBLIQUE, OTHER
from fastai.torch_core import TensorBase, TensorCategory
from fasttransform import Pipeline, Transform, retain_type
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import triangles

from faimed3d import basics
from faimed3d.basics import (
    Geometry,
    TensorDicom3D,
    TensorMask3D,
    crop_3d,
    load_image_3d,
    normalize,
    readdcm_3d,
    resize_3d_tensor,
    show_images_3d,
)

PAGE = """readdcm_3d load_image_3d TensorDicom3D TensorMask3D show_image_3d show_images_3d crop_3d resize_3d_tensor
normalize""".split()  # noqa: SIM905


def volume(low=-100.0, high=900.0, geometry=LOPSIDED, kind=TensorDicom3D):
    return kind(torch.linspace(low, high, 24).reshape(2, 3, 4), geometry)


@pytest.fixture
def saved(tmp_path):
    volume().save(tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


class TestPage:
    def test_star_import_gives_every_name(self):
        assert set(PAGE) <= set(basics.__all__)

    def test_methods_of_the_page(self):
        methods = (
            "create metadata freqhist_bins hist_scaled show save as_sitk get_spacing set_spacing get_origin set_origin"
        )
        for name in [*methods.split(), "get_direction", "set_direction", "from_sitk", "get_metadata", "strip"]:
            assert hasattr(TensorDicom3D, name)
        assert hasattr(TensorMask3D, "render_3d")
        assert hasattr(TensorMask3D, "calc_volume")

    def test_crop_resize_stack_and_show(self):
        im = TensorDicom3D(torch.rand(31, 92, 92))
        absolute = crop_3d(im, ((0, 0), (10, 10), (10, 10)), perc_margins=False)
        percent = crop_3d(im, ((0.0, 0.0), (0.1, 0.1), (0.1, 0.1)), perc_margins=True)
        assert (im.shape, absolute.shape, percent.shape) == ((31, 92, 92), (31, 72, 72), (31, 74, 74))
        assert resize_3d_tensor(im, (100, 50, 50)).shape == (100, 50, 50)
        im1, im2 = (TensorDicom3D(resize_3d_tensor(im, (10, 100, 100))) for _ in range(2))
        show_images_3d(torch.stack((im1, im2, im1.hist_scaled(), im2.hist_scaled()), axis=0), nrow=10)

    def test_normalized_mean_and_sd(self):
        im = normalize(volume())
        assert im.mean().item() == pytest.approx(0, abs=1e-6)
        assert im.std().item() == pytest.approx(1)

    def test_flat_pixels_are_scaled_to_an_even_distribution(self):
        torch.manual_seed(0)
        px = TensorDicom3D(TensorDicom3D(torch.randn(20, 30, 40).exp()).flatten())
        counts = np.histogram(px.hist_scaled().numpy(), bins=10, range=(0, 1))[0]
        assert counts.min() > 0.8 * counts.max()

    def test_volumes_of_the_page(self):
        """Voxel 0.2215212271 mm3, 57572 and 57157 voxels: 25414.9089 mm3 (the page subtracted in float32)."""
        t = torch.zeros(31, 736, 736)
        t.view(-1)[:57572], t.view(-1)[57572 : 57572 + 57157] = 1, 2
        m = TensorMask3D(t, {"spacing": (0.2215212271, 1, 1)})
        volumes = m.calc_volume()
        assert list(volumes) == ["background", "total_mask_volume", "class 1", "class 2"]
        assert volumes["total_mask_volume"] == pytest.approx(25414.9089, abs=1e-4)
        assert volumes["class 1"] == pytest.approx(57572 * 0.2215212271, rel=1e-12)
        assert sum(volumes.values()) - volumes["total_mask_volume"] == pytest.approx(
            t.numel() * 0.2215212271, rel=1e-12
        )


class TestReaddcm3d:
    def test_the_maximum_becomes_1(self, saved):
        im = readdcm_3d(saved)
        assert type(im) is TensorDicom3D
        assert im.max() == 1
        assert im.geometry.agrees(LOPSIDED)
        torch.testing.assert_close(im * 900, TensorDicom3D.create(saved))

    def test_div_divides(self, saved):
        torch.testing.assert_close(readdcm_3d(str(saved), div=50), TensorDicom3D.create(saved) / 50)

    def test_scaled_is_0_to_1(self, saved):
        im = readdcm_3d(saved, return_scaled=True)
        assert (im.min(), im.max()) == (0, 1)
        torch.testing.assert_close(readdcm_3d(saved, div=7, return_scaled=True), im)

    def test_normalized(self, saved):
        im = readdcm_3d(saved, return_normalized=True)
        torch.testing.assert_close(im, normalize(TensorDicom3D.create(saved)))
        both = readdcm_3d(saved, return_scaled=True, return_normalized=True)
        torch.testing.assert_close(both, normalize(TensorDicom3D.create(saved).hist_scaled()))

    def test_with_div_it_is_not_normalized(self, saved):
        torch.testing.assert_close(readdcm_3d(saved, div=50, return_normalized=True), readdcm_3d(saved, div=50))

    @pytest.mark.parametrize("value", [0, 7, -3])
    @pytest.mark.parametrize("options", [{}, {"return_scaled": True}, {"return_normalized": True}, {"div": 2.0}])
    def test_constant_volumes_stay_finite(self, value, options, tmp_path):
        TensorDicom3D(torch.full((2, 3, 4), float(value)), LOPSIDED).save(tmp_path / "constant.nrrd")
        assert readdcm_3d(tmp_path / "constant.nrrd", **options).isfinite().all()


class TestLoadImage3d:
    def test_is_a_plain_float32_tensor_of_the_real_values(self, saved):
        t = load_image_3d(saved)
        assert type(t) is torch.Tensor
        assert t.dtype == torch.float32
        torch.testing.assert_close(t, volume().as_subclass(torch.Tensor))

    def test_fractions_are_not_cut(self, tmp_path):
        TensorDicom3D(torch.rand(2, 3, 4) / 10, LOPSIDED).save(tmp_path / "map.nrrd")
        assert 0 < load_image_3d(tmp_path / "map.nrrd").max() < 0.1

    def test_several_components_are_refused(self, tmp_path):
        torch.stack([volume(), volume()]).save(tmp_path / "two.nrrd")
        with pytest.raises(ValueError, match=r"two.nrrd: expected one volume \(D, H, W\), got 2x2x3x4.*create"):
            load_image_3d(tmp_path / "two.nrrd")
        assert TensorDicom3D.create(tmp_path / "two.nrrd").shape == (2, 2, 3, 4)


class TestCreate:
    def test_the_same_volume_through_every_door(self, tmp_path):
        array = volume().numpy()
        volume().save(tmp_path / "a.nrrd")
        for source in [tmp_path / "a.nrrd", str(tmp_path / "a.nrrd"), volume().as_sitk(), volume()]:
            t = TensorDicom3D.create(source)
            assert type(t) is TensorDicom3D
            assert torch.equal(t, volume())
            assert t.geometry.agrees(LOPSIDED)
        for source in [array, torch.from_numpy(array), array.tolist()]:
            t = TensorDicom3D(source)
            assert torch.equal(t, volume())
            assert t.geometry == Geometry((2, 3, 4), assumed="all")  # a bare array starts at 1 mm, origin 0, identity

    @pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16", "int32", "float64", "bool", ">i2", ">f4"])
    def test_arrays_become_float32(self, dtype):
        array = np.arange(24).reshape(2, 3, 4).astype(dtype)
        t = TensorDicom3D.create(array)
        assert t.dtype == torch.float32
        np.testing.assert_array_equal(t.numpy(), array.astype(np.float32))

    def test_arrays_in_any_memory_order(self):
        array = np.arange(24.0).reshape(2, 3, 4)[::-1, :, ::2]
        np.testing.assert_array_equal(TensorDicom3D(array).numpy(), array)
        array.setflags(write=False)
        np.testing.assert_array_equal(TensorDicom3D(array).numpy(), array)

    def test_the_type_can_be_kept(self):
        assert TensorMask3D.create(torch.zeros(2, 3, 4, dtype=torch.int64), dtype=None).dtype == torch.int64
        assert TensorMask3D.create(np.zeros((2, 3, 4), np.int16), dtype=torch.int64).dtype == torch.int64

    def test_complex_values_and_unsigned_types(self):
        with pytest.raises(ValueError, match="complex values"):
            TensorDicom3D.create(np.ones((2, 3, 4), "complex64"))
        assert TensorDicom3D.create(np.full((2, 3, 4), 7, "uint32")).unique().tolist() == [7]

    def test_metadata_given_with_a_volume_changes_only_what_it_names(self):
        assert TensorDicom3D(volume(), {"spacing": (2, 2, 2)}).geometry == LOPSIDED.replace(spacing=(2, 2, 2))

    def test_labels_that_float_would_merge_are_refused(self):
        labels = torch.full((2, 3, 4), 2**24 + 1)
        with pytest.raises(ValueError, match=r"16777217 .* cannot be held by float32.*dtype=None"):
            TensorMask3D.create(labels)
        assert TensorMask3D.create(labels, dtype=None)[0, 0, 0] == 2**24 + 1

    @pytest.mark.parametrize("source", [None, 3, {}, [1, 2], b"x"])
    def test_other_sources_are_refused(self, source):
        with pytest.raises(TypeError, match=f"source must be a path.*got {type(source).__name__}"):
            TensorDicom3D.create(source)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.nii"):
            TensorDicom3D.create(tmp_path / "none.nii")

    def test_masks_stay_float(self, tmp_path):
        m = volume(0, 23, kind=TensorMask3D).to(torch.uint8)
        m.save(tmp_path / "m.nii.gz")
        again = TensorMask3D.create(tmp_path / "m.nii.gz")
        assert (type(again), again.dtype) == (TensorMask3D, torch.float32)
        torch.testing.assert_close(again, m.float())

    def test_names_of_the_earlier_library(self, saved):
        assert torch.equal(TensorDicom3D.load(saved), TensorDicom3D.create(saved))
        assert TensorDicom3D.from_sitk(volume().as_sitk()).geometry == LOPSIDED
        assert "tags" in TensorDicom3D.read_metadata_from_series(saved)


class TestSave:
    @settings(max_examples=20, deadline=None)
    @given(
        suffix=st.sampled_from(["nii", "nii.gz", "nrrd", "mha"]),
        kind=st.sampled_from([TensorDicom3D, TensorMask3D]),
        turned=st.booleans(),
        dtype=st.sampled_from([torch.float32, torch.int16, torch.uint8]),
    )
    def test_reading_again_gives_voxels_and_geometry(self, tmp_path_factory, suffix, kind, turned, dtype):
        path = tmp_path_factory.mktemp("saved") / f"t.{suffix}"
        geometry = Geometry((2, 3, 4), (1, 2, 3), (-7, 11, 5), OBLIQUE if turned else OTHER.direction)
        t = volume(0, 230, geometry, kind).to(dtype)
        t.save(path)
        again = kind.create(path, dtype=None)
        assert again.dtype == dtype
        assert torch.equal(again, t)
        assert again.geometry.agrees(t.geometry)
        assert sitk.ReadImage(str(path)).GetOrigin() == pytest.approx(t.get_origin(), abs=1e-5)

    def test_a_folder_becomes_a_dicom_series(self, tmp_path):
        geometry = Geometry((3, 4, 5), (1, 2, 3), (-7, 11, 5), OBLIQUE)
        t = TensorDicom3D(torch.arange(60.0).reshape(3, 4, 5) - 30, geometry)
        t.save(tmp_path / "series", modality="CT", series_description="scaled")
        again = TensorDicom3D.create(tmp_path / "series")
        assert torch.equal(again, t)
        assert again.geometry.agrees(geometry)
        assert again.get_metadata("0008|103e") == "scaled"
        with pytest.raises(ValueError, match="one file for each slice; give the folder"):
            t.save(tmp_path / "series.dcm")
        with pytest.raises(TypeError, match="modality are for a DICOM series"):
            t.save(tmp_path / "t.nii", modality="CT")

    @pytest.mark.parametrize("needs", [lambda t: t.save("x.nii"), lambda t: t.as_sitk()])
    def test_without_geometry_is_refused(self, needs):
        with pytest.raises(ValueError, match=r"(save|as_sitk) needs a geometry, and this 2x3x4 tensor has none"):
            needs(volume().roll(1, 0))


class TestVolumes:
    def test_by_hand(self):
        m = TensorMask3D(torch.tensor([0.0, 1, 1, 3, 0, 0]).reshape(1, 2, 3), {"spacing": (1, 2, 3)})
        assert m.calc_volume() == {"background": 18, "total_mask_volume": 18, "class 1": 12, "class 3": 6}

    def test_a_full_mask_has_no_background(self):
        assert TensorMask3D(torch.ones(2, 3, 4), Geometry((2, 3, 4))).calc_volume() == {
            "background": 0,
            "total_mask_volume": 24,
            "class 1": 24,
        }

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
    def test_any_type(self, dtype):
        assert TensorMask3D(torch.ones(2, 3, 4).to(dtype), Geometry((2, 3, 4))).calc_volume()["class 1"] == 24

    def test_after_cropping_and_turning_the_volume_is_the_same(self):
        m = TensorMask3D(torch.zeros(5, 6, 7), {"spacing": (1, 2, 3)})
        m[2, 2:4, 3] = 1
        assert m.strip().reorient("SAR").calc_volume()["class 1"] == m.calc_volume()["class 1"] == 12

    def test_meshes_are_in_mm(self):
        t = torch.zeros(4, 5, 6)
        t[1:3, 1:4, 2:4], t[3, 4, 5] = 1, 2
        m = TensorMask3D(t, {"spacing": (1, 2, 3), "origin": (10, 20, 30)})
        mesh = m.create_mesh(1, color="red", alpha=0.5)
        corners = np.concatenate([path.min(0)[None] for path in triangles(mesh)])
        assert corners.min(0) == pytest.approx([10 + 1.5, 20 + 2 * 0.5, 30 + 3 * 0.5])
        assert len(m.create_mesh_for_classes(alpha=(0.2, 1))) == 2
        with pytest.raises(ValueError, match="no voxel has label 7"):
            m.create_mesh(7)

    def test_fractions_are_refused(self):
        with pytest.raises(ValueError, match="no whole number and so no label"):
            TensorMask3D(torch.full((2, 3, 4), 0.5), LOPSIDED).calc_volume()
        with pytest.raises(ValueError, match="no whole number and so no label"):
            TensorMask3D(torch.full((2, 3, 4), torch.nan), LOPSIDED).calc_volume()

    def test_several_volumes_are_refused(self):
        with pytest.raises(ValueError, match="calc_volume takes one volume, this tensor is 2x2x3x4"):
            TensorMask3D(torch.zeros(2, 2, 3, 4), LOPSIDED).calc_volume()

    def test_without_geometry_is_refused(self):
        with pytest.raises(ValueError, match="calc_volume needs a geometry"):
            TensorMask3D(torch.zeros(2, 3, 4)).roll(1, 0).calc_volume()

    @pytest.mark.parametrize(
        ("name", "published"),
        [
            ("brain1", 16412.658691406243),
            ("brain2", 1797.180175781249),
            ("breast1", 132.42579545515324),
            ("lung1", 1361.1978149414062),
        ],
    )
    def test_published_volumes(self, real_data, name, published):
        m = TensorMask3D.create(real_data / "radiomics" / f"{name}_label.nrrd")
        assert m.calc_volume()["class 1"] == pytest.approx(published, rel=1e-9)


class TestTypes:
    def test_operations_keep_the_type(self):
        for kind in (TensorDicom3D, TensorMask3D):
            t = volume(kind=kind)
            for result in (t + 1, t[0], t.flip(0), torch.stack([t, t]), t.clone(), t.float(), t.mean(), 1 - t, -t):
                assert type(result) is kind
            assert isinstance(t, TensorBase)

    def test_an_image_and_a_mask_give_an_image(self):
        im, m = volume(), volume(0, 3, kind=TensorMask3D)
        for result in (im * m, m * im, torch.where(m > 1, im, im), torch.stack([im, m]), im.masked_fill(m > 1, 0)):
            assert type(result) is TensorDicom3D
        assert type(im[m > 1]) is TensorDicom3D

    def test_comparisons_do_not_decide(self):
        im, m = volume(), volume(0, 3, kind=TensorMask3D)
        for result in (m * (im > 0), m.masked_fill(im > 0, 0), torch.where(im > 0, m, m), m[im > 0]):
            assert type(result) is TensorMask3D

    def test_a_method_of_a_mask_with_an_image_as_pattern_stays_a_mask(self):
        im, m = volume(), volume(0, 3, kind=TensorMask3D)
        for result in (m.view_as(im), m.expand_as(im), m.to(im), m.type_as(im)):
            assert type(result) is TensorMask3D

    def test_other_tensors_of_fastai_count_as_plain(self):
        assert type(volume() + TensorCategory(1)) in (TensorDicom3D, TensorCategory)
        assert type(volume() * torch.nn.Parameter(torch.ones(1))) is TensorDicom3D

    def test_retain_type(self):
        old = volume()
        new = retain_type(torch.zeros(2, 3, 4), old)
        assert type(new) is TensorDicom3D
        assert new.geometry == LOPSIDED
        smaller = retain_type(torch.zeros(1, 3, 4), old)
        assert type(smaller) is TensorDicom3D
        assert smaller.geometry is None
        assert type(retain_type(torch.zeros(2, 3, 4), volume(kind=TensorMask3D))) is TensorMask3D

    def test_transforms_dispatch_by_type(self):
        class Noise(Transform):
            def encodes(self, x: TensorDicom3D):
                return x + 1

            def encodes(self, x: TensorMask3D):  # noqa: F811
                return x

        im, m = Pipeline([Noise()])((volume(), volume(0, 3, kind=TensorMask3D)))
        assert torch.equal(im, volume() + 1)
        assert torch.equal(m, volume(0, 3, kind=TensorMask3D))
        assert (type(im), type(m)) == (TensorDicom3D, TensorMask3D)
        assert im.geometry == LOPSIDED

    def test_casting_elsewhere_and_back_invents_nothing(self):
        t = volume()
        bare = t.as_subclass(torch.Tensor)
        assert type(bare) is torch.Tensor
        assert not bare.__dict__
        other = TensorBase(t)
        assert type(t.as_subclass(TensorBase)) is TensorBase
        assert other is not t
        assert t.flip(0).roll(1, 0).as_subclass(TensorMask3D).geometry is None

    def test_repr_says_type_shape_dtype_and_spacing(self):
        assert repr(volume()) == "TensorDicom3D 2x3x4 torch.float32, spacing 1x2x3 mm (x, y, z)"
        assert (
            repr(volume(kind=TensorMask3D)[None].long())
            == "TensorMask3D 1x2x3x4 torch.int64, spacing 1x2x3 mm (x, y, z)"
        )
        assert repr(volume().roll(1, 0)) == "TensorDicom3D 2x3x4 torch.float32, no geometry"
        batch = torch.stack([volume(), volume(geometry=OTHER)])
        assert repr(batch) == "TensorDicom3D 2x2x3x4 torch.float32, one geometry per item"
        assert repr(volume().max()) == "TensorDicom3D(900.)"

    def test_a_subclass_of_a_user(self):
        class CT(TensorDicom3D):
            pass

        t = CT(torch.zeros(2, 3, 4))
        assert type(t[1:] + TensorDicom3D(torch.zeros(1, 3, 4))) is CT
        assert type(CT.create(volume())) is CT

    def test_missing_attributes_are_missing(self):
        with pytest.raises(AttributeError, match="'TensorDicom3D' object has no attribute 'spacing_'"):
            _ = volume().spacing_
        assert not hasattr(volume(), "affine_")

    def test_further_attributes(self):
        assert TensorDicom3D(torch.zeros(2, 3, 4), side="left").side == "left"


class TestMetadata:
    def test_geometry_of_a_tensor(self):
        t = volume()
        assert (t.metadata["spacing"], t.metadata["origin"]) == ((1, 2, 3), (-7, 11, 5))
        assert t.metadata["direction"] == t.get_direction() == tuple(OBLIQUE)
        assert list(t.metadata) == ["spacing", "origin", "direction"]
        assert len(t.metadata) == 3

    def test_without_geometry_the_keys_are_absent(self):
        t = volume().roll(1, 0)
        assert list(t.metadata) == []
        with pytest.raises(KeyError, match="no geometry"):
            t.metadata["spacing"]
        with pytest.raises(ValueError, match="get_spacing needs a geometry"):
            t.get_spacing()

    def test_it_is_read_only_and_says_how_to_set(self):
        with pytest.raises(TypeError, match=r"use t\.set_spacing"):
            volume().metadata["spacing"] = (1, 1, 1)

    def test_setting_is_checked(self):
        t = volume()
        t.set_spacing([2, 2, 2])
        t.set_origin(np.zeros(3))
        t.set_direction(OTHER.direction)
        assert t.geometry == Geometry((2, 3, 4), (2, 2, 2))
        with pytest.raises(ValueError, match="spacing must be three positive"):
            t.set_spacing((0, 1, 1))
        with pytest.raises(ValueError, match="origin must be 3 numbers"):
            t.set_origin((1, 2))
        with pytest.raises(ValueError, match="direction must be 9 numbers"):
            t.set_direction((1, 2, 3))
        with pytest.raises(ValueError, match="at least three axes"):
            t[0].set_spacing((1, 1, 1))

    def test_a_lost_geometry_can_be_declared(self):
        t = volume().roll(1, 0)
        t.set_spacing((1, 2, 3))
        assert t.geometry == Geometry((2, 3, 4), (1, 2, 3))

    def test_table_of_a_file(self, saved):
        table = TensorDicom3D.create(saved).metadata["table"]
        assert list(table.columns) == ["tags", str(saved)]
        assert isinstance(table, pd.DataFrame)

    def test_table_is_read_when_asked_for(self, saved):
        t = TensorDicom3D.create(saved) + 1
        saved.unlink()
        with pytest.raises(FileNotFoundError):
            t.metadata["table"]

    def test_no_file_no_table(self):
        assert "table" not in volume().metadata
        with pytest.raises(KeyError, match="not read from files"):
            volume().metadata["table"]
        with pytest.raises(KeyError):
            volume().get_metadata("0008|0060")

    def test_headers_and_file_names_are_not_pickled(self, saved):
        t = TensorDicom3D.create(saved)
        data = pickle.dumps(t)
        assert str(saved.parent).encode() not in data
        assert "table" not in pickle.loads(data).metadata
        assert str(saved.parent) not in repr(t)

    def test_own_tags(self):
        t = volume()
        t.set_metadata("side", "left")
        u = t + 1
        u.set_metadata("side", "right")
        assert (t.get_metadata("side"), u.get_metadata("side")) == ("left", "right")
        u.del_metadata("side")
        assert "side" not in u.metadata
        with pytest.raises(KeyError):
            u.get_metadata("side")
        with pytest.raises(KeyError):
            u.del_metadata("side")
        t.set_metadata("spacing", (3, 3, 3))
        assert t.get_spacing() == (3, 3, 3)
        assert json.loads(t.metadata_to_json())["side"] == "left"

    def test_printing(self, saved, capsys):
        t = TensorDicom3D.create(saved)
        t.print_metadata()
        assert capsys.readouterr().out.startswith("Geometry(2x3x4 voxels")
        t.print_metadata(full=True)
        assert json.loads(capsys.readouterr().out)["header"]

    def test_a_stack_of_different_files_has_no_table(self, saved, tmp_path):
        volume().save(tmp_path / "other.nrrd")
        one, other = TensorDicom3D.create(saved), TensorDicom3D.create(tmp_path / "other.nrrd")
        assert "table" not in torch.stack([one, other]).metadata
        assert "table" in one[1:].metadata
