"""Codes of what a class is: of SNOMED CT by the name of the class, in the lists that DICOM gives for segments."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from faimed3d.dicom.header import read_dataset
from faimed3d.dicom.writing.elements import check_text

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

# PS3.16: the code lists of each category of CID 7150, Segmentation Property Category; the first with a name counts
_LISTS = {
    "anatomical structure": (7192, 4, 4031),  # of segments; Anatomic Region; Common Anatomic Region
    "tissue": (7191,),
    "morphologically abnormal structure": (7194,),
    "body substance": (7197,),
    "substance": (7198,),
    "physical object": (7193,),
    "function": (7195,),
    "spatial and relational concept": (7196,),
}
NO_CONCEPT = ("85756007", "SCT", "Tissue")
"""Code of a segment that is not known to be anything: the least that may be said, in CID 7150 and CID 7151."""
_BODY_STRUCTURE = ("123037004", "SCT", "Body structure")  # what dcmqi and 3D Slicer write for anatomical structures
_BACKGROUND = 0  # number of a segment that label maps may describe
_LATERALITIES = {"left": "Left", "right": "Right", "both": "Bilateral"}  # CID 244, by keyword

# What else a name of these lists is called: other spellings, and names of common training sets (TotalSegmentator)
_SYNONYMS = {
    "brainstem": "brain stem",
    "csf": "cerebrospinal fluid",
    "gall bladder": "gallbladder",
    "grey matter": "gray matter",
    "haemorrhage": "hemorrhage",
    "heart atrium left": "left atrium",
    "heart atrium right": "right atrium",
    "heart ventricle left": "left ventricle",
    "heart ventricle right": "right ventricle",
    "large bowel": "large intestine",
    "lung lower lobe": "lower lobe of lung",
    "lung middle lobe right": "middle lobe of right lung",
    "lung upper lobe": "upper lobe of lung",
    "oedema": "edema",
    "oesophagus": "esophagus",
    "parotid": "parotid gland",
    "pituitary gland": "pituitary",
    "small bowel": "small intestine",
    "thyroid gland": "thyroid",
    "tumor": "neoplasm",
    "tumour": "neoplasm",
    "urinary bladder": "bladder",
}
# What these say of a class depends on what is around it: a ventricle may be of the heart or of the brain
_AMBIGUOUS = ("media", "normal", "phantom", "suture", "ventricle", "wall")
# Of these there is one on each side, so a left one says which; of others, such as the liver, a left one is a part
_PAIRED = (
    *("adrenal gland", "amygdala", "breast", "caudate nucleus", "cerebral hemisphere", "clavicle", "ear", "eye"),
    *("common carotid artery", "common iliac artery", "eyeball", "femur", "fibula", "foot", "frontal lobe", "hand"),
    *("globus pallidus", "hip", "hippocampus", "humerus", "iliac artery", "iliac vein", "internal carotid artery"),
    *("kidney", "knee", "lateral ventricle", "lower lobe of lung", "lung", "maxilla", "nucleus accumbens", "ovary"),
    *("occipital lobe", "optic tract", "parietal lobe", "parotid gland", "patella", "putamen", "rib", "scapula"),
    *("seminal vesicle", "shoulder", "subclavian artery", "submandibular gland", "temporal lobe", "testis", "thalamus"),
    *("upper lobe of lung", "ureter"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Concept:
    """What a class is, as a code.

    Attributes:
        value: (0008,0100), such as '10200004'.
        scheme: (0008,0102), such as 'SCT', SNOMED CT.
        meaning: (0008,0104), such as 'Liver'.
        laterality: 'left', 'right', 'both', or None.
        category: of CID 7150, such as 'anatomical structure'.

    >>> Concept("64033007", "SCT", "Kidney", laterality="left").category
    'anatomical structure'
    """

    value: str
    scheme: str
    meaning: str
    laterality: str | None = None
    category: str = "anatomical structure"

    def __post_init__(self) -> None:
        for name, text in (("value", self.value), ("scheme", self.scheme), ("meaning", self.meaning)):
            check_text(f"the {name} of a concept", text, 1)
        if max(len(self.value), len(self.scheme)) > 16:
            raise ValueError(f"value and scheme of a concept have at most 16 characters, got {self!r}")
        if self.laterality not in (None, *_LATERALITIES):
            raise ValueError(f"laterality must be 'left', 'right', 'both' or None, got {self.laterality!r}")
        if self.category not in _LISTS:
            raise ValueError(f"category must be one of {', '.join(map(repr, _LISTS))}, got {self.category!r}")

    @classmethod
    def of(cls, name: str) -> Concept | None:
        """Find the code of a class by its name.

        Nothing is guessed: the name is that of a code in the lists that DICOM gives for segments (PS3.16 CID 7191 to
        7198, CID 4 and 4031), or a stated synonym, but for capitals, spaces and punctuation. 'left', 'right' or 'both'
        may stand before or behind the name of a structure with two sides; ``_L`` and ``_R`` behind it, as of AAPM
        TG-263. 'Vertebrae L5' is the L5 vertebra.

        Args:
            name: of the class.

        Returns:
            The concept; None where there is no such name, or two codes have it.

        >>> Concept.of("liver")
        Concept(value='10200004', scheme='SCT', meaning='Liver', laterality=None, category='anatomical structure')
        >>> Concept.of("kidney_left").laterality, Concept.of("Left ventricle").laterality, Concept.of("left liver")
        ('left', None, None)
        """
        known = _names()
        if found := known.get(_plain(name)):
            return found
        words = re.findall(r"[^\W_]+", name)
        if len(words) < 2:
            return None
        if words[0].casefold() in ("vertebra", "vertebrae"):
            return known.get(_plain("".join(words[1:]) + " vertebra"))
        tail = {"L": "left", "R": "right"}.get(words[-1], words[-1].casefold())
        for side, rest in ((words[0].casefold(), words[1:]), (tail, words[:-1])):
            if side not in _LATERALITIES:
                continue
            found = known.get(_plain(" ".join(rest)))
            if found and _plain(found.meaning) in _paired():
                return Concept(found.value, found.scheme, found.meaning, side, found.category)
        return None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> dict[str, Concept]:
        """The codes of the classes of a DICOM Segmentation or an RT Structure Set, as they are stored, by name.

        ``mask.save(..., concepts=Concept.read(file))`` writes them again.

        Args:
            path: the file.

        Returns:
            Concepts by the names of segments or ROIs; without those that have no code, or a code that says no more than
            that they are tissue.

        Raises:
            FileNotFoundError: no such file. ReadError: the file is damaged.

        >>> import tempfile
        >>> import numpy as np
        >>> from faimed3d.dicom import write_seg, write_series
        >>> from faimed3d.geometry import Geometry
        >>> geometry = Geometry((2, 3, 4), spacing=(1, 2, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     series = write_series(f"{folder}/scan", np.zeros((2, 3, 4)), geometry)
        ...     mask = np.arange(24).reshape(2, 3, 4) // 20
        ...     numbers = write_seg(f"{folder}/mask.dcm", mask, geometry, f"{folder}/scan", labels={1: "liver"})
        ...     Concept.read(f"{folder}/mask.dcm")["liver"].value
        '10200004'
        """
        path = os.fsdecode(path)
        dataset = read_dataset(path, ["SegmentSequence", "StructureSetROISequence", "RTROIObservationsSequence"])
        classes = [
            (item.get("SegmentLabel"), item.get("SegmentedPropertyCategoryCodeSequence"), kind)
            for item in dataset.get("SegmentSequence") or ()
            if (kind := item.get("SegmentedPropertyTypeCodeSequence")) and item.get("SegmentNumber") != _BACKGROUND
        ]
        rois = dataset.get("StructureSetROISequence") or ()
        names = {str(item.get("ROINumber")): item.get("ROIName") for item in rois}
        classes += [
            (names.get(str(item.get("ReferencedROINumber"))), item.get("SegmentedPropertyCategoryCodeSequence"), kind)
            for item in dataset.get("RTROIObservationsSequence") or ()
            if (kind := item.get("RTROIIdentificationCodeSequence"))
        ]
        found: dict[str, Concept | None] = {}
        for text, category, kind in classes:
            name = str(text or "").strip()
            concept = _read(category, kind)
            if concept is not None and (concept.value, concept.scheme) == NO_CONCEPT[:2]:
                concept = None
            found[name] = concept if found.get(name, concept) == concept else None  # two of one name say two things
        return {name: concept for name, concept in found.items() if name and concept is not None}


GivenConcepts = Mapping[str, Concept | tuple[str, str, str] | None]


def concepts_of(names: Sequence[str], given: GivenConcepts | None) -> list[Concept | None]:
    """The concept of each class: the given one, else by :meth:`Concept.of`.

    Args:
        names: of the classes.
        given: by name; a :class:`Concept`, a tuple (value, scheme, meaning), or None for no code.

    Raises:
        TypeError: something else. ValueError: a name that no class has; a code that its elements cannot hold.
    """
    given = dict(given or {})
    if unknown := sorted(set(given) - set(names)):
        raise ValueError(
            f"concepts names {', '.join(map(repr, unknown))}, the classes are {', '.join(map(repr, names))}"
        )
    for name, concept in given.items():
        if isinstance(concept, tuple) and len(concept) == 3:
            given[name] = Concept(*concept)
        elif not isinstance(concept, Concept | None):
            raise TypeError(
                f"a concept is a faimed3d.dicom.Concept, or a tuple (value, scheme, meaning); {name!r} has {concept!r}"
            )
    return [given[name] if name in given else Concept.of(name) for name in names]


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence (PS3.3 table 8.8-1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def type_item(concept: Concept) -> Dataset:
    """An item that says what a segment or an ROI is, with its laterality as (0062,0011) in it."""
    item = code_item(concept.value, concept.scheme, concept.meaning)
    if concept.laterality:
        item.SegmentedPropertyTypeModifierCodeSequence = [code_item(*laterality_code(concept))]
    return item


def category_code(concept: Concept) -> tuple[str, str, str]:
    """(value, scheme, meaning) of its category, in CID 7150."""
    return _triple(_categories()[concept.category])


def laterality_code(concept: Concept) -> tuple[str, str, str]:
    """(value, scheme, meaning) of its laterality, in CID 244; it has one."""
    assert concept.laterality is not None
    return _triple(_list(244)[_LATERALITIES[concept.laterality]])


def _read(category: Sequence[Dataset] | None, kind: Sequence[Dataset]) -> Concept | None:
    """The concept that (0062,0003), and (0062,000F) or (3006,0086), say; None where they say none that is known."""
    code, stated = _code(kind), _code(category)
    modifiers = [_code([item]) for item in kind[0].get("SegmentedPropertyTypeModifierCodeSequence") or ()]
    # pydicom knows the SCT code of an SRT code when it compares both
    named = [("anatomical structure", _coded(*_BODY_STRUCTURE)), *_categories().items()]
    known = [name for name, one in named if stated is None or one == stated]
    if code is None or not known:
        return None
    sides = [name for name, keyword in _LATERALITIES.items() if _list(244)[keyword] in modifiers]
    try:
        return Concept(code.value, code.scheme_designator, code.meaning, sides[0] if sides else None, known[0])
    except (TypeError, ValueError):
        return None  # a text that the standard does not allow


def _code(items: Sequence[Dataset] | None) -> Code | None:
    if not items:
        return None
    texts = [str(items[0].get(word) or "").strip() for word in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]
    return _coded(*texts) if all(texts) else None


def _coded(value: str, scheme: str, meaning: str) -> Code:
    from pydicom.sr.coding import Code  # see _list

    return Code(value, scheme, meaning)


def _triple(code: Code) -> tuple[str, str, str]:
    return code.value, code.scheme_designator, code.meaning


def _plain(name: str) -> str:
    return "".join(re.findall(r"[^\W_]+", name)).casefold()


@cache
def _list(number: int) -> dict[str, Code]:
    """Codes by keyword of a context group of PS3.16."""
    from pydicom.sr.codedict import codes  # half a second, which none pays who reads images

    return dict(getattr(codes, f"cid{number}").concepts)


@cache
def _categories() -> dict[str, Code]:
    return {code.meaning.casefold(): code for code in _list(7150).values()}


@cache
def _paired() -> frozenset[str]:
    return frozenset(map(_plain, _PAIRED))


@cache
def _names() -> dict[str, Concept | None]:
    """Concept by plain name; None where two codes have it."""
    found: dict[str, Concept | None] = {}
    for category, lists in _LISTS.items():
        for number in lists:
            for code in _list(number).values():
                if code.scheme_designator != "SCT":
                    continue
                name = _plain(code.meaning)
                known = found.setdefault(name, Concept(*_triple(code), None, category))
                if known is not None and known.value != code.value:
                    found[name] = None
    found.update({_plain(synonym): found[_plain(name)] for synonym, name in _SYNONYMS.items()})
    return {name: concept for name, concept in found.items() if name not in _AMBIGUOUS}
