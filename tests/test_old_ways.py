"""What a user of fastai and of faimed3d 0.0.6 writes from habit does what he means, or says what to write."""

import re
import urllib.error
import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import ColSplitter, RandomSplitter
from fastai.vision.augment import Flip, RandomErasing, Resize, aug_transforms
from fasttransform import retain_type as new_retain_type
from fasttransform.cast import cast, retain_meta
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.video import r3d_18

import faimed3d.all as names
from faimed3d import basics
from faimed3d.basics import TensorDicom3D, TensorMask3D, retain_type
from faimed3d.data import ImageBlock3D, ImageDataLoaders3D, MaskBlock3D, SegmentationDataLoaders3D
from faimed3d.data.flat_transforms import flat_transforms
from faimed3d.geometry import Geometry
from faimed3d.intensity import WINDOWS, window_limits
from faimed3d.legacy.plane_warps import warp_3d
from faimed3d.models import (
    AlexNet3D,
    UNet3D,
    create_cnn_model_3d,
    create_deeplab_model_3d,
    create_head,
    create_unet_model_3d,
    encoder,
)
from faimed3d.training import cnn_learner_3d, unet_learner_3d

HERE = Geometry((2, 3, 4), spacing=(1, 2, 3), origin=(5, 6, 7))


def table(count=8):
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "image": [random.random((4, 6, 8), np.float32) for _ in range(count)],
            "mask": [np.ones((4, 6, 8), np.uint8)] * count,
            "label": ["a", "b"] * (count // 2),
            "is_valid": [n >= count - 2 for n in range(count)],
        }
    )


def loaders(kind=ImageDataLoaders3D, **arguments):
    target = (
        {"label_col": "mask", "codes": ["none", "x"]} if kind is SegmentationDataLoaders3D else {"label_col": "label"}
    )
    return kind.from_df(table(), fn_col="image", bs=2, seed=1, num_workers=0, device="cpu", **{**target, **arguments})


def small_encoder():
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, stride=2, padding=1))


class TestRetainType:
    def test_takes_the_argument_of_the_first_page_and_gives_a_place(self):
        t = retain_type(torch.rand(2, 3, 4), typ=TensorDicom3D)
        assert type(t) is TensorDicom3D
        assert t.get_spacing() == (1, 1, 1)

    @pytest.mark.parametrize("kind", [TensorDicom3D, TensorMask3D])
    @pytest.mark.parametrize("how", ["old", "third", "ret_type", "typ"])
    def test_the_type_and_place_of_what_was_before(self, kind, how):
        plain, old = torch.rand(2, 3, 4), kind(torch.rand(2, 3, 4), HERE)
        call = {
            "old": lambda: retain_type(plain, old),
            "third": lambda: retain_type(plain, old, kind),
            "ret_type": lambda: retain_type(plain, old, ret_type=kind),
            "typ": lambda: retain_type(plain, old, typ=kind),
        }[how]
        made = call()
        assert type(made) is kind
        assert made.geometry == HERE
        assert torch.equal(made.as_subclass(Tensor), plain)

    def test_does_what_fasttransform_does_with_its_arguments(self):
        image, plain = TensorDicom3D(torch.rand(2, 3, 4), HERE), torch.rand(2, 3, 4)
        for arguments in (
            (plain, image),
            (plain, image, TensorMask3D),
            (plain, plain),
            (3, image),
        ):
            ours, theirs = retain_type(*arguments), new_retain_type(*arguments)
            assert type(ours) is type(theirs)
            assert getattr(ours, "geometry", None) == getattr(theirs, "geometry", None)
        assert retain_type(None, image) is None
        assert retain_type(plain, image, None) is plain

    def test_works_with_the_signature_that_fasttransform_had(self, monkeypatch):
        def earlier(new, old=None, typ=None, as_copy=False):
            if typ is None:
                return retain_meta(old, cast(new, type(old))) if isinstance(old, type(new)) else new
            return new if isinstance(new, typ) else retain_meta(old, cast(new, typ), as_copy=as_copy)

        monkeypatch.setattr(basics, "_retain_type", earlier)
        monkeypatch.setattr(basics, "_FROM_OLD", None)
        image = TensorDicom3D(torch.rand(2, 3, 4), HERE)
        assert retain_type(torch.rand(2, 3, 4), image).geometry == HERE
        assert type(retain_type(torch.rand(2, 3, 4), image, typ=TensorMask3D)) is TensorMask3D

    def test_refuses_two_types_and_none(self):
        with pytest.raises(TypeError, match="ret_type and typ are the same argument"):
            retain_type(torch.rand(2, 3, 4), None, TensorMask3D, typ=TensorMask3D)
        with pytest.raises(TypeError, match="retain_type needs old, or a type"):
            retain_type(torch.rand(2, 3, 4))

    def test_is_the_one_of_the_star_import(self):
        assert names.retain_type is retain_type


