"""Standardized uptake values (SUV) of PET, by body weight, from what the headers say.

The rules are those of the vendor-neutral pseudo-code of QIBA (RSNA, FDG-PET/CT profile, appendix G) over the PET Image
module of DICOM (PS3.3 C.8.9.1 and C.8.9.2): SUV = activity (Bq/ml) * weight (g) / dose (Bq) that is left when the scan
begins. No value of a header is quoted in a message.
"""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import PositronEmissionTomographyImageStorage

from faimed3d.dicom.header import name_tag, quiet, quote_value, read_dataset
from faimed3d.errors import UnsupportedImage

_KEYWORDS = (
    *("SOPClassUID", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "TimezoneOffsetFromUTC"),
    *("PatientWeight", "ActualFrameDuration", "CorrectedImage", "RadiopharmaceuticalInformationSequence"),
    *("Units", "SUVType", "DecayCorrection", "FrameReferenceTime"),
)
_GE_BLOCK, _GE_SCAN_START = (0x0009, "GEMS_PETD_01"), 0x0D
_PHILIPS_BLOCK, _PHILIPS_SUV, _PHILIPS_ACTIVITY = (0x7053, "Philips PET Private Group"), 0x00, 0x09
_CREATORS = [group << 16 | block for group in (0x0009, 0x7053) for block in range(0x10, 0x20)]
_PRIVATE = [
    group << 16 | block << 8 | element
    for group, element in ((0x0009, _GE_SCAN_START), (0x7053, _PHILIPS_SUV), (0x7053, _PHILIPS_ACTIVITY))
    for block in range(0x10, 0x20)
]
_HEAVIEST_KG = 700
_LEAST_BQ = 1e4  # below it a dose was written in MBq or mCi
_SAME_DAY = 6 * 3600  # s: of a longer half-life a scan may be days after the injection
_MOST_HALF_LIVES = 20  # nothing is left then to be measured
_AGREEMENT = 1e-3  # of the factors of the files of a volume: some seconds of decay


