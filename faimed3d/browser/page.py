"""One HTML file that shows cases in any browser: no server, no network, no kernel."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Iterator, Mapping
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
        case: what is shown, as large as it shall be; None where there is nothing to show.
        state: how at first, as the viewer's state in JavaScript has it.
        head: HTML of its entry in the list of cases.
        rank: the smallest comes first; equal ones in the order in which they are given.
    """

    case: Case | None
    state: Mapping[str, Any]
    head: str = ""
    rank: float = 0.0


def page(entries: Iterable[Entry], title: str) -> Iterator[str]:
    """The text of an HTML file with all that it needs, data, controls and NiiVue, piece by piece.

    Args:
        entries: the cases, of which one at a time is in memory; where one has a head, a list stands at the left.
        title: of the page.
    """
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<title>{html.escape(title)}</title>\n'
        f"<style>body {{ margin: 0; background: #16181b; }}\n{style_source()}</style></head>\n<body>\n"
    )
    count = 0
    listed: list[tuple[float, str, dict[str, Any] | None]] = []
    for entry in entries:
        shown = None
        if entry.case is not None:
            described, files = pack(entry.case)
            names: list[str] = []
            shown = {"described": described, "files": names, "state": dict(entry.state)}
            places = [names] * len(files)
            for labels, one in zip(described["labels"], entry.case.labels, strict=True):
                surfaces = surface_bytes(one, entry.case.geometry)
                files += surfaces
                places += [labels["surfaces"]] * len(surfaces)
            for data, place in zip(files, places, strict=True):
                place.append(f"f3d-{count}")
                yield _script(f"f3d-{count}", base64.b64encode(packed(data)).decode())
                count += 1
        listed.append((entry.rank, entry.head, shown))
    listed.sort(key=lambda one: one[0])
    shown_ones = [shown for _, _, shown in listed if shown is not None]
    yield _script("f3d-cases", json.dumps(shown_ones).replace("<", "\\u003c"), "application/json")
    yield f'<div class="f3d-page">{_list(listed)}<div class="f3d-main" id="f3d-main"></div></div>\n'
    yield _script("f3d-engine", base64.b64encode(packed_engine()).decode())
    yield f'<script type="module">\n{viewer_source()}\nopenPage();\n</script>\n</body></html>\n'


def _list(listed: list[tuple[float, str, dict[str, Any] | None]]) -> str:
    if not any(head for _, head, _ in listed):
        return ""
    heads, number = [], 0
    for _, head, shown in listed:
        heads.append(f"<div>{head}</div>" if shown is None else f'<div data-case="{number}">{head}</div>')
        number += shown is not None
    return f'<div class="f3d-list" id="f3d-list">{"".join(heads)}</div>'


def _script(name: str, text: str, kind: str = "application/octet-stream") -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>\n'
