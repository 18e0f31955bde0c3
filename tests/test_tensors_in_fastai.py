"""Both tensor types through fastai: blocks, batches, dispatch, display, training, export."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from dicom_series import SECRETS, make_series
from dicom_series import write as write_dicom
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import Datasets
from fastai.data.transforms import IndexSplitter, ToTensor
from fastai.learner import Learner, load_learner
from fastai.torch_core import set_seed
from fasttransform import Pipeline, Transform
from torch import nn

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.geometry import Geometry

COUNT = 6
SHAPE = (4, 6, 8)
LABEL_COLUMN = 5  # the class is where the image is bright: columns from here on


class ForModel(Transform):
    """Image: channel axis. Mask: whole numbers."""

    def encodes(self, x: TensorDicom3D):
        return x[None]

    def encodes(self, x: TensorMask3D):  # noqa: F811 - fastai picks the method by the type
        return x.long()


def mask_of(path):
    return path.parent.parent / "masks" / path.name


def geometry_of(number):
    """A grid of its own for every volume, so that a batch that mixes them up is seen."""
    return Geometry(SHAPE, spacing=(1 + number, 2, 3), origin=(10 * number, -5, 7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Volumes whose voxels are 1 or more where the mask is 1, all NIfTI, the number of each in its name."""
    root = tmp_path_factory.mktemp("learner")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        mask = np.zeros(SHAPE, np.uint8)
        mask[..., LABEL_COLUMN:] = 1
        image = random.normal(0, 0.1, SHAPE).astype(np.float32) + mask
        TensorDicom3D(image, geometry_of(number)).save(root / "images" / f"{number}.nii.gz")
        TensorMask3D(mask, geometry_of(number)).save(root / "masks" / f"{number}.nii.gz")
    return root


def make_dls(folder, num_workers=0, bs=2):
    block = DataBlock(
        blocks=(TransformBlock(TensorDicom3D.create), TransformBlock(TensorMask3D.create)),
        get_items=lambda source: sorted(source.glob("*.nii.gz")),
        get_y=mask_of,
        splitter=IndexSplitter([COUNT - 2, COUNT - 1]),
        item_tfms=ForModel,
    )
    return block.dataloaders(folder / "images", bs=bs, num_workers=num_workers)


def make_net():
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1))


def make_learner(folder):
    set_seed(0)
    # fastai's CrossEntropyLossFlat(axis=1) turns the axes of scores and labels of volumes differently
    return Learner(make_dls(folder), make_net(), loss_func=nn.CrossEntropyLoss())


class TestBatches:
    def test_items_have_the_two_types_and_their_geometry(self, folder):
        image, mask = make_dls(folder).train_ds[1]
        assert type(image) is TensorDicom3D
        assert type(mask) is TensorMask3D
        assert image.geometry.agrees(geometry_of(1))
        assert mask.geometry.agrees(geometry_of(1))

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_keep_type_and_geometry_of_each_item(self, folder, num_workers):
        dls = make_dls(folder, num_workers=num_workers)
        seen = []
        for images, masks in dls.valid:
            assert type(images) is TensorDicom3D
            assert type(masks) is TensorMask3D
            assert images.shape == (2, 1, *SHAPE)
            assert masks.shape == (2, *SHAPE)
            assert images.dtype == torch.float32
            assert masks.dtype == torch.int64
            for image, mask in zip(images, masks, strict=True):
                assert image.geometry.agrees(mask.geometry)
                seen.append(image.geometry)
        assert len(seen) == 2
        assert seen[0].agrees(geometry_of(COUNT - 2))
        assert seen[1].agrees(geometry_of(COUNT - 1))

    def test_shuffled_items_keep_their_own_geometry(self, folder):
        for images, masks in make_dls(folder).train:
            for image, mask in zip(images, masks, strict=True):
                number = round(image.geometry.spacing[0]) - 1
                assert image.geometry.agrees(geometry_of(number))
                stored = TensorDicom3D.create(folder / "images" / f"{number}.nii.gz")
                assert torch.equal(image[0], stored)
                assert mask.geometry.agrees(geometry_of(number))

    def test_a_batch_of_different_grids_has_no_geometry_of_its_own(self, folder):
        images, _ = make_dls(folder).one_batch()
        assert images.geometry is None


