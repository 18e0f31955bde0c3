"""One HTML file that shows cases in any browser: no server, no network, no kernel."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faimed3d.browser.case import Case
from faimed3d.browser.engine import packed, packed_engine, style_source, viewer_source
from faimed3d.browser.files import pack, surface_bytes

# the browser itself then refuses whatever would leave the file
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; worker-src blob:"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A case of a page.

    Args:
        case: what is shown, as large as it shall be.
        state: how at first, as the viewer's state in JavaScript has it.
        head: HTML of its entry in the list of cases.
    """

    case: Case
    state: Mapping[str, Any]
    head: str = ""


def page(entries: Sequence[Entry], title: str) -> str:
    """The text of an HTML file with all that it needs: data, controls, NiiVue.

    Args:
        entries: the cases; where there are several, or one with a head, a list stands at the left.
        title: of the page.
    """
    blobs: list[str] = []

    def blob(data: bytes) -> str:
        name = f"f3d-{len(blobs)}"
        blobs.append(_script(name, base64.b64encode(packed(data)).decode()))
        return name

    cases = []
    for entry in entries:
        described, files = pack(entry.case)
        for labels, shown in zip(described["labels"], entry.case.labels, strict=True):
            labels["surfaces"] = [blob(surface) for surface in surface_bytes(shown, entry.case.geometry)]
        cases.append({"described": described, "files": [blob(file) for file in files], "state": dict(entry.state)})
    heads = "".join(f'<div data-case="{k}">{entry.head}</div>' for k, entry in enumerate(entries))
    listed = f'<div class="f3d-list" id="f3d-list">{heads}</div>' if any(entry.head for entry in entries) else ""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{html.escape(title)}</title>",
            f"<style>body {{ margin: 0; background: #16181b; }}\n{style_source()}</style></head>",
            f'<body><div class="f3d-page">{listed}<div class="f3d-main" id="f3d-main"></div></div>',
            _script("f3d-cases", json.dumps(cases).replace("<", "\\u003c"), "application/json"),
            *blobs,
            _script("f3d-engine", base64.b64encode(packed_engine()).decode()),
            f'<script type="module">\n{viewer_source()}\nopenPage();\n</script>',
            "</body></html>\n",
        ]
    )


def _script(name: str, text: str, kind: str = "application/octet-stream") -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>'
