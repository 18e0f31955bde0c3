"""Studies in a folder, a model that needs no network, and what ``faimed3d serve`` has made of them."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
from dicom_series import make_series, write
from pydicom.uid import generate_uid

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.command import main
from faimed3d.errors import UnsupportedImage

SHAPE = (3, 10, 12)
T1, FLAIR = "T1 [mpr]", "FLAIR ax"
BOTH = ("--description", "t1 [mpr]*", "--description", "FLAIR*")


class Threshold:
    """Class 1 is what lies above 0; notes each scan in a file, and refuses those that begin with 999."""

    progress = True
    members = ()
    channels = 1

    def __init__(self, notes, pause=0.0):
        self.notes, self.pause = notes, pause

    def predict_volume(self, source, progress=None):
        scan = TensorDicom3D.create(source)
        with open(self.notes, "a", encoding="utf-8") as file:
            file.write(f"{content_of(scan)}\n")
        if scan[0, 0, 0] == 999:
            raise UnsupportedImage(f"{source}: not such a scan as the model was trained on")
        time.sleep(self.pause)
        return TensorMask3D(scan > 0, like=scan, codes=["background", "bright"])


class Brighter:
    """Class 1 is where the first channel is the brighter one; notes what it was asked."""

    members, progress, file, channels = (), True, Path("brain.fm3d"), 2
    about = {"plan": {"fn_col": ["t1", "flair"]}}  # noqa: RUF012 - a constant

    def __init__(self):
        self.asked = []

    def predict_volume(self, source, progress=None, disagreement=False, strict=True, **how):
        first, second = (TensorDicom3D.create(one, strict=strict) for one in source)
        self.asked.append([int(one.numpy().sum()) for one in (first, second)])
        mask = TensorMask3D(first > second, like=first, codes=["background", "bright"])
        return (mask, float("nan")) if disagreement else mask


def write_case(root, seed=0, descriptions=(T1, FLAIR), frames=1, **elements):
    """Write a study with a series of each description; their values."""
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "FrameOfReferenceUID")} | elements
    found = []
    for number, description in enumerate(descriptions):
        values = np.random.default_rng([seed, number]).integers(0, 900, SHAPE).astype(np.int16)
        if number and frames > 1:
            uids["FrameOfReferenceUID"] = generate_uid()
        uids["SeriesInstanceUID"] = generate_uid()
        write(make_series(values, SeriesDescription=description, **uids), f"{root}/{number}")
        found.append(values)
    return found


def content_of(scan):
    """A number that tells volumes apart."""
    return int(np.float64(scan.numpy()).sum())


def write_study(folder, seed=0, first=None, study=None, **elements):
    """Write a DICOM study of one series; its StudyInstanceUID."""
    values = np.random.default_rng(seed).integers(-900, 900, SHAPE).astype(np.int16)
    values[0, 0, 0] = values[0, 0, 0] if first is None else first
    uids = {"StudyInstanceUID": study or generate_uid(), "SeriesInstanceUID": generate_uid()}
    uids["FrameOfReferenceUID"] = generate_uid()
    write(make_series(values, **uids, **elements), folder)
    return uids["StudyInstanceUID"]


def serve(*words, root="."):
    """Serve until nothing is left to do; the exit code."""
    return main(["serve", "model.fm3d", "--watch", f"{root}/in", "--out", f"{root}/out", "--once", "--quiet", "0",
                 "--every", "0.05", *words])  # fmt: skip


def records_in(out):
    """All records of a folder of results."""
    return [json.loads(path.read_text()) for path in sorted(Path(out, "served").glob("*.json"))]


def results_in(out, suffix=".nii.gz"):
    return sorted(path.name for path in Path(out).glob(f"*{suffix}"))


def faults_of_kills(root, rounds, seed, *words):
    """Kill ``serve`` at random times while studies come; what is wrong at the end, and how often it was killed.

    Each round kills it after up to three times what it took to serve one study.

    Args:
        root: folder with ``in``; ``model.fm3d`` is never read.
        rounds: how often.
        seed: of the times.
        words: further options.
    """
    chance, killed, made_before = random.Random(seed), 0, {}
    write_study(root / "in" / "study000")
    for _ in range(2):  # once to import what is needed
        shutil.rmtree(root / "out", ignore_errors=True)
        begin = time.monotonic()
        assert serve(*words, root=root) == 0
    longest = 3 * (time.monotonic() - begin)
    Path(root, "notes.txt").write_text("")
    for number in range(1, rounds + 1):
        write_study(root / "in" / f"study{number:03d}", seed=number)
        child = os.fork()
        if not child:
            os._exit(serve(*words, root=root))
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        made = Path(root, "notes.txt").read_text().splitlines()
        again = [note for note, count in made_before.items() if made.count(note) != count]
        if again:
            return [f"served again after it was recorded: {again}"], killed
        made_before = {note: made.count(note) for note in recorded(root)}
    assert serve(*words, root=root) == 0
    wrong, results = [], results_in(root / "out", ".dcm" if "--form" in words else ".nii.gz")
    for number in range(rounds + 1):
        scan = TensorDicom3D.create(root / "in" / f"study{number:03d}")
        names = [name for name in results if name.startswith(f"study{number:03d}_")]
        mask = TensorMask3D.create(root / "out" / names[0]).resample_like(scan) if len(names) == 1 else None
        if mask is None or not np.array_equal(mask.numpy() > 0, scan.numpy() > 0):
            wrong.append(f"study {number}: {names}")
    return wrong, killed


def recorded(root):
    """What is noted of volumes that have a record, by the results that the records name."""
    found = set()
    for one in records_in(root / "out"):
        for case in one["cases"].values():
            for name in case["outputs"]:
                folder = root / "in" / name.split("_")[0]
                found.add(str(content_of(TensorDicom3D.create(folder))))
    return found