class TestDispatch:
    class Brighten(Transform):
        def encodes(self, x: TensorDicom3D):
            return x + 1

    class AlsoMasks(Brighten):
        def encodes(self, x: TensorMask3D):
            return x

    class ToPlain(Transform):
        """Lose the type on the way: fasttransform puts it back."""

        def encodes(self, x: TensorDicom3D):
            return x.as_subclass(torch.Tensor) * 2

    @pytest.fixture
    def pair(self):
        geometry = geometry_of(2)
        return TensorDicom3D(torch.zeros(SHAPE), geometry), TensorMask3D(torch.ones(SHAPE), geometry)

    def test_a_transform_of_images_reaches_masks_too_as_they_are_images(self, pair):
        image, mask = self.Brighten()(pair)
        assert image.unique().tolist() == [1]
        assert mask.unique().tolist() == [2]

    def test_a_method_for_masks_goes_before_the_one_for_images(self, pair):
        image, mask = self.AlsoMasks()(pair)
        assert image.unique().tolist() == [1]
        assert mask.unique().tolist() == [1]
        assert type(mask) is TensorMask3D

    def test_leaves_other_tensors_alone(self):
        plain = torch.zeros(SHAPE)
        assert self.Brighten()(plain) is plain

    def test_type_and_geometry_come_back_where_a_transform_lost_them(self, pair):
        image, mask = self.ToPlain()(pair)
        assert type(image) is TensorDicom3D
        assert type(mask) is TensorMask3D
        assert image.geometry == pair[0].geometry
        assert mask.geometry == pair[1].geometry

    def test_geometry_is_not_put_back_on_another_shape(self, pair):
        class Halve(Transform):
            def encodes(self, x: TensorDicom3D):
                return x.as_subclass(torch.Tensor)[..., ::2]

        image, mask = Halve()(pair)
        assert type(image) is TensorDicom3D
        assert type(mask) is TensorMask3D
        assert image.geometry is None
        assert mask.geometry is None

    def test_pipeline_over_datasets(self, folder):
        files = sorted((folder / "images").glob("*.nii.gz"))
        data = Datasets(files, [[TensorDicom3D.create, self.AlsoMasks()], [mask_of, TensorMask3D.create, ToTensor()]])
        image, mask = data[3]
        assert torch.equal(image, TensorDicom3D.create(files[3]) + 1)
        assert torch.equal(mask, TensorMask3D.create(mask_of(files[3])))
        assert isinstance(data.tfms[0], Pipeline)


class TestShowBatch:
    @pytest.fixture(autouse=True)
    def _only_own_figures(self):
        plt.close("all")
        yield
        plt.close("all")

    def drawn(self):
        axes = [ax for number in plt.get_fignums() for ax in plt.figure(number).axes]
        return [len(ax.images) for ax in axes if ax.images]

    def test_draws_every_item_with_its_mask_over_it(self, folder):
        make_dls(folder).show_batch(max_n=2)
        assert self.drawn() == [2, 2]

    def test_draws_on_the_axes_that_are_given(self, folder):
        _, axes = plt.subplots(1, 2)
        make_dls(folder).show_batch(ctxs=list(axes), max_n=2)
        assert [len(ax.images) for ax in axes] == [2, 2]
        assert len(plt.get_fignums()) == 1


