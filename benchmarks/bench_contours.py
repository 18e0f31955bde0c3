"""Structure sets of known shapes through ours, rt-utils, dcmrtstruct2nii and plastimatch: Dice and errors of volume.

The peers run under another interpreter, for they ask for an older pydicom: ``python -m venv peers``, ``peers/bin/pip
install rt-utils dcmrtstruct2nii 'pydicom<3'``, ``apt-get install plastimatch``, and then
``CONTOUR_PEERS=peers/bin/python python benchmarks/run.py bench_contours``.

Reading: exact contours of a shape to voxels, against the voxels whose centre is inside, and against the exact volume.
Writing: these voxels to contours, judged here point by point (even-odd, pixels on the path inside), and by their own
volume against that of the voxels; then by the reader of the same tool. Peers are compared by voxel index, whatever
place they state; ours by the place.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contour_shapes import PIXELS, SHAPES, scans
from matplotlib.path import Path as Polygon
from pydicom import dcmread
from timing import table

from faimed3d.dicom import read_rtstruct, write_rtstruct
from faimed3d.volume import TensorDicom3D

SILENT = 0.05  # error of volume beyond which a tool should say something
HERE = Path(__file__).parent
READERS = ("faimed3d", "rt-utils", "dcmrtstruct2nii", "plastimatch")
WRITERS = ("faimed3d", "rt-utils", "rt-utils, keyholes", "plastimatch")
NOTES = """\
Dice of reading is against the voxels whose centre is inside of the exact shape; ours holds those whose centre lies on
the contour, too (PS3.3 C.8.8.6.3). rt-utils draws contours through the centres of the outermost voxels, so they enclose
less; its own reader brings the voxels back. Contours of ours and of plastimatch cut the corners of objects of 2 voxels.
"""
FINE = 6  # points along the side of a pixel, by which the area of contours is counted


@dataclass
class Score:
    """What a tool made of one shape on one scan."""

    dice: float
    volume_error: float
    said: list
    again: float | None = None  # Dice of what the tool reads of its own file

    @property
    def is_wrong(self):
        return self.volume_error > SILENT

    @property
    def is_silent(self):
        return self.is_wrong and not self.said


class Peers:
    """The other tools, under their own interpreter."""

    def __init__(self, interpreter):
        self.process = subprocess.Popen(
            [interpreter, "-W", "ignore", HERE / "contour_peers.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def ask(self, **job):
        self.process.stdin.write(json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in job.items()}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def dice(one, other):
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 0.0


def our_image(folder):
    """A scan as users get it: one of a tilted gantry is straightened on request."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TensorDicom3D.create(folder, strict=False)


