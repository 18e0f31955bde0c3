"""Names of faimed3d 0.0.6 over today's functions, all of them here: see ``docs/from_0.0.6.md``."""
