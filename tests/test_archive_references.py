"""What refers to a scan, and what an archive sends that was not asked for."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faimed3d.archive import DicomWeb
from faimed3d.archive.dicom_json import items_of, text_of
from faimed3d.archive.matching import matches, weakened
from faimed3d.archive.references import Scan, refers

SCAN = Scan("1", "1.2", "1.9", frozenset({"1.2.1", "1.2.2"}))
words = st.text("aB2 *?.^[ö", max_size=6)


def sequence(tag, *items):
    return {tag: {"vr": "SQ", "Value": list(items)}}


def uid(tag, value):
    return {tag: {"vr": "UI", "Value": [value]}}


OWN = uid("0020000E", "1.7")  # of the object itself, which names no other series by it


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (sequence("00081115", uid("0020000E", "1.2")), True),  # ReferencedSeriesSequence
        (sequence("00081115", uid("0020000E", "1.3")), False),
        (
            sequence("00081115", uid("0020000E", "1.3")) | uid("00200052", "1.9"),
            False,
        ),  # in its frame, of another
        (sequence("30060010", sequence("30060012", sequence("30060014", uid("0020000E", "1.2")))), True),  # RTSTRUCT
        (sequence("0040A375", sequence("00081115", uid("0020000E", "1.2"))), True),  # SR: its evidence
        (sequence("00082112", uid("00081155", "1.2.2")), True),  # SourceImageSequence
        (sequence("00082112", uid("00081155", "1.3.1")) | uid("00200052", "1.9"), False),
        (uid("00200052", "1.9"), True),  # only the frame of reference
        (uid("00200052", "1.8"), False),
        (sequence("30060020", uid("30060024", "1.9")), True),  # of a region
        # studies, steps and patients are no images: what names these alone lies in its frame of reference
        (sequence("30060010", uid("00200052", "1.9") | sequence("30060012", uid("00081155", "1"))), True),
        (sequence("00081111", uid("00081155", "1.77")) | uid("00200052", "1.9"), True),
        (sequence("00081110", uid("00081155", "1")) | uid("00200052", "1.9"), True),
        (sequence("00081120", uid("00081155", "1.78")) | uid("00200052", "1.9"), True),
        ({}, False),
        (uid("0020000E", "1.2"), False),  # the scan itself
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}, "00080008": None, "0": {"Value": 3}}, False),
    ],
)
def test_what_refers_to_a_scan(header, expected):
    assert refers(OWN | header, SCAN) is expected


def test_nothing_lies_in_a_frame_that_is_not_known():
    assert not refers(uid("00200052", ""), Scan("1", "1.2"))


json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["0020000E", "00081155", "00200052", "vr", "Value", "Alphabetic"]), inner, max_size=3
        ),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["0020000E", "00081155", "30060020", "Value"]), json, max_size=4))
def test_no_answer_breaks_the_reading(header):
    assert refers(header, SCAN) in (True, False)
    for tag in header:
        assert isinstance(text_of(header, tag), str)
        assert isinstance(items_of(header, tag), list)
    assert matches(header, {"SeriesInstanceUID": "1.2", "SeriesDescription": "*"}) in (True, False)


def by_hand(text, pattern):
    """Wildcards by recursion."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(by_hand(text[n:], pattern[1:]) for n in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and by_hand(text[1:], pattern[1:])


@given(words, words)
def test_texts_match_by_wildcards(text, pattern):
    text, pattern = text.strip(), pattern.strip()
    item = {"0008103E": {"vr": "LO", "Value": [text]}}
    expected = not text or not pattern or by_hand(text.lower(), pattern.lower())
    assert matches(item, {"SeriesDescription": pattern}) is expected
    [asked] = weakened({"SeriesDescription": pattern}).values()
    assert re.fullmatch(r"[A-Za-z0-9._*-]*", asked)
    if by_hand(text, pattern):  # what an archive is asked for loses nothing that is wanted
        assert by_hand(text, asked)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("20200101", True), ("20200102", False), ("20191231-20200101", True), ("-20191231", False), ("20200101-", True)],
)
def test_dates_match_by_ranges(wanted, expected):
    item = {"00080020": {"vr": "DA", "Value": ["20200101"]}}
    assert matches(item, {"StudyDate": wanted}) is expected
    assert matches({}, {"StudyDate": wanted})  # the archive does not tell, so it is left to it


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"StudyDate": "2020-01-01"}, ValueError, "StudyDate must be a day as 20260131, or days as"),
        ({"modality": ["MR", "CT"]}, TypeError, "Modality must be one text, got list: search for each of several"),
        ({"limit": -1}, ValueError, "limit must be a number of rows from 0 up, or None for all, got -1"),
        ({"limit": 2.5}, ValueError, "got 2.5"),
        ({"tags": "PatientNam"}, ValueError, "'PatientNam' is no DICOM keyword, did you mean 'PatientName'"),
    ],
)
def test_a_search_that_would_match_nothing_by_mistake_is_refused(asked, error, text):
    with pytest.raises(error, match=text):
        DicomWeb("http://localhost:1/dicom-web").search(**asked)


@pytest.mark.parametrize("how", [{"timeout": "5"}, {"timeout": 0}, {"attempts": 2.5}, {"attempts": 0}])
def test_times_and_attempts_are_numbers(how):
    with pytest.raises(ValueError, match="timeout must be seconds above 0 and attempts a whole number from 1 up, got"):
        DicomWeb("http://localhost:1/dicom-web", **how)
