"""Stored pixels to real values: decoding, and the repairs that ``strict=False`` allows."""
