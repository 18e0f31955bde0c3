"""A patch of a warped volume equals the whole volume warped and then cropped, from the part that it needs alone."""

import numpy as np
import pytest
import torch
from augment_blobs import positions
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from faimed3d.augment.patch_warp import PatchWarp, reach
from faimed3d.augment.warp import Warp, affine_matrix, apply_warp, sampling_grid, spatial_frame
from faimed3d.geometry import Geometry

SPACING = (1.0, 2.0, 3.0)  # x, y, z


def draw_warp(generator, geometry, terms):
    """A warp of one item with some of its terms, and the terms in float64."""

    def numbers(*shape, largest=0.2):
        return (torch.rand(1, *shape, generator=generator, dtype=torch.float64) * 2 - 1) * largest

    drawn = {}
    if "affine" in terms:
        drawn["matrix"] = affine_matrix(numbers(3, largest=30), 1 + numbers(3), numbers(3, 3))
        drawn["shift"] = numbers(3, largest=2)
    if "bend" in terms:
        drawn["bend"] = numbers(3, 3)
    if "taper" in terms:
        drawn["taper"] = numbers(3, 3)
        drawn["taper"][0].fill_diagonal_(0)
    if "tilt" in terms:
        drawn["tilt"] = numbers(3)
    if "displacement" in terms:
        drawn["displacement"] = numbers(3, 4, 5, 6, largest=3)
    return Warp.of(1, **drawn)


def expected(volume, corner, geometry, warp, interpolation, outside):
    """The whole volume sampled in float64 where the docstring of ``Warp`` says, about the centre of the patch."""
    half = np.array(geometry.shape[::-1]) * geometry.spacing / 2
    p = positions(geometry)
    s = p / half
    source = (p - warp.shift[0].numpy()) @ np.linalg.inv(warp.matrix[0].numpy()).T
    if warp.displacement is not None:
        source = source + splines(geometry, warp.displacement[0].numpy())
    source = source / half
    source = source + (s**2 - 1 / 3) @ warp.bend[0].numpy().T + s * (s @ warp.taper[0].numpy().T)
    source = source / (1 + s @ warp.tilt[0].numpy())[..., None]
    size = np.array(geometry.shape)
    voxels = np.array(corner) + (source[..., ::-1] + 1) / 2 * size - 0.5
    how = {"order": 0 if interpolation == "nearest" else 1, "mode": "grid-constant", "cval": outside}
    return ndimage.map_coordinates(volume.double().numpy(), np.moveaxis(voxels, -1, 0), **how), voxels


def splines(geometry, control):
    """Cubic B-splines in float64, each weight from the textbook's recursion."""
    from scipy.interpolate import BSpline

    weights = []
    for n, points in zip(geometry.shape, control.shape[1:], strict=True):
        place = (np.arange(n) + 0.5) / n * (points - 3) + 1
        columns = [BSpline.basis_element(np.arange(k - 2, k + 3), extrapolate=False)(place) for k in range(points)]
        weights.append(np.nan_to_num(np.stack(columns, 1)))
    return np.einsum("xdhw,ad,bh,cw->abcx", control, *weights)


def patch_of(volume, corner, geometry, warp, interpolation, outside=None, fill=None):
    """By way of the box alone: what lies outside of it is not there."""
    patch = PatchWarp(geometry.shape, corner, tuple(volume.shape), spatial_frame(geometry), warp, fill)
    (d, h, w), (depth, height, width) = patch.box
    part = volume[d : d + depth, h : h + height, w : w + width].clone()
    return patch.sample(part[None], interpolation, outside)[0], patch


TERMS = st.sets(st.sampled_from(["affine", "bend", "taper", "tilt", "displacement"]), min_size=1)
SIDES = st.tuples(*[st.integers(2, 7)] * 3)