def expected_on(geometry, scan, shape):
    """Voxels of any grid whose centre is inside of a shape."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    d, h, w = scan.index(geometry.index_to_world(index)).T
    return shape.inside(np.rint(d), h, w).reshape(geometry.shape)


def read_ours(image, scan, shape, contours):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_rtstruct(contours, like=image)
    said = [str(one.message) for one in caught]
    drawn = found.array > 0
    volume = np.count_nonzero(drawn) * found.geometry.voxel_volume
    return Score(
        dice(drawn, expected_on(found.geometry, scan, shape)), abs(volume / (shape.volume * scan.voxel) - 1), said
    )


def write_ours(image, scan, shape, folder, out):
    mask = expected_on(image.geometry, scan, shape)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_rtstruct(out, mask, image.geometry, str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = dice(read_rtstruct(out, like=image).array > 0, mask)
    return judged(out, image.geometry.world_to_index, mask, [str(one.message) for one in caught], again)


def judged(file, to_index, mask, said, again):
    """The contours of a file, by the points inside of them.

    Args:
        to_index: points in the patient to indices of the mask.
        mask: what the contours were made of.
    """
    planes = defaultdict(list)
    for item in dcmread(file).ROIContourSequence[0].ContourSequence:
        index = to_index(np.array(item.ContourData, float).reshape(-1, 3))
        planes[float(np.round(np.median(index[:, 0]), 2))].append(index[:, 1:])
    found, area = np.zeros(mask.shape, bool), 0.0
    for plane, polygons in planes.items():
        area += inside(polygons, mask.shape[1:], FINE).sum() / FINE**2
        k = int(np.rint(plane))
        if abs(plane - k) < 0.2 and 0 <= k < len(mask):
            found[k] = inside(polygons, mask.shape[1:]) | on_path(polygons, mask.shape[1:])
    return Score(dice(found, mask), abs(area / np.count_nonzero(mask) - 1), said, again)


def inside(polygons, matrix, fine=1):
    """Points of a grid, ``fine`` of them along a pixel, that lie in an odd number of polygons."""
    rows, columns = ((np.arange(n * fine) + 0.5) / fine - 0.5 for n in matrix)
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    odd = np.zeros(len(points), bool)
    for polygon in (one for one in polygons if len(one) > 2):
        odd ^= Polygon(np.vstack([polygon, polygon[:1]])).contains_points(points)
    return odd.reshape(len(rows), len(columns))


def on_path(polygons, matrix):
    """Pixels whose centre lies within 0.01 pixel of a polygon."""
    found = np.zeros(matrix, bool)
    for polygon in polygons:
        for one, other in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            low, high = np.floor(np.minimum(one, other)).astype(int), np.ceil(np.maximum(one, other)).astype(int)
            h, w = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
            along = other - one
            share = np.clip(((h - one[0]) * along[0] + (w - one[1]) * along[1]) / max(along @ along, 1e-12), 0, 1)
            near = np.hypot(h - one[0] - share * along[0], w - one[1] - share * along[1]) <= 0.01
            near &= (h >= 0) & (w >= 0) & (h < matrix[0]) & (w < matrix[1])
            found[h[near], w[near]] = True
    return found


def every_case(folder):
    for pixels in PIXELS:
        for name, scan in scans(pixels).items():
            images = scan.write(folder / f"{pixels} {name}".replace(" ", "_").replace(",", ""))
            image = our_image(images)
            for shape in SHAPES:
                yield (name, shape, pixels), scan, images, image


def run(peers, folder):
    """{(reading or writing, tool): {(orientation, shape, pixels): Score or the text of an error}}."""
    scores = defaultdict(dict)
    mask_file, out, drawn = folder / "mask.npy", folder / "out.npy", folder / "out.dcm"
    for case, scan, images, image in every_case(folder):
        shape = SHAPES[case[1]]
        contours = scan.write_contours(folder / "contours.dcm", shape)
        mask = scan.mask(shape)
        np.save(mask_file, mask)
        for tool in READERS:
            if tool == "faimed3d":
                scores["reading", tool][case] = read_ours(image, scan, shape, contours)
                continue
            reply = peers.ask(tool=tool, scan=images, contours=contours, out=out, matrix=scan.matrix)
            scores["reading", tool][case] = reply.get("error") or read_score(np.load(out), mask, shape, reply["said"])
        for tool in WRITERS:
            if tool == "faimed3d":
                scores["writing", tool][case] = write_ours(image, scan, shape, images, drawn)
                continue
            name_of_tool, _, keyholes = tool.partition(", ")
            reply = peers.ask(tool=name_of_tool, scan=images, mask=mask_file, out=drawn, keyholes=bool(keyholes))
            if "error" in reply:
                scores["writing", tool][case] = reply["error"]
                continue
            back = peers.ask(tool=name_of_tool, scan=images, contours=drawn, out=out, matrix=scan.matrix)
            again = 0.0 if "error" in back else read_score(np.load(out), mask, shape, []).dice
            scores["writing", tool][case] = judged(drawn, scan.index, mask, reply["said"], again)
    return scores


def read_score(found, mask, shape, said):
    overlap = dice(found, mask) if found.shape == mask.shape else 0.0
    return Score(overlap, abs(np.count_nonzero(found) / shape.volume - 1), said)


def summary(scores, way):
    rows = []
    for (one, tool), found in scores.items():
        good = [score for score in found.values() if isinstance(score, Score)]
        if one != way:
            continue
        dices, errors = [score.dice for score in good] or [0], [100 * score.volume_error for score in good] or [0]
        row = [
            tool, len(found), len(found) - len(good), f"{statistics.median(dices):.3f}", f"{min(dices):.3f}",
            statistics.median(errors), max(errors), sum(score.is_wrong for score in good),
            sum(score.is_silent for score in good), sum(score.dice < 0.5 and not score.said for score in good),
        ]  # fmt: skip
        if way == "writing":
            row[5:5] = [f"{statistics.median(score.again for score in good):.3f}" if good else ""]
        rows.append(row)
    header = [way, "cases", "refused", "Dice, median", "worst", "volume error %, median", "worst"]
    header += ["over 5 %", "of these without a word", "Dice under 0.5 without a word"]
    if way == "writing":
        header[5:5] = ["read back, median"]
    table(rows, header)


def silent_by(scores, place, title):
    kinds = dict.fromkeys(case[place] for found in scores.values() for case in found)
    rows = []
    for kind in kinds:
        row = [kind]
        for found in scores.values():
            some = [score for case, score in found.items() if case[place] == kind]
            wrong = sum(isinstance(score, Score) and score.is_silent for score in some)
            refused = sum(isinstance(score, str) for score in some)
            row.append(f"{wrong}/{len(some)}" + (f", {refused} refused" if refused else ""))
        rows.append(row)
    table(rows, (title, *(f"{tool}, {way}" for way, tool in scores)))


def reasons(scores):
    """What was refused, and why."""
    if not any(isinstance(score, str) for found in scores.values() for score in found.values()):
        print("No tool refused a file.")
    for (way, tool), found in scores.items():
        counts = defaultdict(int)
        for score in found.values():
            if isinstance(score, str):
                counts[score.splitlines()[0][:120]] += 1
        for text, count in counts.items():
            print(f"- {tool}, {way}, {count} refused: {text}")


def versions(interpreter):
    text = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in ('rt-utils', 'dcmrtstruct2nii')))"
    rt_utils = subprocess.run([interpreter, "-c", text], capture_output=True, text=True).stdout.strip()
    plastimatch = subprocess.run(["plastimatch", "--version"], capture_output=True, text=True).stdout.strip()
    return f"{rt_utils} {plastimatch}"


def main():
    interpreter = os.environ.get("CONTOUR_PEERS")
    if not interpreter:
        print("CONTOUR_PEERS names no interpreter with the peers", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        scores = run(Peers(interpreter), Path(folder))
    matrices = " and ".join(f"{h} x {w} pixels, {name}" for name, ((h, w), _) in PIXELS.items())
    print(f"`CONTOUR_PEERS=peers/bin/python python benchmarks/run.py bench_contours`: {versions(interpreter)}.\n")
    print(f"{len(SHAPES)} shapes x {len(scans('square'))} orientations x {len(PIXELS)} matrices ({matrices}).\n")
    print(NOTES)
    for way in ("reading", "writing"):
        summary(scores, way)
    print("Volume wrong by more than 5 % without a word, by shape and by orientation:\n")
    silent_by(scores, 1, "shape")
    silent_by(scores, 0, "orientation")
    reasons(scores)


if __name__ == "__main__":
    main()
