"""Probabilities from the network's grid to the patient's."""

import numpy as np
import pytest
import torch
from shown_labels import OBLIQUE, learner_of, write_cases

from faimed3d.augment import PadOrCrop3D
from faimed3d.basics import Geometry, TensorDicom3D
from faimed3d.inference.probabilities import bring_onto, collect_slabs


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


class TestScores:
    def test_a_grid_that_ends_inside_the_other_goes_on_to_its_rim_and_stays_in_place(self):
        target = Geometry((3, 4, 12), spacing=(0.2, 2, 3), origin=(5, 6, 7), direction=OBLIQUE)
        working = TensorDicom3D(torch.zeros(3, 4, 12), target).resample((1, 2, 3)).geometry
        edge = target.world_to_index(working.index_to_world((1, 1, -0.5)))[2]
        assert edge > 0.01  # so the first centre of the one lies beyond the edge of the other
        ramp = torch.arange(float(working.shape[2])).expand(working.shape)
        found = bring_onto(ramp, working, target, TensorDicom3D, fill=-9.0)[1, 1]
        places = [working.world_to_index(target.index_to_world((1, 1, w)))[2] for w in range(12)]
        expected = np.clip(places, 0, working.shape[2] - 1)
        assert np.allclose(found, expected, atol=1e-5)

    def test_outside_of_what_was_predicted_background_is_certain(self, table):
        learn = learner_of(table, [PadOrCrop3D((5, 12, 14))])
        with pytest.warns(UserWarning, match="have cut the volume"):
            _, probabilities = learn.predict_volume(table["image"][0], probabilities=True)
        outside = probabilities.as_subclass(torch.Tensor)[:, [0, 1, 7, 8]]
        assert (outside[0] == 1).all()
        assert (outside[1:] == 0).all()

    def test_of_more_classes_than_a_byte_holds(self):
        slabs = iter([torch.eye(300).reshape(300, 3, 10, 10)])
        grid = Geometry((3, 10, 10))
        labels, scores = collect_slabs(slabs, grid, grid, 2**20, False, 0.5)
        assert labels.dtype == torch.int16
        assert labels.flatten().tolist() == list(range(300))
        assert scores is None
