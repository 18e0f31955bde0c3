"""The star import for notebooks."""

import fastai.vision.all as fastai_names
import pytest

import faimed3d.all as ours


def test_no_name_of_fastai_is_replaced_but_by_what_does_all_it_does():
    lost = [
        name
        for name in vars(fastai_names)
        if not name.startswith("_") and getattr(ours, name, None) is not getattr(fastai_names, name)
    ]
    # the one takes more, and tests/test_old_ways.py holds it against fastai's; the other one is fastai's for a network
    assert lost == ["retain_type", "load_model"]


@pytest.mark.filterwarnings("ignore:numpy.core is deprecated")  # fastai names it
def test_load_model_is_that_of_fastai_where_it_is_given_a_network(tmp_path):
    network, other = (ours.nn.Linear(2, 3) for _ in range(2))
    ours.torch.save(network.state_dict(), tmp_path / "a.pth")
    ours.load_model(tmp_path / "a.pth", other, None, with_opt=False, strict=True)
    assert ours.torch.equal(other.weight, network.weight)
    with pytest.raises(TypeError, match=r"load_model\(\) takes no argument 'with_opt'"):
        ours.load_model(tmp_path / "b.fm3d", with_opt=False)


def test_the_networks_of_torchvision_are_at_hand():
    assert callable(ours.r3d_18)
    assert callable(ours.UNet3D)
