"""Each rule of a plan in words, with its source; ``docs/plan.md`` shows the same table."""

from __future__ import annotations

from typing import NamedTuple

from faimed3d.plan.rules import MEDMNIST, NNUNET, ONE_CYCLE, REGIONS, RESENC, RESNET


class Rule(NamedTuple):
    """What a field of a plan is decided by, in words, and where that comes from."""

    field: str
    says: str
    source: str


RULES = (
    Rule(
        "task",
        "segmentation where the cells of the label column are volumes, else classification",
        "this library",
    ),
    Rule(
        "arch",
        "`UNet3D`; of classes its way down, a ResNet, with batch norm and fastai's head",
        f"{NNUNET}; {MEDMNIST}",
    ),
    Rule(
        "regions",
        "as asked, else as `dataset.json` of nnU-Net says; the network decides for each on its own",
        REGIONS,
    ),
    Rule(
        "orientation",
        "the storage order that most cases have; others are reoriented without interpolation",
        "this library",
    ),
    Rule(
        "spacing",
        "the median of each axis; of an axis with more than 3 times the spacing of the others and less than a"
        " third of their voxels the 10th percentile, but not finer than the others",
        NNUNET,
    ),
    Rule(
        "median_size",
        "the median size of the cases at the target spacing, cropped where `crop` says so",
        NNUNET,
    ),
    Rule(
        "crop",
        "cut empty margins off where the box of values above the smallest is below 75 % of the median volume "
        "(not of CT)",
        NNUNET,
    ),
    Rule(
        "modality",
        "as asked; else of the DICOM headers; else CT where the smallest values are those of air in HU",
        "this library",
    ),
    Rule(
        "normalization",
        "CT: cut to the percentiles 0.5 and 99.5 of the foreground, then mean and std of the foreground of "
        "all cases; others: mean and std of each volume, of its nonzero part where it is cropped; images of "
        "two values: mean and std of the set",
        NNUNET,
    ),
    Rule(
        "patch",
        "begin with 256^3 voxels in the proportions of the spacing, cut to the median size; take a step off "
        "the axis that is largest beside the median size until two patches fit into the memory",
        NNUNET,
    ),
    Rule(
        "strides",
        "halve the axes within a factor of 2 of the finest spacing while 4 voxels are left; of classes rounded up,"
        " on a CPU first by the first convolution, as most of the time would go to the finest level",
        f"{NNUNET}; {RESNET}",
    ),
    Rule(
        "kernels",
        "1 along an axis until its spacing is within a factor of 2 of the finest, then 3",
        NNUNET,
    ),
    Rule(
        "widths",
        "32 channels (on a CPU 16), doubled at each level, 320 at most; of classes 64 (16), 512 (256) at most",
        f"{NNUNET}; {MEDMNIST}",
    ),
    Rule(
        "blocks",
        "on a GPU residual blocks in the encoder, 1, 3, 4, 6, 6, ... a level; on a CPU plain convolutions; of classes"
        " 1, 2, 2, ... residual blocks",
        f"{RESENC}; {MEDMNIST}",
    ),
    Rule(
        "up_convs",
        "convolutions of each level of the way up: with residual blocks one, else two",
        RESENC,
    ),
    Rule(
        "deep_supervision",
        "from 3 levels on",
        NNUNET,
    ),
    Rule(
        "batch_size",
        "what fits into the memory, 2 at least, 5 % of the voxels of the data set at most; on a CPU 2; of classes"
        " 32, on a CPU 16, half of the cases at most",
        f"{NNUNET}; {MEDMNIST}",
    ),
    Rule(
        "oversampling",
        "a third of the patches lie around a voxel of the foreground, of regions around one of their labels; to be "
        "classified, each class is drawn as often as any other",
        f"{NNUNET}; of classes this library",
    ),
    Rule(
        "augmentation",
        "rotation, scaling, mirrors, noise, blur, brightness, contrast, low resolution, gamma; of a patch "
        "with one side below a third of the largest only rotation in the plane; mirrored left and right only "
        "where no class or region is of one side, or both sides are and are exchanged; for labels on a CPU half of "
        "that, mirrored left and right alone, as some thousand patches are too few for more; of shapes, images of two "
        "values, to be classified nothing of intensity, and where no case says how it lies, any symmetry of the box",
        NNUNET,
    ),
    Rule(
        "items_per_epoch",
        "the cases of training, for labels on a GPU 250 batches at least",
        NNUNET,
    ),
    Rule(
        "epochs",
        "on a GPU 250, on a CPU 100, of classes 100; with `minutes` as many as end in time",
        "this library",
    ),
    Rule(
        "lr",
        "SGD 0.01, AdamW 0.002; for classes on a GPU 0.001",
        f"{NNUNET}; {MEDMNIST}; this library",
    ),
    Rule(
        "weight_decay",
        "SGD 3e-5, AdamW 0.01 (decoupled)",
        f"{NNUNET}; this library",
    ),
    Rule(
        "optimizer",
        "on a GPU SGD with Nesterov momentum 0.99, on a CPU and for classes AdamW",
        f"{NNUNET}; this library",
    ),
    Rule(
        "schedule",
        "on a GPU polynomial, on a CPU and for classes one cycle, which trains well in few epochs",
        ONE_CYCLE,
    ),
    Rule(
        "precision",
        "bfloat16 or float16 where the device is faster in it",
        "this library",
    ),
    Rule(
        "loss",
        "Dice and cross-entropy, their sum, of regions binary and of each; of classes cross-entropy",
        f"{NNUNET}; {REGIONS}",
    ),
    Rule(
        "folds",
        "5, by patient, classes spread evenly",
        NNUNET,
    ),
)
