"""What was found in the folders that were read last, for the other volumes in them.

A volume is judged by what lies around it, so its whole folder is looked at; the next volume of that folder needs the
same look. What was found is used again as long as every file is what it was, by name and signature. Kept are places,
findings and the layout of the pixels; of the headers no value but those listed in ``_KEPT``: nothing of a patient.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from faimed3d._file_signature import file_signature
from faimed3d.dicom.contents import Contents, survey
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.scan import Scan, files_below, list_folder, scan_files, scan_folder
from faimed3d.dicom.header import FileHeader, Tag
from faimed3d.dicom.planes import Plane

_MOST_PLANES = 20000  # kept of all folders together, 2 kB each; the folder that was read last is always kept
_SETTLED_NS = 2 * 10**9  # a file changed less long ago may change again within one tick of its clock
_KEPT = frozenset(
    (
        *(Tag.Rows, Tag.Columns, Tag.SamplesPerPixel, Tag.PhotometricInterpretation, Tag.NumberOfFrames),
        *(Tag.BitsAllocated, Tag.BitsStored, Tag.HighBit, Tag.PixelRepresentation, Tag.TransferSyntaxUID),
        *(Tag.PixelPaddingValue, Tag.PixelPaddingRangeLimit, Tag.FloatPixelPaddingValue),
        *(Tag.FloatPixelPaddingRangeLimit, Tag.DoubleFloatPixelPaddingValue, Tag.DoubleFloatPixelPaddingRangeLimit),
        *(Tag.SeriesInstanceUID, Tag.ImagePositionPatient, Tag.ImageOrientationPatient),
    )
)

Snapshot = tuple[tuple[str, tuple[int, int, int]], ...]
_kept: OrderedDict[tuple[object, ...], tuple[Snapshot, tuple[Volume, ...]]] = OrderedDict()


@dataclass(frozen=True, eq=False)
class Found:
    """The volumes of a folder or of some files.

    Attributes:
        volumes: as much of them as reading needs.
        fresh: the scan and its contents, where they had to be made now.
    """

    volumes: tuple[Volume, ...]
    fresh: tuple[Scan, Contents] | None = None


def volumes_of_folder(folder: str) -> Found:
    """The volumes of a folder, judged by all that lies in and below it."""
    return _recall((_place(folder), None), lambda: _files_of_folder(folder), lambda: scan_folder(folder))


def volumes_of_files(files: Sequence[str], folder: str) -> Found:
    """The volumes of some files of a folder alone."""
    return _recall((_place(folder), tuple(files)), lambda: list(files), lambda: scan_files(files, folder))


def forget() -> None:
    """Forget all folders."""
    _kept.clear()


def _recall(key: tuple[object, ...], files: Callable[[], list[str]], scan: Callable[[], Scan]) -> Found:
    known = _kept.get(key)
    if known is not None and known[0] == _snapshot(files()):
        return Found(known[1])
    began = time.time_ns()
    scanned = scan()
    contents = survey(scanned)
    volumes = contents.volumes
    _kept.pop(key, None)
    if len(volumes) > 1 or any(volume.findings for volume in volumes):  # else nothing will be asked again
        volumes = tuple(map(_reduced, volumes))
        snapshot = _snapshot(files())
        if _is_settled(snapshot, scanned, began):
            _kept[key] = snapshot, volumes
            _make_room()
    return Found(volumes, (scanned, contents))


def _is_settled(snapshot: Snapshot, scan: Scan, began: int) -> bool:
    """Whether no file changed during a scan that ``began`` then, or so shortly before that its clock may not tell."""
    seen = dict(snapshot)
    unchanged = all(seen.get(header.path) == header.signature for header in scan.images)
    return unchanged and all(max(changed) < began - _SETTLED_NS for _, (_, *changed) in snapshot)


def _make_room() -> None:
    count = sum(len(volume.all_planes) for _, volumes in list(_kept.values()) for volume in volumes)
    for key in list(_kept)[:-1]:
        if count > _MOST_PLANES:
            _, volumes = _kept.pop(key, ((), ()))
            count -= sum(len(volume.all_planes) for volume in volumes)


def _place(folder: str) -> tuple[str, str]:
    return folder, "" if os.path.isabs(folder) else os.getcwd()


def _files_of_folder(folder: str) -> list[str]:
    files, links, folders = list_folder(folder)
    return [*files, *links, *folders, *files_below(folders)]


def _snapshot(files: Sequence[str]) -> Snapshot:
    return tuple((file, _signature(file)) for file in files)


def _signature(file: str) -> tuple[int, int, int]:
    try:
        status = os.stat(file)
    except OSError:  # a link to nothing
        return 0, 0, 0
    return (0, 0, 0) if os.path.isdir(file) else file_signature(status)


def _reduced(volume: Volume) -> Volume:
    """A volume with what reading needs of it, and no other value of its headers."""
    headers: dict[int, FileHeader] = {}
    planes: dict[int, Plane] = {}

    def reduced(plane: Plane) -> Plane:
        header = plane.header
        if id(header) not in headers:
            values = {tag: value for tag, value in header.values.items() if tag in _KEPT}
            headers[id(header)] = replace(header, values=values)
        if id(plane) not in planes:
            planes[id(plane)] = replace(plane, header=headers[id(header)], attributes={})
        return planes[id(plane)]

    return replace(
        volume,
        planes=tuple(map(reduced, volume.planes)),
        doubled=tuple((reduced(kept), reduced(other)) for kept, other in volume.doubled),
        attributes={},
        findings=tuple(replace(found, fault=replace(found.fault, planes=())) for found in volume.findings),
    )
