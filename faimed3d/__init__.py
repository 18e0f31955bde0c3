"""fastai for medical volumes."""
