"""One file or folder to (array, geometry, header), and an array with its geometry to a file."""

from faimed3d.io.reading import READ_SUFFIXES, WRITE_SUFFIXES, Header, from_sitk, read, to_sitk, volume_suffix, write

__all__ = ["READ_SUFFIXES", "WRITE_SUFFIXES", "Header", "from_sitk", "read", "to_sitk", "volume_suffix", "write"]
