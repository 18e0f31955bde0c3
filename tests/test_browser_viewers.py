"""The viewers of 0.0.6: over ``view_3d``, and with sliders where its package is not installed."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from test_display_slice_view import drawn, image, mask, reference

from faimed3d.browser import BasicViewer, DicomExplorer, ListViewer
from faimed3d.browser.case_list import CaseList


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def sliders(monkeypatch):
    """As where the package of the viewer is not installed."""
    monkeypatch.setitem(__import__("sys").modules, "ipyniivue", None)


def texts(box):
    return [child.value for child in box.children if type(child).__name__ == "HTML"]


class TestBasicViewer:
    def test_arguments_of_0_0_6_say_what_the_viewer_shows(self):
        shown = BasicViewer(
            image(), mask(), mask() * 0, "a case", (5, 3), axis="coronal", window=(60, 20), mask_alpha=0.7
        )
        view = shown.view
        assert [labels.name for labels in view.case.labels] == ["target", "prediction", "errors"]
        assert (view.plane, view.window, view.opacity, view.beside, view.height) == (
            "coronal",
            (60, 20),
            0.7,
            True,
            420,
        )
        assert (">a case<" in texts(shown.box)[0], "target | prediction" in texts(shown.box)[1]) == (True, True)
        assert shown.box.children[-1] is view.widget

    def test_masks_of_any_type_and_classes_in_words(self):
        found = BasicViewer(image(), "ill", mask().float().numpy()).view.case.labels
        assert [(labels.name, [one.label for one in labels.classes]) for labels in found] == [("prediction", [1, 3])]
        both = BasicViewer(image(), mask().numpy(), mask().float().numpy()).view.case
        assert [len(both.pictures), len(both.labels)] == [1, 3]
        assert "<span style='color:red'>&lt;b&gt;</span>" in texts(BasicViewer(image(), "a", "<b>").box)[0]
        assert BasicViewer(image().reorient("SPL"), axis=0).view.plane == "sagittal"
        assert BasicViewer(np.zeros((2, 3, 4)), axis=1).view.plane == "coronal"

    def test_sliders_where_the_viewer_is_not_installed(self, sliders):
        shown = BasicViewer(image(), mask(), description="a case", axis="sagittal", window=(60, 20), mask_alpha=0.7)
        assert shown.view is None
        assert (shown.sliders.plane.value, shown.sliders.window.value, shown.sliders.alpha.value) == (
            "sagittal",
            (50, 70),
            0.7,
        )
        assert shown.box is shown.sliders.box

    def test_a_colour_map_has_sliders(self):
        assert BasicViewer(image(), cmap="hot").sliders.views[0].cmap == "hot"

    def test_shows_itself(self, monkeypatch):
        seen = []
        monkeypatch.setattr("IPython.display.display", seen.append)
        shown = BasicViewer(image())
        shown._ipython_display_()
        shown.show()
        assert seen == [shown.box, shown.box]

    def test_without_ipywidgets_the_extra_is_named(self, sliders, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
        for shown in (BasicViewer, lambda x: ListViewer([x])):
            with pytest.raises(ImportError, match=r"BasicViewer needs ipywidgets: .* its extra 'viewer'\)"):
                shown(image())

    def test_refuses_what_is_no_volume(self):
        with pytest.raises(ValueError, match="a viewer shows one volume"):
            BasicViewer(image()[0])
        with pytest.raises(ValueError, match=r"a mask must be \(D, H, W\), got shape \(2, 4, 5, 6\)"):
            BasicViewer(image(), torch.stack([mask(), mask()]))
        for kind in (BasicViewer, DicomExplorer):
            with pytest.raises(TypeError, match="takes no argument 'windw': did you mean 'window'"):
                kind(image(), windw=3)


class TestDicomExplorer:
    def test_the_window_colours_the_bars_and_counts_the_voxels(self):
        shown = DicomExplorer(image(), mask(), window=(59.5, 120))
        assert shown.statistics["voxels"] == 120
        assert sum(bar.get_height() for bar in shown.histogram.patches) == 120
        before = shown._panel._bars.value
        shown.view.window = (44.5, 30)
        assert shown.statistics == {**shown.statistics, "voxels": 30, "mean": 44.5, "minimum": 30, "maximum": 59}
        assert shown._panel._bars.value != before
        coloured = [bar.get_x() for bar in shown.histogram.patches if bar.get_facecolor()[0] < 0.5]
        assert 28 < min(coloured) < max(coloured) < 60
        assert "<td>44.5</td>" in shown._panel._table.value
        shown.view.window = (-100, 1)
        assert shown.statistics == {"voxels": 0}
        assert shown.box.children[1] is shown._panel.box

    def test_another_channel_is_counted_anew(self):
        shown = DicomExplorer(torch.stack([image(), image() * 2]))
        shown.view.channel = 1
        assert shown.statistics["maximum"] > 230

    def test_sliders_count_as_well(self, sliders):
        shown = DicomExplorer(torch.stack([image(), image() * 2]))
        shown.sliders.window.value = (29.5, 59.5)
        assert shown.statistics["voxels"] == 30
        shown.sliders.slice.value = 1
        assert np.array_equal(drawn(shown.sliders.views[0]), reference(image(), 1, "axial", 0))
        shown.sliders.window.value = (0, 238)
        shown.sliders.channel.value = 1
        assert shown.statistics["maximum"] == 238


class TestListViewer:
    def test_is_a_list_of_cases(self, monkeypatch):
        lists = []
        monkeypatch.setattr(CaseList, "widget", property(lambda self: lists.append(self) or "widget"))
        batch = torch.stack([image(), image()])[:, None]
        shown = ListViewer(batch, ["a", "b"], ["a", "a"], ["one", "two"], window=(60, 20))
        assert shown.box == "widget"
        assert [one.name for one in lists[0].listed] == ["one", "two"]
        assert [one.facts for one in lists[0].listed] == [("target: a", "prediction: a"), ("target: b",)]
        assert [one.flags for one in lists[0].listed] == [(), ("prediction: a",)]
        assert [one.view.window for one in shown.viewers] == [(60, 20)] * 2

    def test_each_volume_has_its_own_sliders(self, sliders):
        shown = ListViewer([image(), image() + 1, image()], [mask(), mask(), mask()], description="all")
        assert [len(row.children) for row in shown.box.children] == [2, 1]
        shown.viewers[1].sliders.slice.value = 3
        assert [one.sliders.slice.value for one in shown.viewers] == [2, 3, 2]

    def test_refuses_lists_of_other_lengths_and_empty_ones(self):
        with pytest.raises(ValueError, match="there are 2 volumes and 1 entries of y: give one for each"):
            ListViewer([image(), image()], [mask()])
        with pytest.raises(ValueError, match="there is no volume to show: the list is empty"):
            ListViewer([])

    def test_shows_itself(self, monkeypatch):
        seen = []
        monkeypatch.setattr("IPython.display.display", seen.append)
        shown = ListViewer([image()], max_n=1)
        shown._ipython_display_()
        assert seen == [shown.box]
