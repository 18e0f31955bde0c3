"""``aug_transforms_3d``: its parts, their switches, and that it runs on any batch."""

import inspect

import pytest
from transforms import (
    GEOMETRY,
    batch,
)

from faimed3d import augment
from faimed3d.augment import (
    SpatialTransform3D,
)


class TestAugTransforms3D:
    def test_merges_all_spatial_parts_into_one(self):
        found = augment.aug_transforms_3d(warp=True, sheer=True, dihedral=0.3, fill="edge")
        assert sum(isinstance(t, SpatialTransform3D) for t in found) == 1
        assert found[0].fill == "edge"
        assert [type(part).__name__ for part in found[0].parts] == [
            "RandomAffine3D",
            "RandomElastic3D",
            "RandomWarp3D",
            "RandomSheer3D",
            "RandomFlip3D",
            "RandomDihedral3D",
        ]

    def test_every_part_is_a_switch(self):
        parts = list(inspect.signature(augment.aug_transforms_3d).parameters)
        parts = [n for n in parts if n not in ("p_all", "modality", "fill", "extra")]
        assert augment.aug_transforms_3d(**dict.fromkeys(parts, False)) == []
        for part in parts:
            for switch in (True, 0.7, {"p": 0.7}):
                (one,) = augment.aug_transforms_3d(**{**dict.fromkeys(parts, False), part: switch})
                one = one.parts[0] if hasattr(one, "parts") else one
                assert switch is True or one.p == 0.7
        (own,) = augment.aug_transforms_3d(
            **{**dict.fromkeys(parts, False), "noise": (mine := augment.RandomNoise3D())}
        )
        assert own is mine

    def test_modality_and_p_all_and_extra(self):
        names = [type(t).__name__ for t in augment.aug_transforms_3d(modality="MR")]
        assert {"RandomBiasField3D", "RandomGhosting3D"} <= set(names)
        assert "RandomBiasField3D" not in [type(t).__name__ for t in augment.aug_transforms_3d(modality="CT")]
        found = augment.aug_transforms_3d(p_all=0.9, noise=0.1, extra=[extra := augment.MaxScale()])
        assert {t.p for t in found[1:-2]} == {0.9}
        assert found[-2].p == 0.1
        assert found[-1] is extra

    @pytest.mark.parametrize("scale", [(1, 0), (1000, -500)])
    def test_runs_on_a_batch_of_any_range(self, scale):
        image, mask = batch(2)
        image = image * scale[0] + scale[1]
        b = image, mask
        for transform in augment.aug_transforms_3d(p_all=1, modality="MR", perspective=True, trapezoid=True):
            b = transform(b, split_idx=0)
        assert b[0].shape == image.shape
        assert b[0].isfinite().all()
        assert set(b[1].unique().tolist()) <= {0, 1, 3}
        assert b[0][0, 0].geometry == GEOMETRY

    def test_errors(self):
        with pytest.raises(ValueError, match="modality must be 'CT', 'MR' or None, got 'US'"):
            augment.aug_transforms_3d(modality="US")
        with pytest.raises(TypeError, match=r"flip must be True, False, a probability, .* got 'no'"):
            augment.aug_transforms_3d(flip="no")
