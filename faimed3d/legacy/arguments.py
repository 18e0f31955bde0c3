"""Arguments of faimed3d 0.0.6 and of fastai that have another name, place or no use today: what to write instead.

Read by :mod:`faimed3d._keywords` where a call is refused. Names are those of classes and functions of today, methods
after their class; ``*`` holds for all.
"""

from __future__ import annotations

_ALWAYS = "it always acts; leave p out, or choose for which items in a transform of your own"
_WHOLE_AXES = "resizing is trilinear for images, nearest for masks, and corner-aligned; leave it out"
_LOADERS = {
    "rescale_method": "put the transform into batch_tfms, such as batch_tfms=[MaxScale()]",
    "size_for_resampling": "put Resize3D((D, H, W)) into item_tfms",
    "get_x": "name the column with fn_col, or use a DataBlock",
    "get_y": "name the column with label_col, or use a DataBlock",
    "batch_size": "its name is 'bs'",
    "image_col": "its name is 'fn_col'",
    "mask_col": "its name is 'label_col'",
}

# callable -> {argument: what to do}
RENAMED: dict[str, dict[str, str]] = {
    "*": {
        "load_header": "headers are read when t.metadata is asked for",
    },
    "ImageCorrectionWrapper": {"verbose": "it prints nothing; leave it out"},
    "crop_3d": {
        "crop_by": "its name is 'margins': crop_3d(margins=(2, 10, 10))",
        "perc_crop": "its name is 'perc_margins': crop_3d((0.1, 0.1, 0.1), perc_margins=True)",
    },
    "resample": {
        "reference_spacing": "its name is 'spacing': resample(t, spacing); the size follows from the field of view",
        "reference_size": "the size follows from the spacing: t.resample(spacing).pad_or_crop(size)",
        "method": "images are interpolated linearly, masks by the nearest voxel; leave it out",
        "origin": "resample_like(t, other) takes the grid of another volume, or a Geometry",
        "direction": "resample_like(t, other) takes the grid of another volume, or a Geometry",
    },
    "AddChannel": {"p": "it always acts, and the blocks have it already"},
    "ClampMask3D": {"p": _ALWAYS},
    "Pad3D": {"p": _ALWAYS},
    "MaskErase": {"p": _ALWAYS},
    "ResizeCrop3D": {"p": _ALWAYS},
    "ReduceClasses": {"p": _ALWAYS, "reduce_to": "its name is 'classes': ReduceClasses([1])"},
    "Resample3D": {
        "size": "resample to a spacing, then bring to a size: [Resample3D(spacing), PadOrCrop3D(size)]",
        "origin": "ResampleLike(Geometry(shape, spacing, origin, direction)) brings volumes onto a grid",
        "direction": "ResampleLike(Geometry(shape, spacing, origin, direction)) brings volumes onto a grid",
    },
    "Resize3D": dict.fromkeys(("mode", "align_corners", "recompute_scale_factor"), _WHOLE_AXES),
    "RandomCrop3D": {
        "crop_by": "it takes the size that is left: RandomCrop3D((32, 128, 128))",
        "rand_crop_xyz": "it takes the size that is left, and puts the box anywhere: RandomCrop3D((32, 128, 128))",
        "perc_crop": "it takes the size that is left in voxels; fixed margins are ResizeCrop3D's",
        "p": "it always crops, so that all items have one size",
    },
    "RandomPerspective3D": {"input_size": "it takes volumes of any size; leave it out"},
    "RandomBrightness3D": {
        "beta_range": "pass max_beta, the largest change either way: max_beta=0.3 for beta_range=[-0.3, 0.3]",
        "beta_step": "the change is drawn evenly; leave it out",
    },
    "RandomContrast3D": {
        "alpha_range": "its name is 'alpha': RandomContrast3D(alpha=(0.7, 1.4))",
        "alpha_step": "the factor is drawn evenly; leave it out",
    },
    "RandomBlur3D": {"kernel_size_range": "pass sigma, in mm: RandomBlur3D(sigma=(0.5, 1.5))"},
    "PiecewiseHistScaling": dict.fromkeys(
        ("landmark_percs", "standard_scale", "final_scale", "slicewise"),
        "it takes one fitted scale: PiecewiseHistScaling(StandardScale.fit(items, percentiles)), or its file",
    ),
    "aug_transforms_3d": {
        "crop": "put RandomCrop3D(size) into item_tfms",
        **{
            f"p_{part}": f"give the part its probability: {part}=0.3"
            for part in [
                "warp",
                "sheer",
                "trapezoid",
                "dihedral",
                "brightness",
                "contrast",
                "noise",
                "rotate_by",
                "flip",
                "rotate",
                "blur",
                "affine",
                "elastic",
                "perspective",
                "gamma",
            ]
        },
        "p_crop": "put RandomCrop3D(size) into item_tfms",
        "p_lighting": "give the parts their probabilities: brightness=0.3, contrast=0.3",
        "max_rotate": "say it to the part: affine={'degrees': 15}",
        "max_zoom": "say it to the part: affine={'scale': 0.15}",
        "max_lighting": "say it to the part: brightness={'max_beta': 0.3}",
        "max_warp": "say it to the part: warp={'max_magnitude': 0.15}",
        "p_affine": "give the part its probability: affine=0.5",
        "do_flip": "its name is 'flip'",
        "flip_vert": "name the axes: flip={'axis': (-1, -2)}",
        "xtra_tfms": "its name is 'extra'",
        "size": "put Resize3D((D, H, W)) into item_tfms",
    },
    "MaskBlock3D": {"cls": "masks are always TensorMask3D; leave it out"},
    "ImageBlock3D": {
        "rescale": "reading applies Rescale Slope and Intercept; leave it out",
        "correct_spacing": "put Resample3D(spacing) into item_tfms",
        "spacing": "put Resample3D(spacing) into item_tfms",
        "clip_high_values": "put Clip3D(low, high) into item_tfms",
        "clipping_range": "put Clip3D(low, high) into item_tfms",
    },
    **{
        f"{loaders}.{factory}": _LOADERS
        for loaders, factories in (
            ("ImageDataLoaders3D", "from_df from_csv from_folder from_path_func from_name_func from_lists"),
            ("SegmentationDataLoaders3D", "from_df from_csv from_folder from_path_func from_name_func"),
        )
        for factory in (*factories.split(), "from_path_re", "from_name_re")
    },
    **{
        learner: {
            "config": "pass its entries as arguments, or as model_args",
            "self_attention": "there is none: attention between all voxels of a volume needs more memory than there is",
            "blur": "the way up interpolates, which leaves no block edges to blur; leave it out",
            "blur_final": "the way up interpolates, which leaves no block edges to blur; leave it out",
            "weights": "pass pretrained=True for the default weights, or a network that has its weights as arch",
            "img_size": "networks take volumes of any size; leave it out, or pass it in model_args",
        }
        for learner in ("unet_learner_3d", "deeplab_learner_3d", "cnn_learner_3d")
    },
    **{
        model: {
            "n_inp": "channels are n_in; several images of an item become channels by StackVolumes",
            "self_attention": "there is none: attention between all voxels of a volume needs more memory than there is",
            "blur": "the way up interpolates, which leaves no block edges to blur; leave it out",
        }
        for model in ("create_unet_model_3d", "create_deeplab_model_3d", "create_cnn_model_3d", "DynamicUnet3D")
    },
    **{
        f"resnet{depth}_3d": {
            "pretrained": "pass weights='DEFAULT' for those of Kinetics-400" if depth == 18 else "there are no weights",
            "n_channels": "the learners and create_body(arch, n_in) fit the first convolution to the channels",
            **dict.fromkeys(
                ("ps", "final_softmax"), "the learners have a head of their own: cnn_learner_3d(dls, arch, ps=0.5)"
            ),
            **dict.fromkeys(
                (
                    "act_layer",
                    "norm_layer",
                    "groups",
                    "width_per_group",
                    "replace_stride_with_dilation",
                ),
                "it is torchvision's video ResNet, which has it as it is; leave it out",
            ),
        }
        for depth in (18, 34, 50, 101, 152)
    },
    "show_volume": {
        "scale": "scale the values first, t.hist_scaled().show(), or choose the grey values with window",
        "max_px": "scale the values first, t.hist_scaled().show(), or choose the grey values with window",
        "min_px": "scale the values first, t.hist_scaled().show(), or choose the grey values with window",
    },
    "render_3d": {"symmetric": "it had no effect; leave it out"},
}

