"""Messages of several parts (RFC 2046) of which one is a DICOM object: read and written in pieces, never whole.

dicomweb-client reads a part whole into memory, takes one that was cut for a whole one, and writes objects anew.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterable, Iterator
from email.message import Message

DICOM = "application/dicom"
_LONGEST_HEAD = 1 << 16  # bytes before the object, or between it and the end of the message


class CutMessage(Exception):
    """A message ends before its last delimiter."""


class OtherContent(Exception):
    """A message is intact and holds no DICOM object, or several."""


def object_in(content_type: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The one DICOM object of a message, in pieces.

    Args:
        content_type: of the message; ``application/dicom`` itself, which some servers send, is taken too.
        chunks: the message.

    Raises:
        CutMessage, OtherContent: while it is read.

    >>> message = [b"--x\\r\\nContent-Type: application/dicom\\r\\n\\r\\nob", b"ject\\r\\n--x--"]
    >>> b"".join(object_in('multipart/related; type="application/dicom"; boundary=x', message))
    b'object'
    """
    kind, boundary = _parsed(content_type)
    if kind == DICOM:
        yield from chunks
        return
    if kind != "multipart/related" or not boundary:
        raise OtherContent(f"{kind or 'no content type'}, not {DICOM}")
    waiting = iter(chunks)
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    _, rest = _until(delimiter, b"\r\n", waiting)  # the first delimiter may begin the message
    head, rest = _until(b"\r\n\r\n", rest, waiting)
    part = _header(head)
    if part != DICOM:
        raise OtherContent(f"{part or 'a part without a content type'}, not {DICOM}")
    while (end := rest.find(delimiter)) < 0:
        keep = len(rest) - len(delimiter) + 1
        if keep > 0:
            yield rest[:keep]
            rest = rest[keep:]
        rest += _next(waiting)
    yield rest[:end]
    rest = rest[end + len(delimiter) :]
    while len(rest) < 2:
        rest += _next(waiting)
    if not rest.startswith(b"--"):
        raise OtherContent("several objects, where one was asked for")


class ObjectMessage:
    """A message with one file, for ``requests``, which reads it in pieces and asks for its length.

    Args:
        path: of the file.

    >>> message = ObjectMessage(__file__)
    >>> len(message.read()) == len(message)
    True
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f'multipart/related; type="{DICOM}"; boundary={boundary}'
        head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        self._parts = [io.BytesIO(head), open(path, "rb"), io.BytesIO(end)]  # noqa: SIM115 - closed by close
        self._length = len(head) + os.fstat(self._parts[1].fileno()).st_size + len(end)

    def __len__(self) -> int:
        return self._length

    def read(self, count: int = -1) -> bytes:
        """The next bytes, at most ``count`` of them; all that are left for -1."""
        found = []
        while self._parts and count:
            piece = self._parts[0].read(count)
            found.append(piece)
            count -= len(piece) if count > 0 else 0
            if count:
                self._parts.pop(0).close()
        return b"".join(found)

    def close(self) -> None:
        """Close the file."""
        for part in self._parts:
            part.close()


def _parsed(content_type: str) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary", "")
    return content_type.partition(";")[0].strip().lower(), boundary if isinstance(boundary, str) else ""


def _header(head: bytes) -> str:
    """The content type among the lines of a part's head, without its parameters."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            return value.partition(b";")[0].strip().lower().decode("latin-1")
    return ""


def _until(mark: bytes, rest: bytes, waiting: Iterator[bytes]) -> tuple[bytes, bytes]:
    """What comes before a mark, and what is known of what comes after it."""
    while (at := rest.find(mark)) < 0:
        if len(rest) > _LONGEST_HEAD:
            raise OtherContent("a message without the delimiters that its head names")
        rest += _next(waiting)
    return rest[:at], rest[at + len(mark) :]


def _next(waiting: Iterator[bytes]) -> bytes:
    chunk = next(waiting, None)
    if chunk is None:
        raise CutMessage
    return chunk
