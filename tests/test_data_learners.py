"""Loaders with a Learner: training, predictions, their pictures, export without a trace of patients."""

import importlib
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from cases import SHAPE, case_of, classification, geometry_of, make_learner, segmentation
from dicom_series import SECRETS, write_series
from fastai.data.block import RegressionBlock
from fastai.learner import load_learner
from matplotlib.colors import to_rgb
from test_data_pictures import images_on, own_axes

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D

# after faimed3d, which silences what fastai's import warns of under pandas 3
Interpretation = importlib.import_module("fastai.interpret").Interpretation
ClassificationInterpretation = importlib.import_module("fastai.interpret").ClassificationInterpretation
importlib.import_module("fastai.callback.progress")  # gives Learner no_bar


@pytest.fixture(autouse=True)
def _only_own_figures():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def trained(root):
    dls = segmentation(pd.read_csv(root / "cases.csv"), root, codes=["none", "lesion"])
    learn = make_learner(dls)
    with learn.no_logging(), learn.no_bar():
        learn.fit(12, 0.1)
    return learn


class TestSegmentation:
    def test_learns_with_the_loss_of_the_block(self, trained):
        with trained.no_bar():
            scores, targets = trained.get_preds()
        assert scores.shape == (2, 2, *SHAPE)
        assert torch.allclose(scores.sum(1), torch.ones(2, *SHAPE))
        assert (scores.argmax(1) == targets).float().mean() > 0.97

    def test_predict_gives_a_mask(self, trained, root):
        for item in (root / "images" / "Cyd_4.nii.gz", str(root / "images" / "Cyd_4.nii.gz"), case_of(4)[0]):
            with trained.no_bar():
                mask, labels, scores = trained.predict(item)
            assert type(mask) is TensorMask3D
            assert (labels == torch.as_tensor(case_of(4)[1])).float().mean() > 0.97
            assert scores.shape == (2, *SHAPE)
            assert mask.geometry is None or mask.geometry.agrees(geometry_of(4))

    def test_show_results_draws_input_target_and_prediction_of_one_slice(self, trained):
        with trained.no_bar():
            trained.show_results(n=1, mask_alpha=0.5)
        axes = own_axes()
        assert [len(ax.images) for ax in axes] == [1, 2, 2]
        pictures = [images_on(ax) for ax in axes]
        assert np.array_equal(pictures[0][0], pictures[2][0])
        assert (pictures[1][1] > 0).sum() == 9
        assert plt.gcf()._suptitle.get_text() == "Input/Target/Prediction"

    def test_voxels_are_counted_by_class(self, trained):
        with trained.no_bar():
            found = ClassificationInterpretation.from_learner(trained)
            counts = found.confusion_matrix()
        assert counts.shape == (2, 2)
        assert counts.sum() == 2 * np.prod(SHAPE)
        assert counts[1].sum() == 2 * case_of(0)[1].sum()
        found.plot_confusion_matrix()
        assert [label.get_text() for label in plt.gca().get_xticklabels()] == ["none", "lesion"]

    def test_names_may_be_given_twice(self, table, root):
        dls = segmentation(table, root, codes=["other", "other"])
        assert (dls.vocab, dls.c) == (["other", "other"], 2)

    def test_top_losses(self, trained):
        with trained.no_bar():
            found = Interpretation.from_learner(trained)
            found.plot_top_losses(2)
            titles = [ax.get_title() for ax in own_axes()]
            assert len(titles) == 6
            assert [title[:5] for title in titles[1::3]] == ["loss ", "loss "]
            plt.close("all")
            found.show_results([0, 1])
            assert len(own_axes()) == 6


class TestClassification:
    def test_results_predictions_and_top_losses(self, table, root):
        learn = make_learner(classification(table, root), whole=True)
        with learn.no_logging(), learn.no_bar():
            learn.fit(1)
            label, number, scores = learn.predict(root / "images" / "Ben_2.nii.gz")
            assert label == ["high", "low"][number]
            assert scores.sum() == pytest.approx(1)
            learn.show_results(shuffle=False)
            for ax, target in zip(own_axes(), ("low", "high"), strict=True):
                above, below = ax.get_title().split("\n")
                assert above == target
                colour = "green" if above == below else "red"
                assert to_rgb(ax.title.get_color()) == to_rgb(colour)
            plt.close("all")
            Interpretation.from_learner(learn).plot_top_losses(2)
        for ax in own_axes():
            classes, certainty = ax.get_title().split("\n")
            assert set(classes.split(" / ")) <= {"low", "high"}  # prediction, target
            assert len([float(v) for v in certainty.split(" / ")]) == 2  # loss, probability

    def test_results_of_several_classes_and_numbers(self, table, root):
        for label_col, more in (("findings", {"label_delim": ";"}), ("age", {"y_block": RegressionBlock(1)})):
            dls = classification(table, root, label_col, **more)
            learn = make_learner(dls, 2 if more.get("label_delim") else 1, whole=True)
            with learn.no_logging(), learn.no_bar():
                learn.fit(1)
                learn.show_results()
                Interpretation.from_learner(learn).plot_top_losses(2)
            assert len(own_axes()) == 4
            plt.close("all")


class TestExport:
    @pytest.fixture
    def exported(self, tmp_path):
        data = tmp_path / "Quintessa"
        rows = []
        for number in range(3):
            case = data / f"Quintessa_{number}"
            write_series(case, PatientName="Quintessa^Ann")
            image = TensorDicom3D.create(case)
            TensorMask3D((image > 500).to(torch.uint8), image.geometry).save(data / f"truth_{number}.nrrd")
            rows.append({"image": str(case), "mask": str(data / f"truth_{number}.nrrd"), "patient": case.name})
        dls = SegmentationDataLoaders3D.from_df(
            pd.DataFrame(rows), tmp_path, fn_col="image", label_col="mask", group_col="patient", bs=1, num_workers=0
        )
        learn = make_learner(dls)
        with learn.no_logging(), learn.no_bar():
            learn.fit(1)
            learn.show_results()
        learn.path = tmp_path
        learn.export("model.pkl")
        return learn, tmp_path / "model.pkl", data / "Quintessa_1"

    def test_holds_no_patient(self, exported):
        content = exported[1].read_bytes()
        assert b"faimed3d" in content  # stored, not packed: a search through the bytes means something
        for secret in ("Quintessa", "truth_", "IM9999", *SECRETS):
            assert secret.encode() not in content

    def test_predicts_the_same_when_loaded_again(self, exported):
        learn, file, case = exported
        with warnings.catch_warnings():
            # fastai says at every load that pickle is not safe against files of strangers
            warnings.filterwarnings("ignore", message=".*pickle", category=UserWarning)
            again = load_learner(file)
        with learn.no_bar(), again.no_bar():
            assert torch.equal(learn.predict(case)[2], again.predict(case)[2])
            table = pd.DataFrame({"image": [str(case)]})
            assert again.get_preds(dl=again.dls.test_dl(table))[0].shape == (1, 2, 5, 6, 7)
