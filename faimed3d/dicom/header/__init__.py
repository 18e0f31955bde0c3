"""The header of one DICOM file: which elements are read, how, and what a message may quote of them."""