class TestSplitter:
    @pytest.mark.parametrize("kind", [ImageDataLoaders3D, SegmentationDataLoaders3D])
    def test_is_used(self, kind):
        assert len(loaders(kind, splitter=ColSplitter("is_valid")).valid_ds) == 2

    def test_of_no_use_beside_a_column(self):
        with pytest.raises(TypeError, match="valid_col and splitter both say which rows are validation"):
            loaders(splitter=RandomSplitter(), valid_col="is_valid")


class TestFlatTransforms:
    def test_factories_warn_once_and_name_ours(self):
        text = "Resize, Flip, RandomErasing of fastai do nothing to volumes: use Resize3D, RandomFlip3D, a transform of"
        with pytest.warns(UserWarning, match=text) as caught:
            dls = loaders(item_tfms=Resize(8), batch_tfms=[Flip(), RandomErasing(p=1.0)])
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cnn_learner_3d(dls, small_encoder())

    def test_learners_warn_of_loaders_of_a_data_block(self):
        block = DataBlock(
            (ImageBlock3D, CategoryBlock), get_x=lambda k: np.full((2, 3, 4), k, np.float32), get_y=lambda k: k % 2,
            splitter=RandomSplitter(seed=1), batch_tfms=aug_transforms(),
        )  # fmt: skip
        dls = block.dataloaders([*range(8)], bs=2, num_workers=0, device="cpu")
        with pytest.warns(UserWarning, match="of fastai do nothing to volumes: use RandomFlip3D.*aug_transforms_3d"):
            cnn_learner_3d(dls, small_encoder())

    @pytest.mark.parametrize("transforms", [None, [], [names.Resize3D(4)], names.aug_transforms_3d()])
    def test_ours_are_silent(self, transforms):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaders(item_tfms=transforms)

    def test_every_name_it_advises_is_there(self):
        from faimed3d.data.flat_transforms import _INSTEAD

        for advice in _INSTEAD.values():
            assert all(hasattr(names, name) for name in advice.split(" and "))
        assert flat_transforms([names.Resize3D(4), np.sqrt]) == {}


class TestWindows:
    @pytest.mark.parametrize("name", WINDOWS)
    def test_a_window_in_the_order_of_fastai_is_told(self, name):
        centre, width = WINDOWS[name]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert window_limits((centre, width)) == window_limits(name)
        if centre <= 0:
            with pytest.raises(ValueError, match=rf"\(width, centre\)\? Pass \({centre:g}, {width:g}\)"):
                window_limits((width, centre))
        else:
            with pytest.warns(UserWarning, match=rf"pass '{name}' or \({centre:g}, {width:g}\)"):
                assert window_limits((width, centre)) == (width - centre / 2, width + centre / 2)

    @given(centre=st.floats(-2000, 2000), width=st.floats(-3000, 0))
    def test_a_width_that_is_none_names_the_order(self, centre, width):
        with pytest.raises(ValueError, match=r"window is \(centre, width\) and the width must be above 0") as raised:
            window_limits((centre, width))
        assert ("(width, centre)?" in str(raised.value)) == (centre > 0)

    def test_a_name_that_is_nearly_one(self):
        with pytest.raises(ValueError, match="got 'lungs'; did you mean 'lung'"):
            window_limits("lungs")


