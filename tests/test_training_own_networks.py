"""A learner of ours for a network that is there."""

import pytest
from fastai.data.block import CategoryBlock
from small_trainings import Classifier, fit, loaders, write_volumes
from torch import nn

from faimed3d.training import VolumeLearner, volume_learner


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("volumes"))


class Scales(nn.Module):
    """Scores on two scales in training, as MONAI's and nnU-Net's networks give them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x):
        scores = self.conv(x)
        return [scores, scores[..., ::2, ::2, ::2]] if self.training else scores


def test_segments_with_normalization_loss_and_metrics_of_ours(table):
    learn = fit(volume_learner(loaders(table), Scales()), epochs=2)
    assert isinstance(learn, VolumeLearner)
    assert learn.trained_on.classes == ("background", "box")
    assert learn.trained_on.mean is not None
    assert [type(step).__name__ for step in learn.dls.valid.after_batch.fs][-1] == "Normalize3D"
    assert [metric.name for metric in learn.metrics] == ["dice"]
    mask = learn.predict_volume(table.t1[0], progress=False)
    assert mask.geometry.spacing == (1, 2, 3)
    assert sum(len(group) for group in learn.opt.param_lists) == 2


def test_classifies_with_the_loss_of_the_targets(table):
    learn = fit(volume_learner(loaders(table, CategoryBlock), Classifier(), normalize=False))
    assert type(learn.loss_func).__name__ == "CrossEntropyLossFlat"
    assert learn.trained_on.mean is None
    assert not learn.metrics


def test_a_class_is_refused(table):
    with pytest.raises(TypeError, match=r"model must be a network, an nn.Module, got .*Scales.*: call it"):
        volume_learner(loaders(table), Scales)
    with pytest.raises(TypeError, match=r"volume_learner\(\) takes no argument 'n_out'"):
        volume_learner(loaders(table), Scales(), n_out=2)
