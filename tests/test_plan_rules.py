"""The rules: nnU-Net's own numbers where they are published, and what holds for any data set."""

import math

import numpy as np
import pytest
import torch
from case_reports import report_of, table_of
from hypothesis import given
from hypothesis import strategies as st

from faimed3d._arguments import memory_bytes
from faimed3d.geometry import Geometry
from faimed3d.plan import propose, rules
from faimed3d.plan.memory import step_memory
from faimed3d.plan.topology import first_patch, padded, smaller, topology_of
from faimed3d.training import training_memory

STEPS = st.tuples(*[st.floats(0.2, 8)] * 3)
SIDES = st.tuples(*[st.integers(1, 300)] * 3)
# patch and spacing (D, H, W) of published plans, and how often they halve each axis: Isensee et al. 2021, table of
# the supplement, 3d_fullres
PUBLISHED = {
    "hippocampus": ((40, 56, 40), (1, 1, 1), (3, 3, 3)),
    "brain tumour": ((128, 128, 128), (1, 1, 1), (5, 5, 5)),
    "heart": ((80, 192, 160), (1.37, 1.25, 1.25), (4, 5, 5)),
    "prostate": ((20, 320, 256), (3.6, 0.62, 0.62), (2, 6, 6)),
    "acdc": ((20, 256, 224), (5, 1.56, 1.56), (2, 5, 5)),
}


class TestTopology:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_is_that_of_published_plans(self, name):
        patch, spacing, halvings = PUBLISHED[name]
        assert topology_of(spacing, patch).divisors == tuple(2**n for n in halvings)

    @given(STEPS, SIDES)
    def test_divides_sensibly(self, spacing, patch):
        found = topology_of(spacing, patch)
        assert len(found.kernels) == len(found.strides) + 1
        sizes = padded(patch, found.divisors)
        assert all(n % by == 0 and n - m < by for n, m, by in zip(sizes, patch, found.divisors, strict=True))
        assert all(by == 1 or n / by > 2 for n, by in zip(patch, found.divisors, strict=True))
        assert {side for stride in found.strides for side in stride} <= {1, 2}
        assert all(2 in stride for stride in found.strides)
        wide = [max(spacing) / mm for mm in spacing]
        for axis in range(3):
            sides = [kernel[axis] for kernel in found.kernels]
            assert sides == sorted(sides)  # once 3, they stay 3
            assert patch[axis] > 1 or set(sides) == {1}
            if wide[axis] == max(wide) and len(sides) > 1 and patch[axis] > 1:
                assert sides[0] == 3

    @given(STEPS, SIDES)
    def test_patches_shrink_one_axis_at_a_time_to_the_end(self, spacing, median):
        patch = first_patch(spacing, median)
        assert all(1 <= a <= max(1, b) for a, b in zip(patch, median, strict=True))
        patch = padded(patch, topology_of(spacing, patch).divisors)
        for _ in range(2000):
            following = smaller(patch, spacing, median)
            if following is None or math.prod(following) >= math.prod(patch):
                break
            patch = following
        else:
            pytest.fail("it never ends")
        assert math.prod(patch) <= 16**3 * 20


class TestSpacing:
    def test_is_the_median_or_of_a_coarse_axis_the_tenth_percentile(self):
        spacings = np.array([[0.7, 0.7, z] for z in range(3, 14)])
        sizes = np.array([[512, 512, 40]] * 11)
        assert rules.target_spacing(spacings, sizes).value == (0.7, 0.7, pytest.approx(4))
        many = np.array([[512, 512, 300]] * 11)  # a coarse axis of many voxels is no trouble
        assert rules.target_spacing(spacings, many).value == (0.7, 0.7, 8)
        assert "10th percentile" in rules.target_spacing(spacings, sizes).reason

    @given(st.lists(STEPS, min_size=1, max_size=20), st.lists(SIDES, min_size=20, max_size=20))
    def test_lies_within_the_cases(self, spacings, sizes):
        x = np.array(spacings)
        found = rules.target_spacing(x, np.array(sizes[: len(x)])).value
        assert (np.array(found) >= x.min(0) - 1e-9).all()
        assert (np.array(found) <= x.max(0) + 1e-9).all()


@given(st.permutations("xyz"), st.tuples(*[st.booleans()] * 3), st.permutations("xyz"), st.tuples(*[st.booleans()] * 3))
def test_axes_are_exchanged_as_reorienting_does(one, flips, other, more):
    letters = {"x": "LR", "y": "PA", "z": "SI"}
    code, target = (
        "".join(letters[axis][flip] for axis, flip in zip(axes, way, strict=True))
        for axes, way in ((one, flips), (other, more))
    )
    stored = Geometry((4, 3, 2), (1, 2, 3)).reorient(code)
    order = rules.axis_order(code, target)
    assert tuple(stored.spacing[axis] for axis in order) == stored.reorient(target).spacing


