"""Package metadata comes from settings.ini, which lies beside this file."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
settings = ConfigParser()
settings.read(here / "settings.ini", encoding="utf-8")
about = settings["DEFAULT"]


def lines(key):
    return about[key].split("\n")[1:]


setup(
    name=about["lib_name"],
    version=about["version"],
    description=about["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=about["author"],
    license=about["license"],
    keywords=about["keywords"].split(),
    packages=find_packages(include=["faimed3d", "faimed3d.*"]),
    package_data={"faimed3d": ["py.typed"], "faimed3d.browser": ["static/*"]},
    python_requires=f">={about['min_python']}",
    install_requires=lines("requirements"),
    extras_require={
        key.removesuffix("_requirements").replace("_", "-"): lines(key)
        for key in about
        if key.endswith("_requirements")
    },
    entry_points={"console_scripts": lines("console_scripts")},
    classifiers=lines("classifiers"),
)
