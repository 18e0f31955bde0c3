"""The documentation site, made by ``make docs``.

Its source folder is the repository, so that the pages, notebooks and tables lie where they are and link to each other
as they do there.
"""

import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_sphinx")]

import api_pages  # noqa: E402 - these lie in the folder that was just named
import name_links  # noqa: E402

settings = ConfigParser()
settings.read(ROOT / "settings.ini", encoding="utf-8")
about = settings["DEFAULT"]

project, author, release = about["lib_name"], about["author"], about["version"]
project_copyright = author
html_title = f"{project} {release}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = ["docs/**", "nbs/*.ipynb", "benchmarks/README.md", "*.md"]
exclude_patterns = [".*", "**/.*", "build", "dist", "demo_out", "*.egg-info", "faimed3d", "tests", "docs/_*"]
exclude_patterns += ["README.md"]  # the start page says the same
html_theme = "furo"
html_extra_path = ["_start"]  # index.html at the top leads to the start page
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False

# Notebooks are committed executed, and the tests run each from a clean kernel: here they are only drawn.
nb_execution_mode = "off"
myst_heading_anchors = 3

default_role = "literal"
add_module_names = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False
napoleon_use_rtype = False  # "(array, geometry): ..." names no types that could be linked
python_use_unqualified_type_names = True

nitpicky = True
# other libraries have sites of their own, and building needs no network
nitpick_ignore_regex = [("py:.*", r"(?!faimed3d).*")]


def setup(app):
    """Write the pages of the API reference, and link names to them."""
    api_pages.write(ROOT / "docs" / "api")
    app.connect("missing-reference", name_links.resolve)
    app.connect("autodoc-process-signature", name_links.without_self)
    app.connect("doctree-read", name_links.link_names)