class TestTraining:
    def test_learns_the_bright_class(self, folder):
        learn = make_learner(folder)
        with learn.no_logging():
            before = learn.validate()[0]
            learn.fit(1, 0.05)
            first = learn.validate()[0]
            learn.fit(9, 0.05)
            scores, targets = learn.get_preds()
        assert first < before
        assert scores.shape == (2, 2, *SHAPE)
        assert targets.shape == (2, *SHAPE)
        assert (scores.argmax(1) == targets).float().mean() > 0.95

    def test_model_gets_plain_tensors(self, folder):
        kinds = set()

        class Spy(nn.Conv3d):
            def forward(self, x):
                kinds.add(type(x))
                return super().forward(x)

        learn = Learner(make_dls(folder), Spy(1, 2, 1), loss_func=nn.CrossEntropyLoss())
        with learn.no_logging():
            learn.fit(1)
        # CastToTensor of fastai hands on TensorBase's parent, so the model pays for no tracking
        assert kinds == {torch.Tensor}

    def test_weights_only_load_of_a_volume(self, folder, tmp_path):
        image = TensorDicom3D.create(folder / "images" / "3.nii.gz")
        torch.save(image, tmp_path / "image.pt")
        again = torch.load(tmp_path / "image.pt")
        assert type(again) is TensorDicom3D
        assert again.geometry == image.geometry
        assert torch.equal(again, image)


def export_dls(root):
    """Functions of a module, as pickle needs them; the images are DICOM folders of a patient with a name."""
    block = DataBlock(
        blocks=(TransformBlock(TensorDicom3D.create), TransformBlock(TensorMask3D.create)),
        get_items=series_of,
        get_y=mask_beside,
        splitter=IndexSplitter([1]),
        item_tfms=ForModel,
    )
    return block.dataloaders(root, bs=1, num_workers=0)


def series_of(root):
    return sorted(path for path in root.iterdir() if path.is_dir())


def mask_beside(path):
    return path.with_suffix(".nrrd")


class TestExport:
    SURNAME = "Quintessa"

    @pytest.fixture
    def exported(self, tmp_path):
        data = tmp_path / "hospital"
        data.mkdir()
        for number in range(2):
            case = data / f"{self.SURNAME}_{number}"
            write_dicom(make_series(PatientName=f"{self.SURNAME}^Ann"), case)
            image = TensorDicom3D.create(case)
            TensorMask3D((image > 500).to(torch.uint8), image.geometry).save(mask_beside(case))
        set_seed(0)
        learn = Learner(export_dls(data), make_net(), loss_func=nn.CrossEntropyLoss())
        assert learn.dls.train_ds[0][0].metadata["0010|0010"] == f"{self.SURNAME}^Ann"  # there is something to leak
        with learn.no_logging():
            learn.fit(1)
        learn.path = tmp_path
        learn.export("model.pkl")
        return learn, tmp_path / "model.pkl", data

    def test_holds_no_header_value_and_no_name_of_a_file(self, exported):
        _, file, data = exported
        content = file.read_bytes()
        assert b"faimed3d" in content  # stored, not packed: a search through the bytes means something
        for secret in (self.SURNAME, SECRETS[1], SECRETS[2], data.name, "IM9999"):
            assert secret.encode() not in content

    def test_a_volume_within_it_takes_no_header_along(self, exported, tmp_path):
        learn = exported[0]
        learn.example = learn.dls.train_ds[0][0]
        learn.export("example.pkl")
        content = (tmp_path / "example.pkl").read_bytes()
        assert b"TensorDicom3D" in content
        for secret in (self.SURNAME, *SECRETS):
            assert secret.encode() not in content

    def test_predicts_the_same_when_loaded_again(self, exported):
        learn, file, data = exported
        with warnings.catch_warnings():
            # fastai says at every load that pickle is not safe against files of strangers
            warnings.filterwarnings("ignore", message=".*pickle", category=UserWarning)
            again = load_learner(file)
        items = series_of(data)
        scores = []
        for one in (learn, again):
            with one.no_logging():
                scores.append(one.get_preds(dl=one.dls.test_dl(items))[0])
        assert torch.equal(*scores)
        assert scores[0].shape[:2] == (2, 2)