class TestShow:
    image = TensorDicom3D(torch.rand(4, 6, 8))

    @pytest.fixture(autouse=True)
    def close(self):
        yield
        plt.close("all")

    def test_a_batch_is_a_mosaic_of_all(self):
        batch = torch.stack([self.image, self.image])[:, None]
        ax = batch.show(nrow=8)
        assert ax.images[0].get_array().shape == (6 + 2 * 2, 8 * 8 + 9 * 2)
        masks = TensorMask3D(torch.ones(2, 4, 6, 8))
        assert len(batch.show(mask=masks).images) == 2

    def test_an_axis_by_position(self):
        assert (
            self.image.show(1, nrow=2).images[0].get_array().shape
            == self.image.show(axis=1, nrow=2).images[0].get_array().shape
        )
        assert self.image.show("coronal").images

    def test_a_mask_goes_over_what_is_there(self):
        ax = self.image.show()
        mask = TensorMask3D((self.image.as_subclass(Tensor) > 0.5).long())
        assert mask.show(add_to_existing=True, alpha=0.25, cmap="jet") is ax
        assert len(ax.images) == 2
        assert ax.images[1].get_alpha() == 0.25

    @pytest.mark.parametrize("how", [{"viewer": "mosaik", "nrow": 15}, {"axis": 0, "nrow": 10}, {"viewer": "mosaic"}])
    def test_show_batch_3d_as_it_was_written(self, how):
        assert loaders().show_batch_3d(figsize=(15, 15), **how).images

    def test_show_batch_3d_refuses_other_viewers(self):
        with pytest.raises(ValueError, match="viewer must be 'widget' or 'mosaic', got 'napari'"):
            loaders().show_batch_3d(viewer="napari")

    def test_results_of_items_without_labels(self):
        for dls, learn in (
            (seg := loaders(SegmentationDataLoaders3D), unet_learner_3d(seg, UNet3D, widths=(4, 8))),
            (cls := loaders(), cnn_learner_3d(cls, small_encoder())),
        ):
            for items in (table(4).iloc[:3], list(table(4).image)[:3]):
                plt.close("all")
                with learn.no_bar(), learn.no_logging():
                    learn.show_results(dl=dls.test_dl(items, bs=3), max_n=2)
                assert sum(bool(ax.images) for ax in plt.gcf().axes) == 2


class TestLegacyMethods:
    image, mask = TensorDicom3D(torch.rand(2, 3, 4)), TensorMask3D(torch.ones(2, 3, 4))

    def test_an_interpolation_that_is_done_may_be_named(self):
        plain = self.image.resize_3d((3, 4, 5))
        assert torch.equal(self.image.resize_3d((3, 4, 5), None, "trilinear", True), plain)
        assert self.mask.resize_3d((3, 4, 5), mode="nearest").shape == (3, 4, 5)
        warp = partial(warp_3d, magnitude_h=0.1, magnitude_w=0.1)
        assert torch.equal(self.image.grid_tfms(warp, "bilinear"), self.image.grid_tfms(warp))
        assert self.mask.grid_tfms(warp, mode="nearest").shape == (2, 3, 4)

    def test_another_one_is_refused(self):
        with pytest.raises(ValueError, match="resize_3d interpolates images by 'trilinear', not by 'nearest'"):
            self.image.resize_3d((3, 4, 5), mode="nearest")
        with pytest.raises(ValueError, match="align_corners=False would move voxels"):
            self.image.resize_3d((3, 4, 5), align_corners=False)
        with pytest.raises(ValueError, match="grid_tfms interpolates images by 'bilinear', not by 'bicubic'"):
            self.image.grid_tfms(partial(warp_3d, magnitude_h=0.1, magnitude_w=0.1), "bicubic")

    def test_a_block_is_not_given_its_class(self):
        with pytest.raises(TypeError, match=r"takes the names of the labels, got TensorMask3D: masks are always"):
            MaskBlock3D(TensorMask3D)


