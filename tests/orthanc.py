"""A real archive for the tests: Orthanc with its plug-in for DICOMweb, for this machine alone, in its own folder."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import requests
from dicom_series import make_series, write
from pydicom.uid import MRImageStorage, generate_uid

AUTH = ("tester", "a-Secret-word")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def missing():
    """Why there can be none; '' where there can."""
    if not shutil.which("Orthanc") or not PLUGIN.exists():
        return "Orthanc and its plug-in for DICOMweb are not installed (Debian: orthanc, orthanc-dicomweb)"
    return ""


def write_scan(folder, stored, description="T2 tse", **elements):
    """Files of an MR series of its own study, each with a UID of its own, as an archive needs it; their paths."""
    values = {
        "Modality": "MR", "SOPClassUID": MRImageStorage, "SeriesDescription": description,
        "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid(),
        **elements,
    }  # fmt: skip

    def own_uid(_, image):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()

    return write(make_series(stored, edit=own_uid, **values), folder)


class Orthanc:
    """A server with its storage in ``folder``; the same storage and port each time that it is started."""

    def __init__(self, folder):
        self.folder, self.process = Path(folder), None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/dicom-web"
        settings = {
            "Name": "tests", "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"), "Plugins": [str(PLUGIN)], "HttpPort": self.port,
            "DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
            "RegisteredUsers": dict([AUTH]), "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }  # fmt: skip
        (self.folder / "orthanc.json").write_text(json.dumps(settings))

    def start(self):
        with open(self.folder / "log", "ab") as log:
            command = ["Orthanc", str(self.folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                requests.get(f"{self.url}/series", auth=AUTH, timeout=5).raise_for_status()
                return self
            except requests.RequestException:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self):
        """Stop it at once, in the middle of what it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def clear(self):
        """Remove all that it holds."""
        root = self.url.removesuffix("/dicom-web")
        for patient in requests.get(f"{root}/patients", auth=AUTH, timeout=20).json():
            requests.delete(f"{root}/patients/{patient}", auth=AUTH, timeout=20).raise_for_status()
