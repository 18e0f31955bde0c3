"""Which elements a de-identified header table leaves out."""

import pytest
from dicom_series import make_series, write
from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword

from faimed3d.dicom import header_table
from faimed3d.dicom.header.confidentiality import is_identifying


@pytest.mark.parametrize(
    "keyword",
    [
        *("PatientName", "PatientID", "PatientBirthDate", "PatientBirthDateInAlternativeCalendar", "InstitutionName"),
        *(
            "PatientDeathDateInAlternativeCalendar",
            "ContactDisplayName",
            "SecondaryCaptureDeviceID",
            "StudyInstanceUID",
        ),
        *(
            "ContactDisplayName",
            "HardcopyCreationDeviceID",
            "MultiplexGroupLabel",
            "ChannelLabel",
            "ChannelDerivationDescription",
        ),
        *("SelectorASValue", "SelectorOBValue", "SelectorLOValue", "SelectorSHValue", "SelectorURValue", "TextString"),
        *("PositionAcquisitionTemplateName", "SourceSerialNumber", "TreatmentPositionGroupLabel", "TreatmentSite"),
        *("RTAccessoryHolderSlotID", "RTAccessoryDeviceSlotID", "RadiationDoseIdentificationLabel", "DeviceLabel"),
        *("RadiationDoseInVivoMeasurementLabel", "RTToleranceSetLabel", "RadiationGenerationModeLabel", "EntityName"),
        *("DisplacementReferenceLabel", "ReasonForOmissionDescription", "DeviceAlternateIdentifier", "EntityLabel"),
        *("UserContentLabel", "UserContentLongLabel", "EntityLongLabel", "RTPrescriptionLabel"),
        *("RTTreatmentApproachLabel", "StorageURL", "FileAccessURI", "RetrieveURL"),
    ],
)
def test_identifying(keyword):
    assert is_identifying(tag_for_keyword(keyword))


@pytest.mark.parametrize("keyword", ["Rows", "PixelSpacing", "Modality", "SOPClassUID", "KVP", "EchoTime", "ImageType"])
def test_technical(keyword):
    assert not is_identifying(tag_for_keyword(keyword))


@pytest.mark.parametrize("vr", ["DA", "TM", "DT", "PN", "AE", "UR", "LT", "ST", "UT"])
def test_no_element_of_some_kinds_is_kept(vr):
    tags = [tag for tag in DicomDictionary if dictionary_VR(tag) == vr]
    assert len(tags) > 5
    assert all(map(is_identifying, tags))


@pytest.mark.parametrize("tag", [0x00091001, 0x50000010, 0x60003000, 0x00100001])
def test_private_curves_overlays_and_unknown_elements(tag):
    assert is_identifying(tag)


def test_the_table_leaves_them_out(tmp_path):
    elements = {"PatientBirthDateInAlternativeCalendar": "5717 Adar II 14", "StorageURL": "http://host/doe"}
    paths = write(make_series(**elements), tmp_path)
    text = header_table(paths, deidentify=True).to_string()
    assert "5717" not in text
    assert "host" not in text
    assert "0028|0030" in text