class TestNetworks:
    def test_a_head_takes_hidden_layers_as_in_fastai(self):
        linear = [layer.out_features for layer in create_head(512, 2, [256]).modules() if isinstance(layer, nn.Linear)]
        assert linear == [256, 2]

    @pytest.mark.parametrize(
        "call",
        [
            lambda: create_unet_model_3d(r3d_18, 2, (16, 16, 16), 1),
            lambda: create_cnn_model_3d(r3d_18, 2, 1, pretrained=False),
            lambda: create_cnn_model_3d(r3d_18, 2, None, False),
            lambda: create_deeplab_model_3d(r3d_18, 2, 1),
            lambda: create_head(8, 2, [4], 0.5),
        ],
    )
    def test_refuse_what_stood_at_another_place(self, call):
        with pytest.raises(TypeError, match=r"\(\) takes \d arguments? by position, got \d: name all after"):
            call()

    @pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
    @pytest.mark.parametrize("how", ["script", "trace", "fx", "export"])
    @pytest.mark.parametrize("network", ["UNet3D", "unet", "deeplab", "cnn", "AlexNet3D"])
    def test_can_be_scripted_traced_and_exported(self, network, how):
        torch.manual_seed(0)
        model = {
            "UNet3D": lambda: UNet3D(1, 2, widths=(4, 8, 8)),
            "unet": lambda: create_unet_model_3d(small_encoder(), 2),
            "deeplab": lambda: create_deeplab_model_3d(small_encoder(), 2, width=4),
            "cnn": lambda: create_cnn_model_3d(small_encoder(), 2),
            "AlexNet3D": lambda: AlexNet3D(1, 2),
        }[network]().eval()
        x = torch.rand(1, 1, 5, 9, 12)
        made = {
            "script": lambda: torch.jit.script(model),
            "trace": lambda: torch.jit.trace(model, x),
            "fx": lambda: torch.fx.symbolic_trace(model),
            "export": lambda: torch.export.export(model, (x,)).module(),
        }[how]()
        with torch.no_grad():
            assert torch.allclose(made(x), model(x), atol=1e-5)

    def test_weights_that_cannot_be_downloaded_say_where_to_put_them(self, monkeypatch, tmp_path):
        def offline(url, *_, **__):
            raise urllib.error.URLError("no network")

        monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        where = re.escape(str(tmp_path / "hub" / "checkpoints"))
        text = rf"weights of r3d_18 .* cannot be downloaded \(no network\): download https\S+r3d_18\S+\.pth .* {where}"
        with pytest.raises(OSError, match=text):
            encoder.create_body(r3d_18, 1, pretrained=True)

        def own(pretrained=False):
            raise urllib.error.HTTPError("https://weights.example/own.pth", 404, "Not Found", {}, None)

        with pytest.raises(OSError, match=r"weights of own .*Not Found.*download https://weights\.example/own\.pth"):
            encoder.create_body(own, 1, pretrained=True)


class TestLoadersOfTorch:
    def make(self, batch=tuple):
        items = [batch((torch.rand(1, 4, 6, 8), torch.ones(4, 6, 8).long())) for _ in range(4)]
        return torch.utils.data.DataLoader(items, batch_size=2)

    @pytest.mark.filterwarnings("ignore:the training loader is a DataLoader, not one of fastai's")
    def test_train_and_validate(self):
        dls = DataLoaders(self.make(), self.make())
        learn = unet_learner_3d(dls, UNet3D, n_out=2, loss_func=names.DiceCELoss3D(), widths=(4, 8))
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)
            assert np.isfinite(learn.validate()[0])
            assert learn.get_preds(dl=self.make())[0].shape == (4, 2, 4, 6, 8)
        with pytest.raises(TypeError, match="hold a DataLoader of torch, which does not say how a volume is read"):
            learn.predict_volume(np.zeros((4, 6, 8), np.float32))

    def test_say_what_they_lack(self):
        dls = DataLoaders(self.make(), self.make())
        with pytest.raises(ValueError, match="pass n_out"):
            unet_learner_3d(dls, UNet3D)
        with pytest.raises(ValueError, match="or pass loss_func"):
            unet_learner_3d(dls, UNet3D, n_out=2)
        with pytest.raises(TypeError, match=r"got one DataLoader: pass DataLoaders\(train, valid\)"):
            unet_learner_3d(self.make(), UNet3D, n_out=2)
        mappings = self.make(lambda pair: dict(zip(("image", "label"), pair, strict=True)))
        with pytest.raises(TypeError, match=r"must give tuples \(images, targets\), got a dict"):
            unet_learner_3d(DataLoaders(mappings, mappings), UNet3D, n_out=2, loss_func=names.DiceCELoss3D())
