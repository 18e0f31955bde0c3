"""Codes of classes by their names, in segmentations, structure sets and reports."""

import shutil
import subprocess

import highdicom.sr
import numpy as np
import pytest
from dicom_series import write_series
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.sr.codedict import codes

from faimed3d.dicom import Concept
from faimed3d.dicom.writing.concepts import code_item
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (5, 9, 10)
NAMES = {1: "Liver", 2: "kidney_left", 3: "Tumour", 7: "region 7"}
KIDNEY = ("64033007", "SCT", "Kidney")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    write_series(folder, np.zeros(SHAPE, np.int16))
    return TensorDicom3D.create(folder)


@pytest.fixture(scope="module")
def mask(scan):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 1:5, 1:5], labels[1:4, 6:9, 1:5], labels[2, 1:5, 6:9], labels[3:, 6:9, 6:9] = 1, 2, 3, 7
    return TensorMask3D(labels, like=scan, codes={0: "background", 4: "spleen", **NAMES})


def triple(item):
    return item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning


class TestNames:
    @pytest.mark.parametrize(
        ("name", "value", "side"),
        [
            ("LIVER", "10200004", None),
            ("kidney_right", "64033007", "right"),
            ("Kidney_L", "64033007", "left"),
            ("left kidney", "64033007", "left"),
            ("Kidney, both", "64033007", "both"),
            ("Left ventricle", "87878005", None),  # a name of its own
            ("lung_upper_lobe_left", "45653009", "left"),
            ("vertebrae_L5", "49668003", None),
            ("SpinalCord", "2748008", None),
            ("oesophagus", "32849002", None),
        ],
    )
    def test_that_are_known(self, name, value, side):
        found = Concept.of(name)
        assert (found.value, found.scheme, found.laterality) == (value, "SCT", side)

    @pytest.mark.parametrize(
        "name", ["", "left", "class 3", "left liver", "liver tumor", "ventricle", "pulmonary vein", "kidney_l", "kidne"]
    )
    def test_that_would_be_guessed(self, name):
        assert Concept.of(name) is None

    def test_categories(self):
        assert [Concept.of(name).category for name in ("fat", "cyst", "stent", "urine")] == [
            "tissue", "morphologically abnormal structure", "physical object", "body substance",
        ]  # fmt: skip

    @given(st.sampled_from(sorted(codes.cid7192.concepts)), st.sampled_from(["_", " ", "-"]), st.booleans())
    def test_every_structure_of_the_list(self, keyword, gap, upper):
        code = codes.cid7192.concepts[keyword]
        name = code.meaning.replace(" ", gap)
        found = Concept.of(name.upper() if upper else name)
        same = [c for c in codes.cid7192.concepts.values() if c.meaning.casefold() == code.meaning.casefold()]
        if len(same) > 1 or code.meaning == "Ventricle" or code.scheme_designator != "SCT":
            assert found is None
        else:
            assert (found.value, found.meaning) == (code.value, code.meaning)


class TestFiles:
    @pytest.mark.parametrize("kind", ["binary", "labelmap"])
    def test_segmentations(self, tmp_path, scan, mask, kind):
        mask.save(tmp_path / "seg.dcm", like=scan, kind=kind)
        segments = [item for item in dcmread(tmp_path / "seg.dcm").SegmentSequence if item.SegmentNumber]
        kinds = {item.SegmentLabel: item.SegmentedPropertyTypeCodeSequence[0] for item in segments}
        assert {name: triple(item) for name, item in kinds.items()} == {
            "Liver": ("10200004", "SCT", "Liver"),
            "kidney_left": KIDNEY,
            "Tumour": ("108369006", "SCT", "Neoplasm"),
            "region 7": ("85756007", "SCT", "Tissue"),
        }
        [side] = kinds["kidney_left"].SegmentedPropertyTypeModifierCodeSequence
        assert triple(side) == ("7771000", "SCT", "Left")
        categories = [item.SegmentedPropertyCategoryCodeSequence[0].CodeValue for item in segments]
        assert categories == ["91723000", "91723000", "49755003", "85756007"]

    @pytest.mark.filterwarnings("ignore:.*hold another volume")
    @pytest.mark.parametrize("how", [{"form": "seg"}, {"kind": "labelmap"}, {"form": "rtstruct"}])
    def test_what_is_given_comes_back_and_goes_again(self, tmp_path, scan, mask, how):
        given = {"region 7": ("A1", "99LOCAL", "Region seven"), "Liver": None, "spleen": KIDNEY}
        mask.save(tmp_path / "a.dcm", like=scan, concepts=given, **how)  # the spleen is absent
        found = Concept.read(tmp_path / "a.dcm")
        assert found == {
            "kidney_left": Concept(*KIDNEY, laterality="left"),
            "Tumour": Concept.of("tumor"),
            "region 7": Concept("A1", "99LOCAL", "Region seven"),
        }
        mask.save(tmp_path / "b.dcm", like=scan, concepts={**found, "Liver": None}, **how)
        assert Concept.read(tmp_path / "b.dcm") == found

    @pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy of dicom3tools is not installed")
    @pytest.mark.filterwarnings("ignore:.*hold another volume")
    @pytest.mark.parametrize("form", ["seg", "rtstruct"])
    def test_dicom3tools_finds_no_error(self, tmp_path, scan, mask, form):
        mask.save(tmp_path / "a.dcm", like=scan, form=form)
        done = subprocess.run(["dciodvfy", tmp_path / "a.dcm"], capture_output=True, text=True, check=False)
        assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []

    def test_codes_of_older_files(self, tmp_path, scan, mask):
        """dcmqi and Slicer wrote SRT codes, and segments of one name."""
        mask.save(tmp_path / "a.dcm", like=scan)
        content = dcmread(tmp_path / "a.dcm")
        liver, kidney, tumour, region = content.SegmentSequence
        liver.SegmentedPropertyCategoryCodeSequence[0].CodeValue = "T-D000A"
        liver.SegmentedPropertyCategoryCodeSequence[0].CodingSchemeDesignator = "SRT"
        kidney.SegmentedPropertyCategoryCodeSequence[0].CodeValue = "1"  # unknown
        region.SegmentLabel = tumour.SegmentLabel = "x"
        content.save_as(tmp_path / "a.dcm")
        assert Concept.read(tmp_path / "a.dcm") == {"Liver": Concept.of("liver")}

    def test_a_side_may_stand_behind_another_modifier(self, tmp_path, scan, mask):
        mask.save(tmp_path / "a.dcm", like=scan)
        content = dcmread(tmp_path / "a.dcm")
        kidney = content.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
        kidney.SegmentedPropertyTypeModifierCodeSequence.insert(0, code_item("261183002", "SCT", "Upper"))
        content.save_as(tmp_path / "a.dcm")
        assert Concept.read(tmp_path / "a.dcm")["kidney_left"].laterality == "left"


