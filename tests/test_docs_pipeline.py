"""The page on the pipeline: each of its rows is held by a test that is there."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
HEAD = ["step", "what is checked", "what `strict=False` or another argument does", "way out", "test"]
TABLES = [re.split(r"\s+\|\s+", line.strip("| \n")) for line in PAGE.splitlines() if line.startswith("| ")]
ROWS = [cells for cells in TABLES if cells != HEAD]


@cache
def ids_in(file):
    """The ids of the tests in a file, written as ``function`` or ``Class::function``."""
    found = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_the_page_has_rows_from_the_table_of_cases_to_the_saved_mask():
    assert len(ROWS) > 30
    assert TABLES.count(HEAD) == len(re.findall(r"^## ", PAGE, re.MULTILINE))


def test_each_row_says_all_and_is_held_by_a_test():
    for row in ROWS:
        assert len(row) == len(HEAD), row[0]
        assert all(row), row[0]
        file, _, name = row[-1].strip("`").partition("::")
        assert name.rpartition("::")[2].startswith("test_"), row[0]
        assert name in ids_in(file), row[0]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists()
