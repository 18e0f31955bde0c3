"""fastai for medical volumes: CT, MR and PET as tensors that know where they are in the patient."""

from importlib.metadata import version

from faimed3d.legacy import moved_modules

__version__ = version("faimed3d")

moved_modules.install()
