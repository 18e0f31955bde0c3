"""Image planes of DICOM files: where each lies in the patient, and how its stored values become real ones."""
