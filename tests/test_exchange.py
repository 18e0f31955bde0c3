"""Volumes to MONAI and TorchIO and back: nibabel is the independent answer, and their own readers where installed."""

import importlib.util
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from io_volumes import OBLIQUE, SHEARED, rotation, volume

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D
from faimed3d.errors import MissingGeometry, UnsupportedImage

RAS = np.diag([-1.0, -1, 1, 1])


def needs(package):
    """Skip where a package of the extra ``interop`` is not installed; the stand-ins below are tested everywhere."""
    absent = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(absent, reason=f"{package} is not installed (extra interop)")


class MetaTensor(torch.Tensor):
    """What MONAI's MetaTensor is to us: a tensor (C, W, H, D) with an affine and a dictionary."""

    __module__ = "monai.data.meta_tensor"

    def __new__(cls, voxels, affine=None, meta=(), is_batch=False, pending=()):
        self = torch.as_tensor(voxels).as_subclass(cls)
        self.affine = torch.eye(4, dtype=torch.float64) if affine is None else torch.as_tensor(affine)
        self.meta, self.is_batch, self.pending_operations = dict(meta), is_batch, pending
        return self


class Image:
    """What an image of TorchIO is to us."""

    __module__ = "torchio.data.image"

    def __init__(self, data, affine, kind="intensity", path=None):
        self.data, self.affine, self.type, self.path = data, affine, kind, path


class Subject(dict):
    """What a Subject of TorchIO is to us."""

    __module__ = "torchio.data.subject"

    def get_images_dict(self, intensity_only):
        assert not intensity_only
        return dict(self)


def theirs(geometry=OBLIQUE, array=None):
    """Voxels (C, W, H, D) and RAS affine as nibabel reads them from a file that SimpleITK or we wrote."""
    array = volume("float32", geometry.shape) if array is None else array
    image = nib.Nifti1Image(array.T, RAS @ geometry.affine)
    data = torch.from_numpy(np.array(image.dataobj))
    return (data[None] if data.ndim == 3 else data.movedim(-1, 0)), image.affine


class TestFromMonai:
    def test_takes_voxels_and_place(self):
        for cls in (TensorDicom3D, TensorMask3D):
            for take in (cls.create, cls.from_monai):
                got = take(MetaTensor(*theirs()))
                assert type(got) is cls
                np.testing.assert_array_equal(got.numpy(), volume("float32"))
                assert got.geometry.agrees(OBLIQUE, 1e-9)
        assert ImageBlock3D().type_tfms[0](MetaTensor(*theirs())).geometry.agrees(OBLIQUE, 1e-9)
        assert TensorDicom3D(volume(), like=MetaTensor(*theirs())).geometry.agrees(OBLIQUE, 1e-9)

    def test_keeps_the_type_of_number_and_several_channels(self):
        got = TensorMask3D.from_monai(MetaTensor(*theirs(array=volume("uint8", (3, 2, 3, 4)))))
        assert got.dtype == torch.uint8
        np.testing.assert_array_equal(got.numpy(), volume("uint8", (3, 2, 3, 4)))

    def test_without_a_channel_as_load_image_gives_it(self):
        voxels, affine = theirs()
        for meta in ({"original_channel_dim": float("nan")}, {"original_channel_dim": "no_channel"}):
            assert TensorDicom3D.create(MetaTensor(voxels[0], affine, meta)).shape == (2, 3, 4)

    def test_of_the_space_lps_turns_nothing(self):
        got = TensorDicom3D.create(MetaTensor(theirs()[0], OBLIQUE.affine, {"space": "LPS"}))
        assert got.geometry.agrees(OBLIQUE, 1e-9)

    def test_knows_the_codes_of_nifti(self):
        codes = {"sform_code": np.int16(4), "qform_code": torch.tensor(0)}
        assert TensorDicom3D.create(MetaTensor(*theirs(), codes)).geometry.nifti_codes == (4, 0)

    def test_the_identity_that_no_file_gave_is_assumed(self):
        assert TensorDicom3D.create(MetaTensor(theirs()[0])).geometry.assumed == "all"
        assert TensorDicom3D.create(MetaTensor(theirs()[0], meta={"original_affine": np.eye(4)})).geometry.stated

    def test_refuses_what_is_no_volume_of_a_place(self):
        voxels, affine = theirs()
        with pytest.raises(ValueError, match=r"is a batch, .* take one of them, batch\[0\]"):
            TensorDicom3D.create(MetaTensor(voxels[None], affine, is_batch=True))
        with pytest.raises(ValueError, match="lazy transforms are pending"):
            TensorDicom3D.create(MetaTensor(voxels, affine, pending=({},)))
        with pytest.raises(UnsupportedImage, match=r"is \(C, W, H, D\) with a 4x4 affine, .* put EnsureChannelFirst"):
            TensorDicom3D.create(MetaTensor(voxels[:, 0], affine[:3, :3]))
        with pytest.raises(UnsupportedImage, match="put EnsureChannelFirst after LoadImage"):
            TensorDicom3D.create(MetaTensor(voxels[0], affine, {"original_channel_dim": 0}))
        with pytest.raises(UnsupportedImage, match="the space 'scanner'; RAS and LPS are understood"):
            TensorDicom3D.create(MetaTensor(voxels, affine, {"space": "scanner"}))
        with pytest.raises(MissingGeometry, match="affine of this MetaTensor describes no grid"):
            TensorDicom3D.create(MetaTensor(voxels, np.diag([1.0, 0, 1, 1])))
        with pytest.raises(TypeError, match="expected a MetaTensor of MONAI, got Tensor"):
            TensorDicom3D.from_monai(voxels)
        with pytest.raises(
            TypeError, match=r"a MetaTensor of monai has axes and a place of its own, .*create\(image\)"
        ):
            TensorDicom3D(MetaTensor(voxels, affine))

    @pytest.mark.parametrize("cls", [TensorDicom3D, TensorMask3D])
    def test_a_volume_is_not_given_to_monai_as_it_is(self, cls):
        here = cls(volume("float32"), OBLIQUE)
        with pytest.raises(TypeError, match=rf"{cls.__name__}\.from_monai\(transform\(image\.to_monai\(\)\)\)"):
            here[None].as_subclass(MetaTensor)
        stack = torch.stack([here, here.flip(-1)])
        with pytest.raises(TypeError, match="MONAI would forget"):
            stack.as_subclass(MetaTensor)
        assert type(cls(volume("float32")).as_subclass(MetaTensor)) is MetaTensor  # nothing is lost of no place


