"""What a network says of windows of a volume: probabilities of each voxel, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from faimed3d.inference.disagreement import Disagreement
from faimed3d.inference.members import Member
from faimed3d.inference.sliding_window import flipped_mean
from faimed3d.inference.source import device_and_type
from faimed3d.losses.scales import full_resolution


def probabilities_of(
    learn: Member,
    axes: Sequence[int],
    regions: list[str] | None,
    mirrored: tuple[int, Mapping[int, int]] | None,
    watch: Disagreement | None = None,
) -> Callable[[Tensor], Tensor]:
    """Function from windows (B, C, D, H, W) to probabilities (B, K, D, H, W), float32, the mean over flips.

    Args:
        learn: has the network.
        axes: of the flips, 0 (D), 1 (H), 2 (W).
        regions: their names, where the channels are regions that may overlap.
        mirrored: of :func:`mirrored_channels`.
        watch: gets what is decided of each flip.
    """
    model, dtype = learn.model, device_and_type(learn)[1]
    activation = activation_of(learn, regions)

    def once(x):
        try:
            scores = full_resolution(model(x.to(dtype)))  # the finest, with deep supervision
        except RuntimeError as error:
            first = next((m for m in model.modules() if isinstance(m, nn.Conv3d)), None)
            if first is None or first.in_channels == x.shape[1]:
                raise
            raise ValueError(
                f"the network takes {first.in_channels} channels, but this volume has {x.shape[1]}: give as many as in "
                "training, in their order: predict_volume([file, file, ...]), or one of several as scan[0]"
            ) from error
        if not isinstance(scores, Tensor) or scores.ndim != 5 or scores.shape[2:] != x.shape[2:]:
            came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(
                f"predict_volume needs scores (B, C, D, H, W) of each voxel of {tuple(x.shape)}, but the model gave "
                f"{came}: for labels of whole volumes use learn.predict"
            )
        probabilities = activation(scores.as_subclass(Tensor).float())
        if regions is not None and probabilities.shape[1] != len(regions):
            raise ValueError(
                f"the model gives scores of {probabilities.shape[1]} regions, but the dls name {len(regions)}: "
                f"{', '.join(regions)}"
            )
        _check(probabilities, x, regions is not None)
        return probabilities

    swap = None if mirrored is None else (mirrored[0] + 2, mirrored[1])
    return lambda x: flipped_mean(once, x, [axis + 2 for axis in axes], swap, watch)


def activation_of(learn: Member, regions: list[str] | None) -> Callable[[Tensor], Tensor]:
    """Function from scores (B, K, D, H, W) of the network to probabilities: that of the loss, where it has one.

    Args:
        learn: its loss is asked.
        regions: their names, where the channels are regions that may overlap.
    """
    activation = getattr(learn.loss_func, "activation", None)
    if isinstance(learn.loss_func, nn.BCEWithLogitsLoss) or (regions is not None and activation is None):
        return torch.sigmoid
    if activation is not None:
        return activation
    return lambda scores: scores.softmax(1) if scores.shape[1] > 1 else scores.sigmoid()


def _check(probabilities, x, overlapping):
    """Raise an error where no class is the most probable one: of NaN, and of labels that overlap unexpectedly.

    Args:
        probabilities: (B, K, D, H, W).
        x: the voxels that they are of.
        overlapping: they are of regions that may overlap.
    """
    total = probabilities.sum(1)
    if missing := int(total.isnan().sum()):
        wrong = int((~x.isfinite()).sum())
        cause = (
            f"{wrong} of the voxels that it saw are NaN or infinite: fill them in item_tfms or before"
            if wrong
            else "all voxels that it saw are finite: look at its weights, and at overflow in half precision"
        )
        raise ValueError(f"the model gave NaN for {missing} of {total.numel()} voxels; {cause}")
    if not overlapping and probabilities.shape[1] > 1 and (total - 1).abs().amax() > 0.01:
        raise ValueError(
            "predict_volume gives each voxel its most probable class, but the probabilities of the "
            f"{probabilities.shape[1]} classes add up to {total.amin():.3g} to {total.amax():.3g} in a voxel, not to "
            "1: the classes may overlap, or the scores are of no classes. Use a loss over classes, the background "
            "among them, such as DiceCELoss3D; or RegionBlock3D, for regions that may overlap"
        )
