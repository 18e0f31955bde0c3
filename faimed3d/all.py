"""``from faimed3d.all import *``: the names of fastai.vision and of faimed3d, for notebooks; none of fastai is lost.

``retain_type`` and ``load_model`` are ours: they take what fastai's take, the one ``typ``, too, the other model files.
"""

from fastai.vision.all import *
from torchvision.models.video import mc3_18, r2plus1d_18, r3d_18

from faimed3d.archive import *
from faimed3d.augment import *
from faimed3d.basics import *
from faimed3d.browser import BasicViewer, DicomExplorer, ListViewer, save_views
from faimed3d.cache import Cache, CacheError, StaleCache, preprocess
from faimed3d.data import *
from faimed3d.dicom import *
from faimed3d.evaluation import *
from faimed3d.inference import *
from faimed3d.legacy.correction import *
from faimed3d.legacy.plane_warps import *
from faimed3d.legacy.standard_scale import *
from faimed3d.legacy.transforms import *
from faimed3d.losses import *
from faimed3d.masks import swap_labels
from faimed3d.models import (
    AlexNet3D,
    DynamicDeepLab,
    DynamicUnet3D,
    ResNet3D,
    UNet3D,
    resnet18_3d,
    resnet34_3d,
    resnet50_3d,
    resnet101_3d,
    resnet152_3d,
)
from faimed3d.patches import *
from faimed3d.plan import *
from faimed3d.training import *
