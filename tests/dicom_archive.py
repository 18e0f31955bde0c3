"""DICOM series of several volumes, with images lost, as archives hold them; no tests here."""

import numpy as np
from dicom_series import (
    OBLIQUE,
    direction_of,
    make_series,
    stored_values,
    write,
)
from pydicom.uid import (
    MRImageStorage,
)

from faimed3d import errors
from faimed3d.dicom import read_dicom

NORMAL = direction_of(OBLIQUE)[:, 2]


GRADIENTS = ([0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0])


def several(times=2, slices=5, by_place=False, **labels):
    """Slices of ``times`` MR volumes at the same places, numbered volume after volume or place after place.

    Args:
        labels: by keyword a function of (volume, slice).

    Returns:
        The voxels (times, slices, H, W), and a list of (data set, volume, slice).
    """
    volumes, datasets = stored_values((times, slices, 6, 7)), []
    for t, volume in enumerate(volumes):
        for k, dataset in enumerate(make_series(volume, Modality="MR", SOPClassUID=MRImageStorage)):
            dataset.InstanceNumber = k * times + t + 1 if by_place else t * slices + k + 1
            for keyword, label in labels.items():
                setattr(dataset, keyword, label(t, k))
            datasets.append((dataset, t, k))
    return volumes, datasets


def time_points(*args, **kwargs):
    return several(*args, TemporalPositionIdentifier=lambda t, k: t + 1, **kwargs)


def echoes(**kwargs):
    return several(EchoTime=lambda t, k: (2.3, 4.6)[t], **kwargs)


def keep(datasets, wanted, folder):
    """Write those for which ``wanted(volume, slice)``."""
    return write([dataset for dataset, t, k in datasets if wanted(t, k)], folder)


def read_or_error(path, series=None):
    try:
        return read_dicom(path, series)[0]
    except errors.ReadError as error:
        return error


def refuse_to_allocate(monkeypatch, shape):
    """Have no memory for an array of ``shape``."""
    real = np.empty

    def empty(size, *args, **kwargs):
        if size == shape:
            raise MemoryError
        return real(size, *args, **kwargs)

    monkeypatch.setattr(np, "empty", empty)