class TestFromTorchio:
    def test_takes_an_image_or_the_one_of_a_subject(self):
        scan, labels = Image(*theirs()), Image(*theirs(array=volume("uint8")), kind="label")
        subject = Subject(t1=scan, seg=labels)
        for cls, image in ((TensorDicom3D, scan), (TensorMask3D, labels)):
            for source in (image, subject):
                got = cls.from_torchio(source)
                assert type(got) is cls
                assert got.dtype == image.data.dtype
                np.testing.assert_array_equal(got.numpy(), image.data[0].numpy().T)
                assert got.geometry.agrees(OBLIQUE, 1e-9)
                assert cls.create(source).geometry.agrees(OBLIQUE, 1e-9)

    def test_a_subject_of_none_or_several_is_refused(self):
        scan = Image(*theirs())
        with pytest.raises(ValueError, match=r"holds 2 ScalarImages; .* 'a' \(Image\), 'b' .* subject\['name'\]"):
            TensorDicom3D.from_torchio(Subject(a=scan, b=scan))
        with pytest.raises(ValueError, match=r"holds no LabelMaps; its images are 'a' \(Image\)"):
            TensorMask3D.create(Subject(a=scan))

    def test_the_identity_that_no_file_gave_is_assumed(self):
        assert TensorDicom3D.create(Image(theirs()[0], np.eye(4))).geometry.assumed == "all"
        assert TensorDicom3D.create(Image(theirs()[0], np.eye(4), path="a.nii")).geometry.stated

    def test_refuses_what_is_no_volume(self):
        with pytest.raises(MissingGeometry, match="affine of this image of TorchIO describes no grid"):
            TensorDicom3D.create(Image(theirs()[0], np.diag([1.0, 0, 1, 1])))
        with pytest.raises(TypeError, match="of TorchIO is no volume"):
            TensorDicom3D.create(type("RandomFlip", (), {"__module__": "torchio.transforms"})())
        with pytest.raises(TypeError, match="expected a ScalarImage, LabelMap or Subject of TorchIO, got dict"):
            TensorDicom3D.from_torchio({})
        with pytest.raises(TypeError, match="Image of torchio has axes and a place of its own"):
            TensorDicom3D(Image(*theirs()))


@settings(max_examples=80)
@given(
    st.permutations(range(3)),
    st.tuples(*[st.booleans()] * 3),
    st.tuples(*[st.floats(0.1, 9)] * 3),
    st.sampled_from(["uint8", "int16", "int64", "float32", "float64", "bool"]),
    st.sampled_from([(), (2,)]),
    st.integers(0, 20),
    st.sampled_from([MetaTensor, Image]),
)
def test_every_storage_order_and_type_arrives_where_nibabel_says(order, flips, spacing, dtype, channels, seed, kind):
    here = Geometry((2, 3, 4), spacing, (10, -20, 30), rotation(seed) if seed else np.eye(3)).permute(order)
    here = here.regrid(
        here.shape, [-1 if f else 1 for f in flips], [n - 1 if f else 0 for f, n in zip(flips, here.shape, strict=True)]
    )
    array = np.abs(volume("float32", (*channels, *here.shape))).astype(dtype)
    voxels, affine = theirs(here, array.astype("uint8") if dtype in ("bool", "int64") else array)
    voxels = voxels.to(torch.bool if dtype == "bool" else torch.int64 if dtype == "int64" else voxels.dtype)
    got = (TensorMask3D.from_monai if kind is MetaTensor else TensorMask3D.from_torchio)(kind(voxels, affine))
    assert got.dtype == voxels.dtype
    assert got.geometry.agrees(here, 1e-9)
    corner = (0,) * len(channels) + (1, 0, 1)
    index = (0, *corner[-3:][::-1])
    assert got[corner] == voxels[index]
    np.testing.assert_allclose(here.index_to_world((1, 0, 1)), (RAS @ affine @ [1, 0, 1, 1])[:3], atol=1e-9)


