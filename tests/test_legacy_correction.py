"""The file that the correction of faimed3d 0.0.6 writes."""

import pytest
import torch
from scanners import GRID, phantom

from faimed3d.basics import TensorDicom3D
from faimed3d.intensity import correct_bias_field, equalize_locally
from faimed3d.legacy.correction import ImageCorrectionWrapper


class TestWrapper:
    def test_writes_beside_the_file(self, tmp_path):
        _, uneven, _ = phantom(0.01)
        uneven.save(tmp_path / "a.b.nii.gz")
        written = ImageCorrectionWrapper(do_hist=False)(tmp_path / "a.b.nii.gz")
        assert written == tmp_path / "a.b_corrected.nii.gz"
        corrected = TensorDicom3D.create(written)
        assert corrected.geometry.agrees(GRID)
        torch.testing.assert_close(corrected, correct_bias_field(uneven), atol=1e-6, rtol=1e-5)
        assert len(corrected.unique()) > 1000

    def test_takes_text_and_a_name_for_the_result(self, tmp_path):
        _, uneven, _ = phantom()
        uneven[8:12, 8:14, 8:14].save(tmp_path / "scan.nrrd")
        out = ImageCorrectionWrapper(do_n4=False, hist_radius=(1, 1, 1))(
            str(tmp_path / "scan.nrrd"), str(tmp_path / "out.nrrd")
        )
        assert out == tmp_path / "out.nrrd"
        expected = equalize_locally(uneven[8:12, 8:14, 8:14], 1)
        torch.testing.assert_close(TensorDicom3D.create(out), expected)

    def test_writes_beside_a_dicom_folder_not_into_it(self, tmp_path):
        _, uneven, _ = phantom()
        uneven[4:12, 8:14, 8:14].save(tmp_path / "T2", modality="MR")
        files = sorted((tmp_path / "T2").iterdir())
        written = ImageCorrectionWrapper(hist_radius=(1, 1, 1))(tmp_path / "T2")
        assert written == tmp_path / "T2_corrected.nii.gz"
        assert sorted((tmp_path / "T2").iterdir()) == files

    def test_a_tensor_needs_a_name_for_the_result(self, tmp_path):
        _, uneven, _ = phantom()
        with pytest.raises(ValueError, match="a tensor has no file beside which to write: pass fn_out"):
            ImageCorrectionWrapper()(uneven)
        out = ImageCorrectionWrapper(do_n4=False, do_hist=False)(uneven, tmp_path / "same.mha")
        torch.testing.assert_close(TensorDicom3D.create(out), uneven)

    def test_says_what_it_does(self):
        assert repr(ImageCorrectionWrapper(5, do_n4=False)) == "ImageCorrectionWrapper(n4_max_num_it=5, do_n4=False)"
