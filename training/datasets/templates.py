"""The hand-written templates of the CLIP data sets, in one table."""

from __future__ import annotations

from candor.clip.templates import DEFAULT_TEMPLATE

# As in CLIP_Calibration, KgCoOp and CoPrompt. CoOp's own zero-shot script has "{} texture." for dtd, and others differ
# elsewhere; the difference moves zero-shot accuracy and ECE.
TEMPLATES: dict[str, str] = {
    "caltech101": DEFAULT_TEMPLATE,
    "dtd": "a photo of a {}, a type of texture.",
    "eurosat": "a centered satellite photo of {}.",
    "fgvc_aircraft": "a photo of a {}, a type of aircraft.",
    "food101": "a photo of {}, a type of food.",
    "imagenet": DEFAULT_TEMPLATE,
    "imagenet_a": DEFAULT_TEMPLATE,
    "imagenet_r": DEFAULT_TEMPLATE,
    "imagenet_sketch": DEFAULT_TEMPLATE,
    "imagenet_v2": DEFAULT_TEMPLATE,
    "oxford_flowers": "a photo of a {}, a type of flower.",
    "oxford_pets": "a photo of a {}, a type of pet.",
    "stanford_cars": DEFAULT_TEMPLATE,
    "sun397": DEFAULT_TEMPLATE,
    "ucf101": "a photo of a person doing {}.",
}