class TestReports:
    def test_refer_to_the_segments_of_the_stored_mask(self, tmp_path, scan, mask):
        mask.save(tmp_path / "seg.dcm", like=scan)
        report = mask.report(like=scan, segmentation=tmp_path / "seg.dcm")
        report.save(tmp_path / "sr.dcm")
        content = highdicom.sr.srread(tmp_path / "sr.dcm").content
        uid = dcmread(tmp_path / "seg.dcm").SOPInstanceUID
        found = {}
        for group in content.get_volumetric_roi_measurement_groups():
            item = group.referenced_segment[0].ReferencedSOPSequence[0]
            assert item.ReferencedSOPInstanceUID == uid
            found[group.tracking_identifier] = item.ReferencedSegmentNumber, group.get_measurements()[0].value
        volumes = mask.calc_volume()
        assert found == {NAMES[label]: (k, pytest.approx(volumes[NAMES[label]])) for k, label in enumerate(NAMES, 1)}
        [absent] = content.get_image_measurement_groups()
        assert (absent.tracking_identifier, absent.get_measurements()[0].value) == ("spleen", 0)
        [kidney] = content.get_volumetric_roi_measurement_groups(tracking_uid=None)[1].finding_sites
        assert (kidney.value.value, kidney.laterality.meaning) == ("64033007", "Left")
        plain = report.to_dict()
        assert plain["segmentation_uid"] == uid
        assert plain["classes"][1] == {
            "label": 2, "name": "kidney_left", "voxels": 36, "volume_mm3": pytest.approx(volumes["kidney_left"]),
            "code": {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"}, "laterality": "left", "segment": 2,
        }  # fmt: skip

    def test_label_maps_keep_their_numbers(self, tmp_path, scan, mask):
        mask.save(tmp_path / "seg.dcm", like=scan, kind="labelmap")
        report = mask.report(like=scan, segmentation=tmp_path / "seg.dcm")
        assert [one.segment for one in report.classes] == [1, 2, 3, None, 7]

    @pytest.mark.parametrize("change", ["moved", "less", "more", "merged", "split"])
    def test_another_mask_is_refused(self, tmp_path, scan, mask, change):
        other = np.array(mask.numpy())
        if change == "moved":
            other = np.roll(other, 1, axis=1)
        elif change == "less":
            other[2, 1, 6] = 0
        elif change == "more":
            other[0, 0, 0] = 1
        elif change == "merged":
            other[other == 7] = 3
        else:
            other[4][other[4] == 7] = 9
        TensorMask3D(other, like=scan).save(tmp_path / "seg.dcm", like=scan)
        with pytest.raises(ValueError, match=r"seg\.dcm: the segmentation holds another mask"):
            mask.report(like=scan, segmentation=tmp_path / "seg.dcm")

    def test_json(self, tmp_path, scan, mask):
        import json

        report = mask.report(like=scan)
        report.save(tmp_path / "report.json")
        assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == report.to_dict()


class TestRefused:
    @pytest.mark.parametrize("form", ["seg", "rtstruct"])
    def test_concepts(self, tmp_path, scan, mask, form):
        for concepts, error, text in (
            ({"livr": KIDNEY}, ValueError, "concepts names 'livr', the classes are 'Liver', 'kidney_left'"),
            ({"Liver": "10200004"}, TypeError, r"a tuple \(value, scheme, meaning\); 'Liver' has '10200004'"),
            ({"Liver": ("1" * 17, "SCT", "x")}, ValueError, "at most 16 characters"),
            ({"Liver": ("", "SCT", "x")}, ValueError, "the value of a concept must be 1 to 64"),
        ):
            with pytest.raises(error, match=text):
                mask.save(tmp_path / "a.dcm", like=scan, form=form, concepts=concepts)
        assert not list(tmp_path.iterdir())

    def test_values_of_a_concept(self):
        with pytest.raises(ValueError, match="laterality must be 'left', 'right', 'both' or None, got 'L'"):
            Concept(*KIDNEY, laterality="L")
        with pytest.raises(ValueError, match="category must be one of 'anatomical structure'"):
            Concept(*KIDNEY, category="organ")
