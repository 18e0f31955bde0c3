"""Mixed precision on the CPU, and what an interrupt leaves behind."""

import pickle

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.training import GradientAccumulation, GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.torch_core import set_seed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from faimed3d.losses import DiceCELoss3D
from faimed3d.models import UNet3D
from faimed3d.training import Autocast
from faimed3d.training.precision import fast_dtype

SHAPE = (6, 5, 8)  # halved still no smaller than the kernels


def batches(count=3, bs=2):
    random = torch.Generator().manual_seed(1)
    images = torch.randn(count * bs, 1, *SHAPE, generator=random)
    items = [(image, (image[0] > 0).long()) for image in images]
    return DataLoaders.from_dsets(items, items[:bs], bs=bs, num_workers=0)


class Formats(Callback):
    """Note in which formats the layers compute, and what the scores, the loss and the gradients are."""

    order = 20

    def before_fit(self):
        self.inside, self.outside = set(), set()
        layers = [m for m in self.learn.model.modules() if isinstance(m, nn.Conv3d)]
        self.hooks = [m.register_forward_hook(lambda m, x, y: self.inside.add(y.dtype)) for m in layers]

    def after_loss(self):
        self.outside |= {self.learn.pred.dtype, self.learn.loss.dtype}
        assert not torch.is_autocast_enabled("cpu")

    def after_step(self):
        self.outside |= {dtype for p in self.learn.model.parameters() for dtype in (p.dtype, p.grad.dtype)}

    def after_fit(self):
        for hook in self.hooks:
            hook.remove()


def train(cbs, epochs=1, model=None, lr=1e-2):
    set_seed(2)
    learn = Learner(batches(), model or UNet3D(1, 2, widths=(4, 6)), loss_func=DiceCELoss3D(), cbs=cbs, lr=lr)
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs)
    return learn


class TestAutocast:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    def test_layers_compute_in_its_format_and_the_rest_in_float32(self, dtype):
        learn = train([Autocast(dtype), Formats()])
        assert learn.autocast.active == dtype
        assert learn.formats.inside == {dtype}
        assert learn.formats.outside == {torch.float32}
        assert "_do_one_batch" not in vars(learn)

    @pytest.mark.parametrize(
        ("amx", "bf16", "dtype"), [(0, 1, torch.bfloat16), (1, 0, torch.bfloat16), (0, 0, torch.float32)]
    )
    def test_the_default_is_what_the_cpu_has_instructions_for(self, monkeypatch, amx, bf16, dtype):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
        assert train([Autocast(), Formats()]).formats.inside == {dtype}

    @pytest.mark.parametrize(("capability", "dtype"), [((8, 0), torch.bfloat16), ((7, 5), torch.float16)])
    def test_the_default_of_a_gpu(self, monkeypatch, capability, dtype):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        assert fast_dtype("cuda:1") == dtype
        assert fast_dtype("meta") == torch.float32

    def test_float32_changes_nothing_and_bfloat16_little(self):
        usual, same, near = (
            train(cbs, 3).recorder.losses[-1].item() for cbs in ([], Autocast("fp32"), Autocast("bf16"))
        )
        assert same == usual
        assert near != usual
        assert near == pytest.approx(usual, rel=0.02)

    def test_validation_and_predictions_are_in_it_too(self):
        learn = train([Autocast("bf16"), Formats()])
        with learn.no_bar():
            learn.formats.inside.clear()
            scores, _ = learn.get_preds()
        assert learn.formats.inside == {torch.bfloat16}
        assert scores.dtype == torch.float32

    def test_of_scores_on_several_scales_each_is_float32(self):
        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = UNet3D(1, 2, widths=(4, 6))

            def forward(self, x):
                scores = self.net(x)
                return [scores, scores[..., ::2]]

        class Look(Callback):
            order = Autocast.order + 1

            def after_pred(self):
                self.came = [head.dtype for head in self.learn.pred]

        assert train([Autocast("bf16"), Look()], model=Two()).look.came == [torch.float32] * 2

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_an_interrupt_leaves_nothing_switched_on(self, error):
        class Broken(UNet3D):
            broken = True

            def forward(self, x):
                if self.broken:
                    raise error("stop")
                return super().forward(x)

        learn = Learner(
            batches(), Broken(1, 2, widths=(4, 6)), loss_func=DiceCELoss3D(), cbs=[Autocast("bf16"), Formats()]
        )
        with learn.no_bar(), learn.no_logging():
            with pytest.raises(error, match="stop"):
                learn.fit(1)
            assert not torch.is_autocast_enabled("cpu")
            learn.model.broken = False
            learn.remove_cb(Autocast)
            learn.fit(1)
        assert learn.formats.inside == {torch.float32}

    def test_a_step_whose_gradients_overflow_is_left_out(self):
        set_seed(2)
        before = UNet3D(1, 2, widths=(4, 6)).state_dict()
        learn = train(Autocast("fp16", scaler={"init_scale": 2.0**60}))
        assert all(torch.equal(value, before[name]) for name, value in learn.model.state_dict().items())
        learn = train([Autocast("fp16", scaler={"init_scale": 2.0**10, "growth_interval": 1}), Scale()])
        assert learn.scale.values == [2.0**11, 2.0**12, 2.0**13]
        assert not any(torch.equal(p, before[name]) for name, p in learn.model.named_parameters() if name in before)

    @settings(max_examples=6)
    @given(st.sampled_from(["bf16", "fp16"]), st.sampled_from([0.1, 0.5, 2.0]), st.integers(1, 3))
    def test_gradients_are_clipped_and_gathered_as_without_it(self, dtype, norm, items):
        cbs = [GradientClip(norm), GradientAccumulation(2 * items)]
        usual = train(cbs, 2).recorder.losses
        mixed = train([Autocast(dtype), *cbs], 2).recorder.losses
        assert torch.allclose(torch.stack(usual), torch.stack(mixed), rtol=0.02)

    def test_can_be_pickled_with_its_learner(self):
        learn = train(Autocast("fp16"))
        assert pickle.loads(pickle.dumps(learn)).autocast.dtype == torch.float16

    def test_what_it_refuses(self):
        with pytest.raises(ValueError, match=r"dtype must be torch.bfloat16, .* got 'int8'"):
            Autocast("int8")
        with pytest.raises(ValueError, match="Autocast and fastai's MixedPrecision"):
            train([Autocast(), MixedPrecision()])


class Scale(Callback):
    """Note the scale of the loss after each step."""

    order = Autocast.order + 1

    def before_fit(self):
        self.values = []

    def after_step(self):
        self.values.append(self.learn.scaler.get_scale())
