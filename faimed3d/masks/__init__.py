"""Masks: merge and renumber classes, keep or remove connected components."""
