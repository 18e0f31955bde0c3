"""One server of DICOMweb: requests that are repeated while it is of use, and faults as exceptions without secrets.

No client of others is between: dicomweb-client (0.61) escapes the wildcards of a search, which Orthanc 1.10 then does
not see; it reads objects whole into memory and takes a cut one for whole; it writes them anew before it sends them, and
sends nothing when it repeats that.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from faimed3d.archive.dicom_json import FAILED, SERIES_UID, SOP_UID, Item, text_of
from faimed3d.archive.multipart import DICOM, CutMessage, ObjectMessage, OtherContent, object_in
from faimed3d.errors import ArchiveError, ArchiveUnavailable

Result = TypeVar("Result")

FIRST_PAUSE = 0.5  # seconds before the second attempt; each further one waits twice as long
_CHUNK = 1 << 18
_NO_JSON = "the answer is no DICOM JSON: is this the address of a DICOMweb service?"
_LATER = (408, 425, 429, 500, 502, 503, 504)  # states that may pass


class _Passing(Exception):
    """A fault after which the same request may succeed."""


class Token(AuthBase):
    """A bearer token (RFC 6750)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Connection:
    """Requests to one server.

    Args:
        url: of the service, without user, password and query.
        auth: how requests are signed, None for not at all.
        certificates: file of the authorities that sign the server's certificate; None: those of the system.
        timeout: seconds that the server may stay silent.
        attempts: how often a request is made at most, while its fault may pass.
    """

    def __init__(
        self, url: str, auth: AuthBase | None, certificates: str | None, timeout: float, attempts: int
    ) -> None:
        self.url, self.timeout, self.attempts = url, timeout, attempts
        self._session = requests.Session()
        self._session.auth = auth or _nobody  # else requests looks into ~/.netrc
        self._session.max_redirects = 0  # what comes from elsewhere is not from this archive
        self._certificates = certificates
        host = urlsplit(url).hostname or ""
        self._proxies = {"no_proxy": host} if is_this_machine(host) else {}

    def search(
        self,
        level: str,
        match: Mapping[str, str],
        fields: Sequence[str] = (),
        page: int | None = None,
        study: str | None = None,
        series: str | None = None,
    ) -> Iterator[Item]:
        """Ask what there is (QIDO-RS), page by page, until nothing new comes.

        Args:
            level: 'series' or 'instances'.
            match: elements that must match, by keyword.
            fields: further elements to tell, by keyword.
            page: how many to ask for at once; None: all that the archive tells at once.
            study, series: UIDs of where to look; None: everywhere.
        """
        identity = {"series": SERIES_UID, "instances": SOP_UID}[level]
        path = self._address(study, series if level == "instances" else None, leaf=level)
        query = [*match.items(), *(("includefield", field) for field in fields)]
        known: set[str] = set()
        came = -1
        while came < len(known):
            came = len(known)
            part = [("offset", came)] * bool(came) + [("limit", page)] * (page is not None)
            for item in self._items("search", path, [*query, *part], or_none=study is not None):
                uid = text_of(item, identity)
                if uid not in known:
                    known.add(uid)
                    yield item

    def headers(self, study: str, series: str, instance: str | None = None) -> list[Item]:
        """Headers of a series or of one of its objects (WADO-RS), without pixels."""
        return self._items("headers", self._address(study, series, instance, leaf="metadata"))

    def fetch(self, study: str, series: str, instance: str, path: str) -> None:
        """Get one object as the archive has it (WADO-RS), in pieces, into a file."""
        url = self._address(study, series, instance)
        accept = f'multipart/related; type="{DICOM}"; transfer-syntax=*'

        def get() -> None:
            # compressed for the way, objects would take longer, and pixels of JPEG would not be smaller
            headers = {"Accept": accept, "Accept-Encoding": "identity"}
            with self._answer("GET", url, headers=headers, stream=True) as response, open(path, "wb") as file:
                for piece in object_in(response.headers.get("Content-Type", ""), response.iter_content(_CHUNK)):
                    file.write(piece)

        self._insist(f"object {instance}", get)

    def store(self, path: str, before: Callable[[], Item | None]) -> Item:
        """Send one file (STOW-RS).

        Args:
            path: of the file.
            before: asked before a further attempt, for a reply may be lost on its way: whether the archive has the
                object by now; then what it returns is returned.

        Returns:
            The reply, {} where it says nothing.
        """
        made = 0

        def post() -> Item:
            nonlocal made
            made += 1
            if made > 1 and (known := before()) is not None:
                return known
            with contextlib.closing(ObjectMessage(path)) as message:
                headers = {"Content-Type": message.content_type, "Accept": "application/dicom+json"}
                return _reply(self._answer("POST", f"{self.url}/studies", data=message, headers=headers))

        return self._insist(f"to store {os.path.basename(path)}", post)

    def _address(
        self, study: str | None = None, series: str | None = None, instance: str | None = None, leaf: str = ""
    ) -> str:
        """Where something lies (PS3.18 8.6)."""
        parts = [self.url]
        for level, uid in (("studies", study), ("series", series), ("instances", instance)):
            if uid is not None:
                if not uid.strip("."):
                    raise ArchiveError(f"{self.url}: {uid!r} is no UID")
                parts += [level, quote(uid, safe="")]
        return "/".join([*parts, leaf] if leaf else parts)

    def _items(self, what: str, url: str, query: Sequence[tuple[str, Any]] = (), or_none: bool = False) -> list[Item]:
        """The list of headers that an address answers with; with ``or_none`` an empty one where there is no such page.

        Some servers have none for a study or series that they do not know.
        """
        if query:
            url += "?" + urlencode(query, safe="*", quote_via=quote)

        def get() -> Any:
            response = self._answer("GET", url, or_none, headers={"Accept": "application/dicom+json"})
            if response.status_code == HTTPStatus.NOT_FOUND:
                return []
            return response.json() if response.content else []

        items = self._insist(what, get)
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise ArchiveError(f"{self.url}, {what}: {_NO_JSON}")
        return items

    def _answer(self, method: str, url: str, or_none: bool = False, **how: Any) -> requests.Response:
        """The answer to one request, of a state that is none of a fault, or with a word on what was not stored."""
        # by requests, files of authorities that the environment names would be preferred to those of the session
        trusted = True if self._certificates is None else self._certificates
        response = self._session.request(
            method, url, timeout=self.timeout, verify=trusted, proxies=self._proxies, **how
        )
        absent = or_none and response.status_code == HTTPStatus.NOT_FOUND
        if not response.ok and not absent and not (method == "POST" and _reply(response).get(FAILED)):
            response.close()
            response.raise_for_status()
        return response

    def _insist(self, what: str, do: Callable[[], Result]) -> Result:
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
            try:
                with _faults(self, what):
                    return do()
            except _Passing as error:
                fault = error
        raise ArchiveUnavailable(f"{fault} ({self.attempts} attempts)") from None


