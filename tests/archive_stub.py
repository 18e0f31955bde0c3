"""A small DICOMweb server in this process that does as badly as a test asks for."""

import json
import re
import ssl
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qsl, urlsplit

from pydicom import dcmread

BOUNDARY = "a-boundary"
PLACE = re.compile(
    r"/dicom-web(?:/studies/(?P<study>[^/]+))?(?:/series/(?P<series>[^/]+))?(?:/instances/(?P<instance>[^/]+))?"
    r"/?(?P<leaf>series|instances|metadata|studies)?"
)


class Stub:
    """Objects by their UID, and what goes wrong.

    Attributes:
        faults: names of faults of the requests to come, one each; "" for none. See ``Handler.answer``.
        always: the fault of all requests after them.
        touched: the kind of request that faults are of: 'object', 'search', 'headers', 'store'.
        quirks: what the server does otherwise than others, see ``Handler``.
        asked: how often each thing was asked for, (kind, UID or query).
        stored: how often each object was stored, by its UID.
    """

    def __init__(self, certificate=None):
        self.objects, self.asked, self.stored = {}, Counter(), Counter()
        self.faults, self.always, self.touched, self.quirks = [], "", "object", set()
        self.refused = {}  # UID -> reason
        self.tokens = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"stub": self}))
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://localhost:{self.server.server_address[1]}/dicom-web"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.released = threading.Event()
        self.thread.start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def add(self, content):
        """Take the bytes of a file."""
        header = dcmread(BytesIO(content), force=True)
        self.objects[str(header.SOPInstanceUID)] = (header, content)
        return str(header.SOPInstanceUID)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the second half of each answer waits 40 ms

    def log_message(self, *_):
        pass

    def do_GET(self):
        place = PLACE.fullmatch(urlsplit(self.path).path).groupdict()
        query = parse_qsl(urlsplit(self.path).query)
        self.stub.tokens.append(self.headers.get("Authorization"))
        found = [
            (header, content)
            for header, content in self.stub.objects.values()
            if place["study"] in (None, header.StudyInstanceUID)
            and place["series"] in (None, header.SeriesInstanceUID)
            and place["instance"] in (None, header.SOPInstanceUID)
        ]
        if place["leaf"] is None:
            return self.answer("object", place["instance"], *self.one(found))
        if place["leaf"] == "metadata":
            return self.answer("headers", place["series"], *self.listed([h for h, _ in found]))
        headers = [header for header, _ in found]
        if place["leaf"] == "series":
            counts = Counter(header.SeriesInstanceUID for header in headers)
            headers = list({header.SeriesInstanceUID: header for header in headers}.values())
            for header in headers:
                told = None if "tells no counts" in self.stub.quirks else str(counts[header.SeriesInstanceUID])
                header.NumberOfSeriesRelatedInstances = told
        if "ignores filters" not in self.stub.quirks:
            wanted = [(name, value) for name, value in query if name not in ("includefield", "offset", "limit")]
            headers = [h for h in headers if all(fits(h.get(name, ""), value) for name, value in wanted)]
        query = dict(query)
        if "ignores offset" not in self.stub.quirks:
            headers = headers[int(query.get("offset", 0)) :]
        headers = headers[: int(query.get("limit", 10**6))]
        if "pages of two" in self.stub.quirks:
            headers = headers[:2]
        return self.answer("search", json.dumps(query), *self.listed(headers))

    def listed(self, headers):
        """An answer of DICOM JSON."""
        if not headers and "says nothing for nothing" in self.stub.quirks:
            return 204, "", b""
        if not headers and "has no page for nothing" in self.stub.quirks and "/studies/" in self.path:
            return 404, "text/plain", b"no such page"
        items = []
        for header in headers:
            item = header.to_json_dict(suppress_invalid_tags=True)
            item.pop("7FE00010", None)
            items.append(item)
        return 200, "application/dicom+json", json.dumps(items).encode()

    def one(self, found):
        """An answer with an object."""
        if not found:
            return 404, "text/plain", b"no such object: Doe^Jane"
        content = found[0][1]
        if "sends bare objects" in self.stub.quirks:
            return 200, "application/dicom", content
        return 200, f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"', enclosed(content)

    def answer(self, kind, what, state, content_type, body):
        stub = self.stub
        stub.asked[kind, what] += 1
        fault = (stub.faults.pop(0) if stub.faults else stub.always) if kind == stub.touched else ""
        declared = len(body)
        if fault.isdecimal():
            state, content_type, body = int(fault), "text/plain", b"Doe^Jane"
            declared = len(body)
        elif fault == "page":
            content_type, body = "text/html", b"<html>Please log in, Doe^Jane</html>"
            declared = len(body)
        elif fault == "cut":
            body = body[: len(body) // 2]
        elif fault == "cut within":  # the message is whole, by what its head says
            body = body[: len(body) // 2]
            declared = len(body)
        elif fault == "junk":
            body = enclosed(b"junk" * 300)
            declared = len(body)
        elif fault == "short":
            content = next(iter(stub.objects.values()))[1] if what not in stub.objects else stub.objects[what][1]
            body = enclosed(content[:-9])
            declared = len(body)
        elif fault == "other":
            body = enclosed(next(content for uid, (_, content) in stub.objects.items() if uid != what))
            declared = len(body)
        elif fault == "two":
            body = body.replace(f"\r\n--{BOUNDARY}--".encode(), b"") + enclosed(b"more")
            declared = len(body)
        elif fault == "elsewhere":
            state, body, declared = 302, b"", 0
        elif fault == "silence":
            stub.released.wait(20)
            return
        elif fault == "reset":
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(state)
        if fault == "elsewhere":
            self.send_header("Location", "http://localhost:1/?token=Doe")
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(declared))
        self.end_headers()
        self.wfile.write(body)
        if declared != len(body):
            self.close_connection = True

    def do_POST(self):
        stub = self.stub
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = re.search(r"boundary=(\S+)", self.headers["Content-Type"])[1].encode()
        content = body.split(b"\r\n\r\n", 1)[1].split(b"\r\n--" + boundary + b"--")[0]
        uid = str(dcmread(BytesIO(content)).SOPInstanceUID)
        reason = stub.refused.get(uid)
        fault = (stub.faults[0] if stub.faults else stub.always) if stub.touched == "store" else ""
        if reason is None and fault in ("", "reply lost"):
            stub.stored[stub.add(content)] += 1
        if fault == "reply lost":
            stub.faults[0] = "reset"
        sequence = {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}
        if reason is not None:
            sequence["Value"][0]["00081197"] = {"vr": "US", "Value": [reason]}
        reply = {"00081199" if reason is None else "00081198": sequence}
        if "says nothing of what it stores" in stub.quirks:
            reply = {}
        body = json.dumps(reply).encode() if reply else b""
        self.answer("store", uid, 200 if reason is None else 409, "application/dicom+json", body)


def enclosed(content):
    """A message with one object."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return head + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def fits(value, wanted):
    return re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), str(value)) is not None
