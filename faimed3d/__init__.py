"""fastai for medical volumes: CT, MR and PET as tensors that know where they are in the patient."""

from importlib.metadata import version

__version__ = version("faimed3d")