class TestIntensities:
    @pytest.mark.parametrize(
        ("asked", "stated", "low", "found"),
        [("mr", ["CT"], -1024, "MR"), (None, ["CT", ""], 0, "CT"), (None, ["CT", "PT"], 0, None),
         (None, [""], -1024, "CT"),
         (None, [], -3024, "CT"), (None, [], 0, None), (None, [], -40, None)],
    )  # fmt: skip
    def test_the_modality_is_asked_stated_or_seen(self, asked, stated, low, found):
        assert rules.modality(asked, stated, [low] * 3, [1500] * 3).value == found

    def test_ct_is_of_the_set_others_of_each_volume(self):
        assert rules.normalization("CT", False, False).value == "ct"
        assert rules.normalization("MR", False, False).value == "volume"
        assert rules.normalization(None, True, False).value == "foreground"
        assert rules.normalization(None, True, True).value == "set"
        assert [rules.crops(*one).value for one in (("CT", 0.1), ("MR", 0.74), (None, 0.76))] == [False, True, False]


class TestSides:
    def test_pairs_by_name(self):
        codes = ["none", "kidney_left", "kidney_right", "L lung", "R lung", "aorta", "bright spot", "femur left"]
        assert rules.sides(codes) == ([[1, 2], [3, 4]], ["femur left"])

    def test_what_is_of_one_side_is_not_mirrored(self):
        alone = rules.augmentation((32, 32, 32), ["none", "left atrium"], "LPS", "segmentation")
        assert alone.value["flip_axes"] == [-3, -2]
        assert "left atrium" in alone.reason
        turned = rules.augmentation((32, 32, 32), ["none", "left atrium"], "SLP", "segmentation")
        assert turned.value["flip_axes"] == [-3, -1]
        paired = rules.augmentation((32, 32, 32), ["none", "left eye", "right eye"], "LPS", "segmentation")
        assert (paired.value["flip_axes"], paired.value["swap_labels"]) == ([-3, -2, -1], [[1, 2]])
        assert rules.augmentation((9, 9, 9), ["left", "right"], "LPS", "classification").value["flip_axes"] == [-3, -2]

    def test_few_patches_are_mirrored_left_and_right_alone(self):
        gentle = rules.augmentation((32, 32, 32), ["none", "lesion"], "PLS", "segmentation", gentle=True)
        assert gentle.value["flip_axes"] == [-2]
        assert gentle.value["degrees"] == [20, 20, 20]
        alone = rules.augmentation((32, 32, 32), ["none", "left atrium"], "LPS", "segmentation", gentle=True)
        assert alone.value["flip_axes"] == []

    def test_flat_patches_are_rotated_in_their_plane(self):
        assert rules.augmentation((16, 64, 64), ["a"], "LPS", "segmentation").value["degrees"] == [180, 0, 0]
        assert rules.augmentation((64, 64, 16), ["a"], "LPS", "segmentation").value["degrees"] == [0, 0, 180]
        assert rules.augmentation((1, 64, 64), ["a"], "LPS", "segmentation").value["flip_axes"] == [-2, -1]


class TestMemory:
    @given(STEPS, SIDES, st.integers(2, 8))
    def test_grows_with_the_batch(self, spacing, patch, batch):
        topology = topology_of(spacing, patch)
        wide = rules.widths(topology.levels, 8, 32)
        needed = [step_memory(patch, topology, n, wide, 1, 2) for n in (batch, batch + 1)]
        assert needed[0] < needed[1]


@pytest.mark.parametrize(("side", "memory", "device"), [(64, "0.3GB", "cpu"), (96, "2GB", "cuda")])
def test_a_plan_needs_no_more_memory_than_there_is_and_most_of_it(side, memory, device):
    report = report_of([[side] * 3] * 40, np.ones((40, 3)))
    plan = propose(table_of(report), memory, report=report, device=device)
    with torch.device("meta"):
        network = plan.network()
    values = {"sgd": 1, "adamw": 2}[plan.optimizer]
    shape = (plan.batch_size, 1, *plan.patch)
    exact = training_memory(network, shape, dtype=plan.precision, optimizer_values=values)
    assert plan.memory == pytest.approx(exact, rel=0.01)
    assert plan.memory <= memory_bytes(memory)
    assert plan.memory > 0.5 * memory_bytes(memory)


def test_a_budget_gives_as_many_epochs_as_fit():
    assert rules.budget(10, 1, 51, 1000) == 10
    assert rules.budget(10, 1, 51, 5) == 5
    assert rules.budget(0.1, 1, 51, 5) == 0


@given(st.lists(st.sampled_from(["LPS", "RAS", "PSR"]), min_size=1, max_size=9))
def test_the_usual_orientation_is_the_most_frequent(codes):
    found = rules.usual_orientation(codes).value
    assert codes.count(found) == max(map(codes.count, codes))


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_only_what_a_paper_says_is_cited(task):
    report = report_of([[8, 8, 8]] * 5, None, task=task)
    sources = propose(table_of(report), report=report, device="cuda", memory="8GB").reasons
    assert sources["epochs"] == f"on a GPU ({rules.OURS})"
    assert (
        (rules.NNUNET in sources["weight_decay"]) == (rules.NNUNET in sources["optimizer"]) == (task == "segmentation")
    )
