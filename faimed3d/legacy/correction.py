"""The correction of image files of faimed3d 0.0.6; today ``correct_bias_field`` and ``equalize_locally``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from faimed3d._keywords import StrictKeywords
from faimed3d.intensity import correct_bias_field, equalize_locally
from faimed3d.io.formats import volume_suffix
from faimed3d.volume import TensorDicom3D

__all__ = ["ImageCorrectionWrapper", "correct_bias_field", "equalize_locally"]


class ImageCorrectionWrapper(StrictKeywords):
    """Correct an image and write it to a file: N4, then local contrast, of which either can be left out.

    Today ``correct_bias_field(image)``, ``equalize_locally(image)`` and ``image.save(path)``.

    Args:
        n4_max_num_it: iterations of N4 at each of three levels.
        hist_radius, hist_alpha, hist_beta: of ``equalize_locally``.
        do_n4, do_hist: what to do.

    >>> ImageCorrectionWrapper(do_hist=False)
    ImageCorrectionWrapper(n4_max_num_it=20, do_hist=False)
    """

    def __init__(
        self,
        n4_max_num_it: int = 20,
        hist_radius: Sequence[int] = (5, 5, 5),
        hist_alpha: float = 0.3,
        hist_beta: float = 0.3,
        do_n4: bool = True,
        do_hist: bool = True,
    ) -> None:
        self.n4_max_num_it, self.do_n4, self.do_hist = n4_max_num_it, do_n4, do_hist
        self.hist_radius, self.hist_alpha, self.hist_beta = tuple(hist_radius), hist_alpha, hist_beta

    def __call__(self, file: Path | str | TensorDicom3D, fn_out: Path | str | None = None) -> Path:
        """Correct one image.

        Args:
            file: a file, a DICOM folder, or a ``TensorDicom3D``.
            fn_out: file to write, whole or not at all. Default: beside ``file``, ``scan.nii.gz`` to
                ``scan_corrected.nii.gz``, also for a folder ``scan``.

        Returns:
            The path of the file written.

        Raises:
            ValueError: a tensor without ``fn_out``.
        """
        volume = file if isinstance(file, TensorDicom3D) else TensorDicom3D.create(file)
        if fn_out is None:
            fn_out = self._beside(file)
        if self.do_n4:
            volume = correct_bias_field(volume, iterations=self.n4_max_num_it)
        if self.do_hist:
            volume = equalize_locally(volume, self.hist_radius, self.hist_alpha, self.hist_beta)
        volume.save(fn_out)
        return Path(fn_out)

    def __repr__(self) -> str:
        left_out = "".join(f", {name}=False" for name in ("do_n4", "do_hist") if not getattr(self, name))
        return f"ImageCorrectionWrapper(n4_max_num_it={self.n4_max_num_it}{left_out})"

    @staticmethod
    def _beside(file: Path | str | Tensor) -> Path:
        if isinstance(file, Tensor):
            raise ValueError("a tensor has no file beside which to write: pass fn_out")
        path = Path(file)
        suffix = "" if path.is_dir() else volume_suffix(path.name)
        return path.with_name(f"{path.name[: len(path.name) - len(suffix)]}_corrected.nii.gz")