# callable -> what to do where it gets more arguments by position than it has
_LEARNER = "name all after arch, such as n_out=2, pretrained=True; fastai and 0.0.6 have another order"
BY_POSITION: dict[str, str] = {
    "Resample3D": "0.0.6 had (size, spacing), today it is [Resample3D(spacing), PadOrCrop3D(size)]; name value",
    "Pad3D": "0.0.6 had a probability there, today it always pads; name value, what new voxels become",
    "MaskErase": "0.0.6 had a probability there, today it always acts; name value, what erased voxels become",
    "ReduceClasses": "0.0.6 had a probability there, today it always acts; name other, what other labels become",
    "RandomCrop3D": "it takes the size that is left, not margins: RandomCrop3D((32, 128, 128)); name all else",
    "RandomPerspective3D": "0.0.6 had input_size first, which is gone; name distortion_scale and fill",
    "RandomBrightness3D": "0.0.6 had beta_range there; name max_beta, the largest change either way",
    "RandomContrast3D": "0.0.6 had alpha_step there, which is gone; name preserve_range",
    "RandomBlur3D": "0.0.6 had kernel sizes there; name sigma, in mm",
    "aug_transforms_3d": "name the parts, such as warp=True; their order differs from 0.0.6",
    "create_head": "name all after lin_ftrs",
    "create_unet_model_3d": "name all after img_size, such as n_in=1, pretrained=False",
    "create_deeplab_model_3d": "name all after n_out, such as n_in=1, pretrained=False",
    "create_cnn_model_3d": "name all after n_out, such as n_in=1, pretrained=False",
    "unet_learner_3d": _LEARNER,
    "deeplab_learner_3d": _LEARNER,
    "cnn_learner_3d": _LEARNER,
}
