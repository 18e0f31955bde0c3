"""Print the lowest versions of the requirements in settings.ini, as constraints for pip."""

from configparser import ConfigParser
from pathlib import Path

settings = ConfigParser()
settings.read(Path(__file__).parents[1] / "settings.ini", encoding="utf-8")
for key in ("", "dicom_seg_", "viewer_", "video_", "onnx_", "distributed_"):
    print(settings["DEFAULT"][f"{key}requirements"].strip().replace(">=", "=="))
