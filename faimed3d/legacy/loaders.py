"""Methods of the loaders of faimed3d 0.0.6 over today's functions."""

from __future__ import annotations

from fastcore.foundation import L
from torch import Tensor

from faimed3d._keywords import keywords_of
from faimed3d.browser import BasicViewer, ListViewer
from faimed3d.display import show_histogram, show_images_3d
from faimed3d.legacy.hidden_names import HiddenFromDir
from faimed3d.legacy.standard_scale import find_standard_scale
from faimed3d.masks import is_mask
from faimed3d.volume import TensorDicom3D

_MOSAIC = set(keywords_of(show_images_3d)) - set(keywords_of(ListViewer)) - set(keywords_of(BasicViewer))


class LegacyLoaderMethods(HiddenFromDir):
    """Methods that ``ImageDataLoaders3D`` and ``SegmentationDataLoaders3D`` had in faimed3d 0.0.6."""

    def show_batch_3d(self, with_mask=False, alpha_mask=0.3, figsize=None, viewer=None, max_n=9, **kwargs):
        """Show whole volumes of a training batch; today ``show_batch``, which draws one telling slice of each.

        Args:
            with_mask: lay the masks over them.
            alpha_mask: opacity of the masks.
            figsize: (width, height) in inches: of each picture with sliders, of the whole mosaic.
            viewer: 'widget' for a ``ListViewer`` (needs the extra ``viewer``), 'mosaic' (or 'mosaik') for
                a picture of all slices. Default: sliders, unless an argument is of the mosaic alone, such as ``nrow``.
            max_n: volumes at most.
            **kwargs: of ``ListViewer`` or ``show_images_3d``.

        Returns:
            The ``ListViewer``, which shows itself as the last line of a cell; the axes of the mosaic.
        """
        if viewer is None:
            viewer = "mosaic" if _MOSAIC & kwargs.keys() else "widget"
        viewer = "mosaic" if viewer == "mosaik" else viewer
        if viewer not in ("widget", "mosaic"):
            raise ValueError(f"viewer must be 'widget' or 'mosaic', got {viewer!r}")
        samples = self.train.decode_batch(self.train.one_batch(), max_n=max_n)
        images = [sample[0] for sample in samples]
        targets = [sample[self.n_inp] if len(sample) > self.n_inp else None for sample in samples]
        masks = [target if with_mask and is_mask(target) else None for target in targets]
        if viewer == "mosaic":
            over = masks if masks[0] is not None else None
            return show_images_3d(images, mask=over, mask_alpha=alpha_mask, figsize=figsize or (15, 15), **kwargs)
        texts = [None if target is None or isinstance(target, Tensor) else _text(target) for target in targets]
        shown = masks if masks[0] is not None else None if texts[0] is None else texts
        return ListViewer(images, shown, figsize=figsize or (3, 3), max_n=max_n, mask_alpha=alpha_mask, **kwargs)

    def show_hist(self, bins=100, with_stats=False, **kwargs):
        """Draw a histogram of the images of a training batch as the network gets them, and return the axes.

        Args:
            bins: number of bars.
            with_stats: write mean, std and so on beside it; see ``faimed3d.display.summarize``.
            **kwargs: of ``faimed3d.display.show_histogram``.
        """
        batch = self.train.one_batch()
        image = next(part for part in batch if isinstance(part, TensorDicom3D) and not is_mask(part))
        return show_histogram(image, bins, with_stats=with_stats, **kwargs)

    def standard_scale_from_dls(self):
        """Learn a standard scale from the images of the training set as they are read; today ``StandardScale.fit``."""
        return find_standard_scale(item[0] for item in self.train_ds)


def _text(target):
    return ";".join(map(str, target)) if isinstance(target, L | list | tuple) else str(target)