def signature(auth: tuple[str, str] | str | AuthBase | None) -> AuthBase | None:
    """How requests are signed: by user and password, by a token, or as an object of requests does it."""
    if auth is None or isinstance(auth, AuthBase):
        return auth
    if isinstance(auth, str):
        if not re.fullmatch(r"[\w.~+/-]+=*", auth, re.ASCII):  # RFC 6750, 2.1
            raise ValueError("auth is no token: letters, digits and -._~+/ alone, without 'Bearer' before it")
        return Token(auth)
    if isinstance(auth, tuple) and len(auth) == 2 and all(isinstance(part, str) for part in auth):
        return HTTPBasicAuth(*(part.encode() for part in auth))
    raise TypeError(  # without what it is: it may be a password
        f"auth must be (user, password), a token or an object of requests.auth, got {type(auth).__name__}"
    )


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine, so that nothing travels, and no proxy is asked."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def origin_of(url: str) -> str:
    """Scheme, host and port, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _reply(response: requests.Response) -> Item:
    try:
        reply = response.json() if response.content else {}
    except requests.exceptions.JSONDecodeError:
        return {}
    reply = reply[0] if isinstance(reply, list) and len(reply) == 1 else reply
    return reply if isinstance(reply, Mapping) else {}


@contextlib.contextmanager
def _faults(connection: Connection, what: str) -> Iterator[None]:
    """Exceptions of requests as ours. Theirs quote addresses, queries and headers, which stay out of the messages."""
    where = f"{connection.url}, {what}"
    try:
        yield
    except requests.exceptions.SSLError:
        raise ArchiveError(
            f"{where}: the certificate of the server is not trusted. Give the file of the authority that signed it as "
            "certificates="
        ) from None
    except requests.exceptions.HTTPError as error:
        raise _of_state(where, 0 if error.response is None else error.response.status_code) from None
    except requests.exceptions.TooManyRedirects:
        raise ArchiveError(f"{where}: the server sends us to another address; give that as url") from None
    except requests.exceptions.JSONDecodeError:
        raise ArchiveError(f"{where}: {_NO_JSON}") from None
    except OtherContent as error:
        raise ArchiveError(f"{where}: the server sent {error}") from None
    except requests.exceptions.Timeout:
        raise _Passing(f"{where}: no answer within {connection.timeout:g} s") from None
    except (CutMessage, requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        raise _Passing(f"{where}: the transfer was cut") from None
    except requests.exceptions.ConnectionError:
        raise _Passing(f"{where}: no connection to {origin_of(connection.url)}") from None
    except requests.exceptions.RequestException as error:
        raise ArchiveError(f"{where}: {type(error).__name__}") from None


def _of_state(where: str, state: int) -> ArchiveError | _Passing:
    with contextlib.suppress(ValueError):
        where = f"{where}: {state} {HTTPStatus(state).phrase}"
    if state in _LATER:
        return _Passing(where)
    if state in (401, 403):
        return ArchiveError(f"{where}: the server refuses this user; see auth=")
    return ArchiveError(where)
