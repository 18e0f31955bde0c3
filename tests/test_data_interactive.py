"""Batches, results and top losses in the viewer: a page of cases, or a list in the notebook."""

import importlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from cases import classification, make_learner, segmentation
from fastai.data.block import DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.interpret import Interpretation
from torch import nn

from faimed3d.browser.case_list import CaseList
from faimed3d.data import ImageBlock3D, get_volumetric_files

importlib.import_module("fastai.callback.progress")  # gives Learner no_bar


@pytest.fixture(scope="module")
def table(root):
    return pd.read_csv(root / "cases.csv")


@pytest.fixture(scope="module")
def learn(table, root):
    return make_learner(segmentation(table, root, codes=["none", "lesion"]))


@pytest.fixture
def shown(monkeypatch):
    """The lists that were displayed in the notebook."""
    lists = []
    monkeypatch.setattr("IPython.display.display", lists.append)
    return lists


def entries(path):
    """Text of each entry of the list of a page, and what is described of each case."""
    text = path.read_text(encoding="utf-8")
    listed = re.search(r'id="f3d-list">(.*?)<div class="f3d-main"', text, re.DOTALL).group(1)
    heads = [re.sub(r"<[^>]*>", " ", head) for head in listed.split("<div data-case=")[1:]]
    return heads, json.loads(re.search(r'id="f3d-cases">(.*?)</script>', text).group(1))


def names_of(case):
    return [labels["name"] for labels in case["described"]["labels"]]


def test_a_batch_becomes_a_page(table, root, tmp_path):
    dls = segmentation(table, root, codes=["none", "lesion"])
    dls.valid.show_batch(interactive=tmp_path / "batch.html", window=(0, 3))
    heads, cases = entries(tmp_path / "batch.html")
    assert ["item 0" in heads[0], "item 1" in heads[1], len(heads)] == [True, True, 2]
    assert [names_of(case) for case in cases] == [["target"], ["target"]]
    assert [case["described"]["labels"][0]["classes"][0]["name"] for case in cases] == ["lesion", "lesion"]
    assert [case["state"]["window"] for case in cases] == [[0, 3], [0, 3]]
    for case, image in zip(cases, dls.valid.one_batch()[0], strict=True):
        mm3 = 18 * image.geometry.voxel_volume
        assert case["described"]["labels"][0]["classes"][0]["mm3"] == pytest.approx(mm3)


def test_results_show_errors_and_the_worst_first(learn, shown):
    with learn.no_bar():
        learn.show_results(ds_idx=0, shuffle=False, interactive=True)
    (found,) = shown
    assert isinstance(found, CaseList)
    scores = []
    for one in found.listed:
        truth, prediction, errors = one.view.case.labels
        assert [one.view.shown, truth.name, prediction.name] == ["errors", "target", "prediction"]
        assert {one.name for one in errors.classes} <= {"agreement", "missed", "false"}
        inside = truth.voxels > 0, prediction.voxels > 0
        scores.append(2 * (inside[0] & inside[1]).sum() / (inside[0].sum() + inside[1].sum()))
        assert one.facts == (f"Dice: {scores[-1]:.3f}",)
    assert scores == sorted(scores)


def test_classes_are_named_and_the_wrong_ones_come_first(table, root, shown):
    learn = make_learner(classification(table, root, bs=4), whole=True)
    with learn.no_bar():
        learn.show_results(ds_idx=0, shuffle=False, interactive=True)
    ((*first, last),) = [found.listed for found in shown]
    assert [bool(one.flags) for one in (*first, last)] == sorted([bool(one.flags) for one in (*first, last)])[::-1]
    for one in (*first, last):
        target, prediction = (text.split(": ")[1] for text in sorted((*one.facts, *one.flags), reverse=True))
        assert (target != prediction) == bool(one.flags)


def test_top_losses_stay_in_their_order(learn, tmp_path):
    with learn.no_bar():
        interpretation = Interpretation.from_learner(learn)
        interpretation.plot_top_losses(2, interactive=str(tmp_path / "losses.html"))
        interpretation.show_results([0, 1], interactive=tmp_path / "results.html")
    heads, cases = entries(tmp_path / "losses.html")
    losses = [float(re.search(r"loss ([\d.e-]+)", head).group(1)) for head in heads]
    assert losses == pytest.approx(interpretation.top_losses(2)[0].tolist(), rel=1e-2)
    assert [names_of(case) for case in cases] == [["target", "prediction", "errors"]] * 2
    assert len(entries(tmp_path / "results.html")[0]) == 2


def test_images_as_targets_lie_over_each_other(root, shown):
    block = DataBlock(blocks=(ImageBlock3D, ImageBlock3D), splitter=IndexSplitter([0, 1]))
    dls = block.dataloaders(get_volumetric_files(root / "images"), bs=2, num_workers=0)
    dls.show_batch(interactive=True)
    learn = make_learner(dls, 1, loss_func=nn.MSELoss())
    with learn.no_bar():
        learn.show_results(interactive=True)
    names = [[picture.name for picture in found.listed[0].view.case.pictures] for found in shown]
    assert names == [["image", "target"], ["image", "prediction"]]


def test_regions_and_items_without_target(table, root, learn, shown):
    dls = segmentation(table, root, regions={"all": (1,)})
    dls.show_batch(interactive=True, max_n=1)
    assert [len(found.listed) for found in shown] == [1]
    assert np.unique(shown[0].listed[0].view.case.labels[0].voxels).tolist() == [0, 1]
    test_dl = learn.dls.test_dl(table[:2], bs=2)
    test_dl.show_batch(interactive=True)
    with learn.no_bar():
        learn.show_results(dl=test_dl, interactive=True)
    assert [labels.name for labels in shown[-1].listed[0].view.case.labels] == ["prediction"]


def test_what_cannot_be_shown_is_refused(learn, monkeypatch):
    with pytest.raises(TypeError, match=r"view_3d\(\) takes no argument 'axis'"):
        learn.dls.show_batch(interactive=True, axis=1)
    with pytest.raises(TypeError, match=r"with interactive, show_batch or show_results.* takes no argument 'ctxs'"):
        learn.dls.show_batch(interactive=True, ctxs=[None])
    with pytest.raises(ValueError, match=r"a viewer is saved as \.html, got 'batch'"):
        learn.dls.show_batch(interactive="batch")
    with pytest.raises(ValueError, match="there is nothing to show: no item was given"):
        learn.dls.show_batch(interactive=True, max_n=0)
    monkeypatch.setitem(__import__("sys").modules, "ipyniivue", None)
    with pytest.raises(ImportError, match=r"interactive=True needs ipyniivue: .* Without it, \.show\(\) draws"):
        learn.dls.show_batch(interactive=True)


def test_the_list_in_a_notebook_sends_the_case_that_is_chosen(learn, shown):
    learn.dls.valid.show_batch(interactive=True)
    (found,) = shown
    widget, sent = found.widget, []
    widget.send = lambda content, buffers: sent.append((content, buffers))
    for question in (
        {"what": "engine", "packed": False},
        {"what": "case", "case": 1},
        {"what": "surfaces 0", "case": 1},
    ):
        widget._handle_custom_msg({"number": 7, **question}, [])
    (engine, none), (case, files), (_, surfaces) = sent
    assert [head.count("<img") for head in engine["heads"]] == [1, 1]
    assert none == []
    assert [len(files), len(surfaces)] == [2, 1]
    assert case["state"] == found.listed[1].view.state
    widget.number = 1
    widget.window = [1.0, 2.0]
    assert found.listed[1].view.window == (1, 2)
    assert found.listed[0].view.window != (1, 2)
