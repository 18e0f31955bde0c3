"""Follow every link between the pages of a built site; say which lead nowhere, and fail if there are any."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the places in it to which links may lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.places.add(found.get("id") or "")
        self.links += [link for name in ("href", "src") if (link := found.get(name))]


def dead_links(folder: Path) -> list[str]:
    """Links of the pages below a folder to files or places that are not there."""
    pages = {file.resolve(): Page(file.read_text(encoding="utf-8")) for file in folder.rglob("*.html")}
    dead = []
    source = folder.resolve() / "_modules"  # Sphinx takes a function that is a method, too, for one of the module
    for file, page in pages.items():
        if source in file.parents:
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            place = unquote(parts.fragment)
            if not target.exists() or (target in pages and place not in pages[target].places):
                dead.append(f"{file.relative_to(folder.resolve())}: {link}")
    return sorted(dead)


if __name__ == "__main__":
    found = dead_links(Path(sys.argv[1]))
    sys.exit("links that lead nowhere:\n" + "\n".join(found) if found else 0)