class TestAgainstTheDefinition:
    @given(SIDES, st.tuples(*[st.integers(-4, 12)] * 3), TERMS, st.integers(0, 10**6))
    @settings(max_examples=60)
    def test_image_and_mask_are_those_of_the_whole_volume(self, size, corner, terms, seed):
        generator = torch.Generator().manual_seed(seed)
        shape = (9, 11, 13)
        volume = torch.rand(shape, generator=generator) * 100 - 50
        labels = torch.randint(0, 5, shape, generator=generator).to(torch.uint8)
        geometry = Geometry(size, SPACING)
        warp = draw_warp(generator, geometry, terms)
        wanted, voxels = expected(volume, corner, geometry, warp, "linear", -50)
        found, patch = patch_of(volume, corner, geometry, warp, "linear", -50)
        np.testing.assert_allclose(found, wanted, atol=2e-2)  # positions are float32
        # what is sampled lies in the bounds, as far as the volume reaches
        low, extent = np.array(patch.box[0]), np.array(patch.box[1])
        inside = np.clip(voxels, 0, np.array(shape) - 1).reshape(-1, 3)
        reached = ((voxels > -1) & (voxels < np.array(shape))).all(-1).reshape(-1)
        assert (np.floor(inside[reached] + 1e-6) >= low).all()
        assert (np.ceil(inside[reached] - 1e-6) < low + extent).all()
        wanted, _ = expected(labels, corner, geometry, warp, "nearest", 255)
        found, _ = patch_of(labels, corner, geometry, warp, "nearest", 255)
        between = (np.abs(voxels - np.floor(voxels) - 0.5) < 1e-3).any(-1)  # as near to one as to the other
        assert (found.numpy()[~between] == wanted[~between]).all()
        assert found.dtype == torch.uint8

    def test_an_affine_patch_is_a_crop_of_the_warped_volume(self):
        generator = torch.Generator().manual_seed(3)
        whole, size, corner = Geometry((20, 22, 24), SPACING), (6, 8, 10), (5, 9, 3)
        volume = torch.rand(whole.shape, generator=generator)
        matrix = affine_matrix([(10, -20, 15)], [(1.1, 0.9, 1.2)])
        centre = (np.array(corner) + np.array(size) / 2 - np.array(whole.shape) / 2)[::-1] * SPACING
        about = torch.as_tensor(centre - matrix[0].numpy() @ centre)[None]
        frames = spatial_frame(whole)[None]
        cropped = apply_warp(volume[None, None], frames, Warp.of(1, matrix=matrix, shift=about), "linear", -1.0)[0, 0]
        cropped = cropped[5:11, 9:17, 3:13]
        found, patch = patch_of(volume, corner, Geometry(size, SPACING), Warp.of(1, matrix=matrix), "linear", -1.0)
        torch.testing.assert_close(found, cropped, atol=1e-4, rtol=0)
        assert np.prod(patch.box[1]) < 0.5 * volume.numel()

    @pytest.mark.parametrize("fill", ["edge", "reflect"])
    @given(st.tuples(*[st.integers(-5, 9)] * 3), st.integers(0, 10**6), st.booleans())
    @settings(max_examples=25)
    def test_beyond_the_volume_its_edges_go_on(self, fill, corner, seed, moved):
        generator = torch.Generator().manual_seed(seed)
        volume = torch.rand(4, 5, 6, generator=generator)
        geometry = Geometry((6, 4, 3), SPACING)
        warp = draw_warp(generator, geometry, {"affine"} if moved else set())
        wanted, voxels = expected(volume, corner, geometry, warp, "linear", 0)
        mode = {"edge": "nearest", "reflect": "reflect"}[fill]
        wanted = ndimage.map_coordinates(volume.double().numpy(), np.moveaxis(voxels, -1, 0), order=1, mode=mode)
        found, _ = patch_of(volume, corner, geometry, warp, "linear", fill=fill)
        np.testing.assert_allclose(found, wanted, atol=1e-3)


class TestWhatIsRead:
    def test_nothing_but_the_patch_where_nothing_is_drawn(self):
        volume, geometry = torch.rand(9, 11, 13), Geometry((3, 4, 5), SPACING)
        for warp in (None, Warp.of(1), Warp.of(1, matrix=torch.diag(torch.tensor([-1.0, 1, -1]).double())[None])):
            found, patch = patch_of(volume, (2, 3, 4), geometry, warp, "linear")
            assert patch.box == ((2, 3, 4), (3, 4, 5))
            cut = volume[2:5, 3:7, 4:9]
            assert torch.equal(found, cut if warp is None or warp.matrix[0, 0, 0] > 0 else cut.flip(0, 2))

    def test_around_a_small_volume_lies_what_is_said(self):
        volume, geometry = torch.rand(2, 3, 4), Geometry((4, 5, 4), SPACING)
        found, _ = patch_of(volume, (-1, -1, 0), geometry, None, "linear", torch.tensor([-7.0]))
        assert torch.equal(found[1:3, 1:4], volume)
        assert (found.sum() - volume.sum()).item() == pytest.approx(-7 * (found.numel() - volume.numel()), rel=1e-5)

    def test_a_number_is_of_images_alone(self):
        volume, geometry = torch.ones(2, 3, 4), Geometry((4, 3, 4), SPACING)
        assert patch_of(volume, (-1, 0, 0), geometry, None, "linear", 0, fill=-5.0)[0][0].max() == -5
        assert patch_of(volume, (-1, 0, 0), geometry, None, "nearest", 3, fill=-5.0)[0][0].max() == 3

    @given(TERMS, st.integers(0, 10**6))
    @settings(max_examples=30)
    def test_bounds_hold_for_each_position_and_are_no_wider_than_they_must(self, terms, seed):
        geometry = Geometry((5, 6, 7), SPACING)
        warp = draw_warp(torch.Generator().manual_seed(seed), geometry, terms)
        frames = spatial_frame(geometry)[None]
        grid = sampling_grid(geometry.shape, frames, warp)[0].flatten(0, 2).double()
        low, high = reach(geometry.shape, frames, warp)
        assert (grid >= low[0] - 1e-5).all()
        assert (grid <= high[0] + 1e-5).all()
        if terms == {"affine"}:
            torch.testing.assert_close(grid.amin(0), low[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(grid.amax(0), high[0], atol=1e-5, rtol=0)