class TestTo:
    def test_names_the_extra_of_monai(self, monkeypatch):
        for module in ("monai", "monai.data"):  # as if it were not installed
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=r"to_monai needs monai: pip install monai .* extra 'interop'"):
            TensorDicom3D(volume(), OBLIQUE).to_monai()

    def test_names_the_extra_of_torchio(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchio", None)  # as if it were not installed
        with pytest.raises(ImportError, match=r"to_torchio needs torchio: pip install torchio .* extra 'interop'"):
            TensorDicom3D(volume(), OBLIQUE).to_torchio()

    def test_a_batch_is_refused(self):
        batch = TensorDicom3D(volume("float32"), OBLIQUE)[None, None]
        for give in (batch.to_monai, batch.to_torchio, batch.to_nibabel):
            with pytest.raises(ValueError, match=r"takes one volume .*: take an item of the batch, t\[0\]"):
                give()

    def test_dlpack_shares_the_voxels_alone(self):
        here = TensorDicom3D(volume("float32"), OBLIQUE)
        plain = torch.from_dlpack(here)
        assert type(plain) is torch.Tensor
        assert plain.data_ptr() == here.data_ptr()


@needs("monai")
@pytest.mark.filterwarnings("ignore")  # those of MONAI are not ours to mend
class TestWithMonai:
    @pytest.mark.parametrize("geometry", [OBLIQUE, SHEARED], ids=["oblique", "sheared"])
    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_is_what_load_image_reads(self, tmp_path, geometry, channels):
        from monai.transforms import Compose, EnsureChannelFirst, LoadImage

        here = TensorDicom3D(volume("float32", (*channels, 2, 3, 4)), geometry)
        here.save(tmp_path / "a.nii")
        read = Compose([LoadImage(reader="NibabelReader"), EnsureChannelFirst()])(tmp_path / "a.nii")
        given = here.to_monai()
        assert torch.equal(read.as_tensor(), given.as_tensor())
        np.testing.assert_allclose(read.affine, given.affine, atol=1e-5)
        back = TensorDicom3D.from_monai(read)
        assert back.equal(here)
        assert back.geometry.agrees(geometry, 1e-4)

    def test_its_transforms_know_the_spacing(self):
        from monai.transforms import Orientation, ScaleIntensity, Spacing

        here = TensorDicom3D(torch.rand(16, 20, 24), {"spacing": (1, 1, 2), "origin": (-10, 5, 3)})
        with pytest.raises(TypeError, match="MONAI would forget spacing and place"):
            ScaleIntensity()(here[None])
        got = TensorDicom3D.from_monai(Spacing((2, 2, 2))(here.to_monai()))
        assert got.shape == (16, 10, 12)
        assert got.get_spacing() == pytest.approx((2, 2, 2), abs=0.2)
        turned = TensorDicom3D.from_monai(Orientation("PIR")(here.to_monai()))
        assert turned.equal(here.reorient("PIR"))
        assert turned.geometry.agrees(here.geometry.reorient("PIR"), 1e-6)


@needs("torchio")
@pytest.mark.filterwarnings("ignore")
class TestWithTorchio:
    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_is_what_it_reads(self, tmp_path, channels):
        import torchio as tio

        here = TensorDicom3D(volume("float32", (*channels, 2, 3, 4)), OBLIQUE)
        here.save(tmp_path / "a.nii")
        read, given = tio.ScalarImage(tmp_path / "a.nii"), here.to_torchio()
        assert torch.equal(read.data, given.data)
        np.testing.assert_allclose(read.affine, given.affine, atol=1e-5)
        assert TensorDicom3D.from_torchio(read).equal(here)

    def test_a_subject_is_transformed_together(self):
        import torchio as tio

        here = TensorDicom3D(volume("float32"), OBLIQUE)
        mask = TensorMask3D((here > 0).byte())
        subject = tio.ToCanonical()(tio.Subject(t1=here.to_torchio(), seg=mask.to_torchio()))
        assert isinstance(subject["seg"], tio.LabelMap)
        assert TensorDicom3D.from_torchio(subject).equal(here.reorient("RAS"))
        assert TensorMask3D.from_torchio(subject).equal(mask.reorient("RAS"))