def suv_factor(files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> float:
    """The number by which the values of a PET volume become SUV by body weight, in g/ml.

    The values are those of ``read_dicom``: slope * stored + intercept. They may be in BQML (Bq/ml), in CNTS of a
    Philips scanner with its own factor, or in GML, which are SUV already. The activity must be corrected for
    attenuation and decay, to the start of the scan or to the injection.

    The start of the scan is the time of the series, if no slice was acquired before; else GE's own time of it, or it is
    computed back from a slice's frame reference time. An injection that has a time and no date was at that time before
    the scan, the day before where midnight lies between.

    Args:
        files: all files of one volume, as ``read_dicom`` and ``TensorDicom3D.create(...).metadata`` name them.

    Returns:
        The factor; 1 where the values are SUV already.

    Raises:
        UnsupportedImage: an element is absent, 0, or says that no SUV by body weight can be computed; the message names
            its tag and keyword. Or the files do not agree.
        ValueError: no files.

    >>> from pydicom.data import get_testdata_file
    >>> suv_factor(get_testdata_file("CT_small.dcm"))
    Traceback (most recent call last):
    faimed3d.errors.UnsupportedImage: ...: no PET image by (0008,0016) SOPClassUID, so there is no SUV
    """
    paths = [files] if isinstance(files, str | os.PathLike) else list(files)
    if not paths:
        raise ValueError("files must be at least one file of a PET volume, got none")
    with quiet():  # pydicom would quote values that break a rule
        headers = [_Header(os.fspath(path)) for path in paths]
        factors = _factors(headers)
    if max(factors) / min(factors) - 1 > _AGREEMENT:
        raise UnsupportedImage(
            f"{Path(headers[0].path).parent}: the files give factors of SUV from {min(factors):.6g} to "
            f"{max(factors):.6g}: their doses, weights or times differ, so they are not of one scan"
        )
    return statistics.median(factors)


class _Header:
    """The elements of one file that SUV needs."""

    def __init__(self, path: str) -> None:
        self.path = path
        tags = [*(tag_for_keyword(keyword) or 0 for keyword in _KEYWORDS), *_CREATORS, *_PRIVATE]
        self.dataset = read_dataset(path, tags)
        if self.dataset.get("SOPClassUID") != PositronEmissionTomographyImageStorage:
            raise UnsupportedImage(f"{path}: no PET image by {name_tag('SOPClassUID')}, so there is no SUV")

    def fault(self, keyword: str, text: str) -> UnsupportedImage:
        """The error of an element: ``text`` says what is wrong with it."""
        return UnsupportedImage(f"{self.path}: {name_tag(keyword)} {text}, so no SUV can be computed")

    def text(self, keyword: str) -> str:
        """Value of an element, several joined by a backslash; ``''`` where it is absent or empty."""
        value = self.dataset.get(keyword)
        many = hasattr(value, "__iter__") and not isinstance(value, str)
        return "\\".join(map(str, value)) if many else "" if value is None else str(value).strip()

    def needed(self, keyword: str) -> str:
        """Value of an element that must be there."""
        text = self.text(keyword)
        if not text:
            raise self.fault(keyword, "is absent or empty")
        return text

    def positive(self, keyword: str, item: Dataset | None = None) -> float:
        """A number above 0, of the top level or of an item of a sequence."""
        value = (self.dataset if item is None else item).get(keyword)
        number = _number(value)
        if number is None:
            raise self.fault(keyword, "is absent or empty" if value in (None, "") else "is no number")
        if number <= 0:
            raise self.fault(keyword, f"must be above 0, got {number:g}")
        return number

    def private(self, block: tuple[int, str], element: int) -> Any:
        """Value of a private element, wherever its creator has put its block; None where it is absent."""
        try:
            return self.dataset.private_block(*block)[element].value
        except KeyError:
            return None

    def moment(self, date: str, time: str) -> datetime:
        """Date and time of two elements."""
        found = _moment(self.needed(date) + self.needed(time).replace(":", ""))
        if found is None:
            raise self.fault(time, f"and {name_tag(date)} are no time")
        return found

    @property
    def acquired(self) -> datetime:
        """When the acquisition of the slice began."""
        return self.moment("AcquisitionDate", "AcquisitionTime")

    def tracer(self) -> Dataset:
        """The one item that describes what was injected."""
        items = self.dataset.get("RadiopharmaceuticalInformationSequence") or []
        if len(items) != 1:
            raise self.fault("RadiopharmaceuticalInformationSequence", f"must hold one item, has {len(items)}")
        return items[0]


def _factors(headers: Sequence[_Header]) -> list[float]:
    units = {header.needed("Units") for header in headers}
    first = headers[0]
    if len(units) > 1:
        raise first.fault("Units", "differs from file to file")
    (unit,) = units
    if unit == "GML":
        for header in headers:
            if header.text("SUVType") not in ("", "BW"):
                raise header.fault("SUVType", f"is {quote_value(header.text('SUVType'))}, not BW (body weight)")
        return [1.0]
    if unit not in ("BQML", "CNTS"):
        raise first.fault("Units", f"is {quote_value(unit)}, and not BQML, CNTS of a Philips scanner or GML")
    for header in headers:
        _check_corrections(header)
    scale = [1.0] * len(headers)
    if unit == "CNTS":
        direct = [_number(header.private(_PHILIPS_BLOCK, _PHILIPS_SUV)) or 0.0 for header in headers]
        if all(factor > 0 for factor in direct):
            return direct
        scale = [_number(header.private(_PHILIPS_BLOCK, _PHILIPS_ACTIVITY)) or 0.0 for header in headers]
        if not all(factor > 0 for factor in scale):
            raise first.fault("Units", "is CNTS, and neither (7053,1000) nor (7053,1009) of Philips is there")
    starts = _scan_starts(headers)
    return [
        factor * _body_weight_factor(header, start)
        for factor, header, start in zip(scale, headers, starts, strict=True)
    ]


def _check_corrections(header: _Header) -> None:
    corrected = header.needed("CorrectedImage").split("\\")
    for what in ("ATTN", "DECY"):
        if what not in corrected:
            raise header.fault("CorrectedImage", f"does not hold {what}: the activity is not corrected")
    if header.needed("DecayCorrection") not in ("START", "ADMIN"):
        raise header.fault("DecayCorrection", f"is {quote_value(header.text('DecayCorrection'))}, not START or ADMIN")


def _body_weight_factor(header: _Header, start: datetime | None) -> float:
    """Weight (g) over the dose (Bq) that is left at ``start``; None where the decay is corrected to the injection."""
    tracer = header.tracer()
    weight, dose = header.positive("PatientWeight"), header.positive("RadionuclideTotalDose", tracer)
    if weight > _HEAVIEST_KG:
        raise header.fault("PatientWeight", f"must be in kg, got {weight:g}")
    if dose < _LEAST_BQ:
        raise header.fault("RadionuclideTotalDose", f"must be in Bq, got {dose:g}")
    if start is None:
        return weight * 1000 / dose
    half_life = header.positive("RadionuclideHalfLife", tracer)
    decay = (start - _injected(header, tracer, start, half_life)).total_seconds()
    if not 0 <= decay <= _MOST_HALF_LIVES * half_life:
        raise header.fault(
            "RadiopharmaceuticalStartDateTime",
            f"is {'after' if decay < 0 else 'too long before'} the start of the scan: one of the two is wrong",
        )
    return weight * 1000 / (dose * 2 ** (-decay / half_life))


def _injected(header: _Header, tracer: Dataset, start: datetime, half_life: float) -> datetime:
    text = str(tracer.get("RadiopharmaceuticalStartDateTime") or "").strip()
    if text:
        moment = _moment(text)
        if moment is None:
            raise header.fault("RadiopharmaceuticalStartDateTime", "is no time")
        zone, here = _offset(text), _offset(header.text("TimezoneOffsetFromUTC"))
        return moment if zone is None or here is None else moment - zone + here
    time = str(tracer.get("RadiopharmaceuticalStartTime") or "").strip().replace(":", "")
    if not time:
        raise header.fault(
            "RadiopharmaceuticalStartDateTime", f"and {name_tag('RadiopharmaceuticalStartTime')} are absent or empty"
        )
    moment = _moment(f"{start:%Y%m%d}{time}")
    if moment is None:
        raise header.fault("RadiopharmaceuticalStartTime", "is no time")
    if half_life > _SAME_DAY:
        raise header.fault(
            "RadiopharmaceuticalStartDateTime",
            "is absent, and the half-life is so long that the scan may be days after the injection",
        )
    return moment if moment <= start else moment - timedelta(days=1)


def _scan_starts(headers: Sequence[_Header]) -> list[datetime | None]:
    """The time to which the decay of each file is corrected; None for that of the injection."""
    if all(header.text("DecayCorrection") == "ADMIN" for header in headers):
        return [None] * len(headers)
    earliest = min(header.acquired for header in headers)
    starts: list[datetime | None] = []
    for header in headers:
        series = header.moment("SeriesDate", "SeriesTime")
        if header.text("DecayCorrection") == "ADMIN":
            starts.append(None)
        elif series <= earliest:
            starts.append(series)
        else:  # a series that was processed later: its time is not that of the scan
            starts.append(_private_start(header) or _computed_start(header))
    return starts


def _private_start(header: _Header) -> datetime | None:
    """GE's (0009,100D), the time of the scan."""
    value = header.private(_GE_BLOCK, _GE_SCAN_START)
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return _moment(text.strip(" \0"))


def _computed_start(header: _Header) -> datetime:
    """The start of the scan from the frame reference time of a slice, at which its decay has its mean rate."""
    tracer = header.tracer()
    offset = _number(header.dataset.get("FrameReferenceTime"))
    duration = _number(header.dataset.get("ActualFrameDuration"))
    if not offset or not duration or offset < 0 or duration < 0:
        raise header.fault(
            "SeriesTime",
            f"is after the acquisition, and neither (0009,100D) of GE nor {name_tag('FrameReferenceTime')} and "
            f"{name_tag('ActualFrameDuration')} say when the scan began",
        )
    rate = math.log(2) / (1000 * header.positive("RadionuclideHalfLife", tracer))  # per ms
    decay = rate * duration
    mean = math.log(decay / -math.expm1(-decay)) / rate
    return header.acquired + timedelta(milliseconds=mean - offset)


def _number(value: Any) -> float | None:
    """A finite number of a DS, FL or FD element, or of a private one whose VR was lost; None for all else."""
    if isinstance(value, bytes):
        value = value.decode("latin-1").strip(" \0")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _moment(text: str) -> datetime | None:
    """YYYYMMDDHHMMSS.F of a DT, seconds and less may be absent; None where it is no time."""
    match = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)(\d\d)(\d\d)?(\d\d)?(\.\d{0,6})?([+-]\d{4})?", text.strip())
    if not match:
        return None
    numbers = [int(part) if part else 0 for part in match.groups()[:6]]
    try:
        moment = datetime(*numbers)  # type: ignore[arg-type]
    except ValueError:
        return None
    return moment + timedelta(seconds=float(f"0{match[7] or '.0'}0"))


def _offset(text: str) -> timedelta | None:
    """The offset from UTC at the end of a DT, or of (0008,0201); None where it has none."""
    match = re.search(r"([+-])(\d\d)(\d\d)$", text.strip())
    if not match:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -offset if match[1] == "-" else offset
