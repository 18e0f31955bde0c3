"""Structure sets through other tools: run by an interpreter that has rt-utils, dcmrtstruct2nii and SimpleITK.

It reads jobs as JSON lines and answers each with one: {"out": a file} or {"error": text}, and what the tool said.
Masks are .npy files (D, H, W), slices in the order of their positions along the normal of the planes.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

_ALARM = re.compile(r"warn|error|fail|unsupported|cannot|not supported", re.IGNORECASE)


def read_with_rt_utils(job):
    from rt_utils import RTStructBuilder

    found = RTStructBuilder.create_from(dicom_series_path=job["scan"], rt_struct_path=job["contours"])
    mask = found.get_roi_mask_by_name("shape")
    fitted = np.zeros((*job["matrix"], mask.shape[2]), bool)  # it gives (columns, rows) to OpenCV as (rows, columns)
    rows, columns = (min(pair) for pair in zip(fitted.shape[:2], mask.shape[:2], strict=True))
    fitted[:rows, :columns] = mask[:rows, :columns]
    return np.moveaxis(fitted, 2, 0)


def write_with_rt_utils(job, mask):
    from rt_utils import RTStructBuilder

    made = RTStructBuilder.create_new(dicom_series_path=job["scan"])
    made.add_roi(mask=np.moveaxis(mask, 0, 2), name="shape", use_pin_hole=job["keyholes"])
    made.save(job["out"])


def read_with_dcmrtstruct2nii(job):
    import SimpleITK as sitk
    from dcmrtstruct2nii import dcmrtstruct2nii

    with tempfile.TemporaryDirectory() as folder:
        dcmrtstruct2nii(job["contours"], job["scan"], folder, gzip=False, convert_original_dicom=False)
        [file] = Path(folder).glob("mask_*")
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file))) > 0


def read_with_plastimatch(job):
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        sitk.WriteImage(_series(job["scan"]), f"{folder}/grid.nrrd")  # it reads no folder as --fixed
        _plastimatch(
            "--input", job["contours"], "--referenced-ct", job["scan"], "--fixed", f"{folder}/grid.nrrd",
            "--output-prefix", f"{folder}/out", "--prefix-format", "nrrd",
        )  # fmt: skip
        [file] = Path(folder, "out").glob("*.nrrd")
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file))) > 0


def write_with_plastimatch(job, mask):
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.CopyInformation(_series(job["scan"]))
        Path(folder, "in").mkdir()
        sitk.WriteImage(image, f"{folder}/in/shape.nrrd")
        _plastimatch(
            "--input-prefix", f"{folder}/in", "--referenced-ct", job["scan"], "--output-dicom", f"{folder}/out"
        )
        [file] = (one for one in Path(folder, "out").iterdir() if one.name.lower().startswith("rt"))
        Path(job["out"]).write_bytes(file.read_bytes())


def _series(folder):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return reader.Execute()


def _plastimatch(*arguments):
    done = subprocess.run(["plastimatch", "convert", *arguments], capture_output=True, text=True, timeout=120)
    print(done.stdout, done.stderr)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")


READ = {
    "rt-utils": read_with_rt_utils,
    "dcmrtstruct2nii": read_with_dcmrtstruct2nii,
    "plastimatch": read_with_plastimatch,
}
WRITE = {"rt-utils": write_with_rt_utils, "plastimatch": write_with_plastimatch}


def answer(job):
    said, logged = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(logged)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    result = {}
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        try:
            if "mask" in job:
                WRITE[job["tool"]](job, np.load(job["mask"]))
            else:
                np.save(job["out"], READ[job["tool"]](job))
            result["out"] = job["out"]
        except Exception as error:  # whatever a tool raises is its answer
            result["error"] = f"{type(error).__name__}: {error}"
    logging.getLogger().removeHandler(handler)
    lines = [*said.getvalue().splitlines(), *logged.getvalue().splitlines(), *(str(one.message) for one in caught)]
    result["said"] = [line for line in lines if _ALARM.search(line)][:5]
    return result


def main():
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    sys.stdout, real = sys.stderr, sys.stdout  # tools print while they are imported
    with contextlib.redirect_stdout(sys.stderr):
        import dcmrtstruct2nii  # noqa: F401
    sys.stdout = real
    main()
