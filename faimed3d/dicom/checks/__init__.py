"""Checks of a volume before it is read: each looks and says what it found, and changes nothing."""
