"""ARCHITECTURE.md names what is there, and the imports run as it says."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "faimed3d"
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MOST_LINES = 500

# modules that do not stand in the order where their room does, and what they stand just below
BELOW = {
    "legacy.tensors": "volume",
    "legacy.transforms": "augment",
    "legacy.loaders": "data",
    "legacy.moved_modules": "errors",
    "legacy.arguments": "errors",
    "legacy.percentiles": "volume",
    "legacy.plane_warps": "volume",
    "legacy.correction": "augment",
    "legacy.losses": "data",
    "legacy.standard_scale": "data",
    "dicom.segmentation.planes": "dicom.image_planes",
    "dicom.segmentation.segment_decoding": "dicom.image_planes",
}


def section(title):
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def spans(text):
    return re.findall(r"`([^`]+)`", text)


def rows(title):
    """Cells of the table of a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def module_name(path):
    """``dicom.header.tags`` for faimed3d/dicom/header/tags.py, ``dicom`` for its façade."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_name(span):
    return span.removesuffix(".py").strip("/").replace("/", ".")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"} - {""}
RANKS = {room_name(span): rank for rank, row in enumerate(rows("Rooms")) for span in spans(row[0])}
NAMES = sorted(name for name in MODULES if name)


@cache
def tree(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@cache
def imports(name):
    """Modules of the package that a module imports, at its top or within a function."""
    found = set()
    typing_only = {
        inner
        for node in tree(name).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree(name)):
        targets = []
        if node in typing_only:  # not run
            continue
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        for target in targets:
            root, _, rest = target.partition(".")
            while root == "faimed3d" and rest and rest not in MODULES:  # a name within a module
                rest = rest.rpartition(".")[0]
            if root == "faimed3d" and rest:
                found.add(rest)
    return found - {name}


def rank(name):
    """Place in the order of imports; of the table's rooms the innermost one counts."""
    if name in BELOW:
        return RANKS[BELOW[name]] - 0.5
    return RANKS[room(name)]


def room(name):
    """The room of the table that a module belongs to."""
    while name not in RANKS and name:
        name = name.rpartition(".")[0]
    return name


def offers_names(name):
    return any(
        isinstance(target, ast.Name) and target.id == "__all__"
        for node in tree(name).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    )


def test_the_page_fits_on_one():
    assert len(PAGE.splitlines()) <= 140


def test_every_room_and_top_level_module_is_named():
    top = {name for name in NAMES if "." not in name} | {name for name in NAMES if re.fullmatch(r"dicom\.\w+", name)}
    assert top - set(RANKS) == {"legacy"}
    assert "`legacy/`" in section("Rooms")


def test_every_path_on_the_page_exists():
    named = {span for span in spans(PAGE) if re.fullmatch(r"[\w./]+(\.py|\.md|\.ini|/)", span)}
    assert len(named) > 100
    homes = (ROOT, PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir()))
    assert [span for span in sorted(named) if not any((home / span).exists() for home in homes)] == []


def test_questions_lead_to_the_definition():
    for question, places in rows("Where is ...?"):
        path = None
        for span in spans(places):
            if span.endswith(".py"):
                path = span
                assert (PACKAGE / path).exists(), question
            else:
                assert re.search(rf"^\s*(def |class |){span}\b", (PACKAGE / path).read_text(), re.MULTILINE), question


def test_imports_run_one_way():
    assert {name.split(".")[0] for name in NAMES if room(name) == ""} == {"legacy"}
    up = {
        name: [target for target in imports(name) if room(target) != room(name) and rank(target) >= rank(name)]
        for name in NAMES
    }
    assert {name: targets for name, targets in up.items() if targets} == {}


def test_modules_that_stand_lower_than_their_room_are_there_and_on_the_page():
    assert set(BELOW) <= set(NAMES)
    text = section("Rooms").split("|\n\n")[1]
    assert [name for name in BELOW if f"`{name.rpartition('.')[2]}.py`" not in text] == []


def test_no_import_cycle():
    done, path = set(), []

    def visit(name):
        assert name not in path, f"cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for target in imports(name):
            visit(target)
            # importing a module runs the façades of the rooms it is in, unless the importer is inside of them
            for parent in [target.rsplit(".", n)[0] for n in range(1, target.count(".") + 1)]:
                if name != parent and not name.startswith(f"{parent}."):
                    visit(parent)
        path.pop()
        done.add(name)

    for name in NAMES:
        visit(name)


def test_modules_are_short():
    lines = {name: len(MODULES[name].read_text(encoding="utf-8").splitlines()) for name in NAMES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_imports_are_absolute():
    nodes = {name: [node for node in ast.walk(tree(name)) if isinstance(node, ast.ImportFrom)] for name in NAMES}
    assert [name for name, froms in nodes.items() if any(node.level for node in froms)] == []


def test_facades_hold_no_code():
    code = {
        name: [node.name for node in tree(name).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        for name in PACKAGES
    }
    hooks = ["__getattr__"]  # PEP 562: names that are loaded when they are used
    assert {name: names for name, names in code.items() if names not in ([], hooks)} == {}
