"""Messages with one DICOM object: whole, whatever the pieces they come in, or refused."""

import email.policy
from email.parser import BytesParser
from itertools import pairwise

import pytest
from archive_stub import BOUNDARY, enclosed
from hypothesis import given
from hypothesis import strategies as st

from faimed3d.archive.multipart import CutMessage, ObjectMessage, OtherContent, object_in

TYPE = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
# what looks like a delimiter and is none, besides any bytes
contents = st.lists(
    st.one_of(st.binary(max_size=30), st.sampled_from([b"\r\n--", b"--", b"\r\n", f"--{BOUNDARY[:-1]}".encode()]))
).map(b"".join)


def in_pieces(message, ends):
    ends = sorted({min(end, len(message)) for end in ends} | {0, len(message)})
    return [message[a:b] for a, b in pairwise(ends)]


@given(contents, st.lists(st.integers(0, 400)), st.sampled_from([b"", b"\r\n", b"preamble\r\n"]))
def test_an_object_comes_whole_in_whatever_pieces(content, ends, before):
    assert b"".join(object_in(TYPE, in_pieces(before + enclosed(content), ends))) == content


@given(contents, st.lists(st.integers(0, 400)), st.data())
def test_a_message_that_is_cut_anywhere_is_noticed(content, ends, data):
    whole = enclosed(content)
    cut = data.draw(st.integers(0, len(whole) - len("--\r\n") - 1))
    with pytest.raises(CutMessage):
        list(object_in(TYPE, in_pieces(whole[:cut], ends)))


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)), st.text('multipart/;=" x', max_size=30))
def test_any_bytes_are_read_or_refused(message, ends, content_type):
    for kind in (TYPE, content_type):
        try:
            list(object_in(kind, in_pieces(message, ends)))
        except (CutMessage, OtherContent):
            continue


@pytest.mark.parametrize(
    ("content_type", "message", "text"),
    [
        ("text/html; charset=utf-8", b"<html>", "text/html, not application/dicom"),
        ("", b"", "no content type, not application/dicom"),
        ("multipart/related", enclosed(b"x"), "multipart/related, not application/dicom"),
        (TYPE, enclosed(b"x").replace(b"application/dicom", b"image/jpeg"), "image/jpeg, not application/dicom"),
        (TYPE, enclosed(b"x").replace(b"Content-Type", b"Content-Length"), "a part without a content type, not"),
        (TYPE, enclosed(b"x")[:-4] + b"\r\nmore", "several objects, where one was asked for"),
        (TYPE, b"x" * 10**6, "a message without the delimiters that its head names"),
    ],
)
def test_other_content_is_named(content_type, message, text):
    with pytest.raises(OtherContent, match=text):
        list(object_in(content_type, in_pieces(message, range(0, 10**6, 10**5))))


@given(content=st.binary(max_size=60), size=st.sampled_from([1, 7, 80, -1]))
def test_what_is_sent_is_read_by_another_parser(tmp_path_factory, content, size):
    path = tmp_path_factory.getbasetemp() / "object.dcm"
    path.write_bytes(content)
    message = ObjectMessage(path)
    sent = b"".join(iter(lambda: message.read(size), b""))
    message.close()
    assert len(sent) == len(message)
    head = f"Content-Type: {message.content_type}\r\n\r\n".encode()
    found = BytesParser(policy=email.policy.HTTP).parsebytes(head + sent)
    assert found.get_content_type() == "multipart/related"
    [part] = found.iter_parts()
    assert part.get_content_type() == "application/dicom"
    assert b"".join(object_in(message.content_type, [sent])) == content
