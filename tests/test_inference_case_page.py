"""The page of a folder of predictions: which cases it lists, in which order, with which flags."""

import re

import numpy as np
import pytest
import torch
from shown_labels import SHAPE, geometry_of, image_of, labels_of, learner_of, write_cases

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.browser.case import make_case, mean_dice
from faimed3d.inference import predict_folder
from faimed3d.inference.plausibility import implausible, unusual_volumes


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


def listed(path):
    """(number of the case or None, text of its entry) in the order of the list."""
    text = path.read_text(encoding="utf-8")
    entries = re.search(r'id="f3d-list">(.*?)</div><div class="f3d-main"', text).group(1)
    parts = re.split(r'(?=<div(?: data-case="\d+")?><b>)', entries)[1:]
    return [(re.match(r'<div data-case="(\d+)"', part), re.sub(r"<img[^>]*>|<[^>]+>", " ", part)) for part in parts]


def test_the_worst_case_comes_first_and_the_table_stays(table, tmp_path):
    learn = learner_of(table)
    truths = []
    for number, moved in enumerate((0, 3, 1)):
        truths.append(TensorMask3D(torch.from_numpy(np.roll(labels_of(number), moved, 2)), geometry_of(number)))
    items = table["image"].tolist()
    report = predict_folder(learn, items, tmp_path, report="report.html", truths=truths)
    assert (report["error"] == "").all()
    assert (tmp_path / "report.csv").is_file()
    entries = listed(tmp_path / "report.html")
    assert [text.split()[0] for _, text in entries] == ["image1", "image2", "image0"]
    scores = [float(re.search(r"Dice with the truth: ([\d.]+)", text).group(1)) for _, text in entries]
    assert scores == sorted(scores)
    assert scores[-1] == 1
    assert [match.group(1) for match, _ in entries] == ["0", "1", "2"]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(str(tmp_path) not in text and item not in text for item in items)


def test_failed_and_implausible_cases_come_before_fine_ones(table, tmp_path):
    learn = learner_of(table)
    empty = TensorDicom3D(torch.zeros(SHAPE), geometry_of(1))
    fine = TensorDicom3D(torch.from_numpy(image_of(0)), geometry_of(0))
    with pytest.warns(UserWarning, match="1 of 3 cases failed"):
        predict_folder(learn, [fine, empty, "absent.nii.gz"], tmp_path, names=["fine", "empty", "absent"],
                       report="report.html")  # fmt: skip
    entries = listed(tmp_path / "report.html")
    assert [text.split()[0] for _, text in entries] == ["absent", "empty", "fine"]
    assert "failed (FileNotFoundError): see the table" in entries[0][1]
    assert entries[0][0] is None
    assert "nothing was found" in entries[1][1]


def test_truths_are_a_column_or_one_for_each(table, tmp_path):
    learn = learner_of(table)
    predict_folder(learn, table, tmp_path, report="report.html", truths="mask")
    assert [text.count("Dice with the truth: 1.000") for _, text in listed(tmp_path / "report.html")] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"truths names the column 'label' of items, which has image, mask"):
        predict_folder(learn, table, tmp_path, truths="label")
    with pytest.raises(ValueError, match=r"there are 3 items and 1 truths: each item needs one, or None"):
        predict_folder(learn, table, tmp_path, truths=[None])


def labels(array):
    return make_case(np.zeros(array.shape), array, None, None, ("mask", "other")).labels[0]


def test_what_is_implausible_of_one_mask():
    array = np.zeros((6, 7, 8), np.uint8)
    assert implausible(labels(array)) == ["nothing was found"]
    array[2:4, 2:4, 2:4] = 1
    assert implausible(labels(array)) == []
    array[2, 5, 5] = 1
    assert implausible(labels(array)) == ["class 1 is in 2 pieces, the largest 89 % of it"]
    array[0, 0, 0] = 2
    assert "class 2 reaches the edge of the scan" in implausible(labels(array))


def test_volumes_are_unusual_among_enough_cases():
    volumes = [{"liver": 1000.0 * v, "spleen": 1.0} for v in (1400, 1500, 1450, 1550, 9000)]
    assert unusual_volumes([*volumes, {}]) == [
        *[[]] * 4, ["liver: 9000 ml, while half of all cases have less than 1500 ml"], [],
    ]  # fmt: skip
    assert unusual_volumes(volumes[1:]) == [[]] * 4


def test_the_mean_of_dice_over_classes():
    truth, found = np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 4), np.uint8)
    truth[0, 0], found[0, 0, :2] = 1, 1
    found[1, 1, 0] = 2
    assert mean_dice(labels(truth), labels(found)) == pytest.approx((2 * 2 / 6 + 0) / 2)
    assert mean_dice(labels(0 * truth), labels(0 * found)) == 1
