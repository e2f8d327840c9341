"""The variants of recipes/paper/*.toml that the report compares; a run of one is called VARIANT-SEED."""

from oamface.evaluation.conditions import CLEAN
from oamface.paper.scenarios import MASKS

ABLATION = ("no_mask", "base", "attention", "supervised", "consistency", "full")  # each has one part more than the last
BALANCING = {"consistency": "fixed weights", "full": "pcgrad", "uncertainty": "uncertainty", "gradnorm": "gradnorm"}
SINGLE_TASK = ("only_age", "only_gender", "only_race", "only_mask")
CROSS_DATASET = {"from_utkface": "UTKFace", "from_fairface": "FairFace", "consistency": "both"}
BACKBONES = {
    "backbone_resnet50": "ResNet-50 to stage 3 (the paper's), from scratch",
    "backbone_mobilevit": "MobileViT v2 0.5, a transformer, from scratch",
    "backbone_face": "dlib's face network, from scratch",
    "backbone_face_pretrained": "dlib's face network, pretrained on face recognition",
}
CONTRASTS = (  # a part, a variant with it, the variant without it
    ("masks in training", "base", "no_mask"),
    ("attention", "attention", "base"),
    ("attention supervision", "supervised", "attention"),
    ("feature consistency (the paper's recovery)", "consistency", "supervised"),
    ("gradient balancing (pcgrad)", "full", "consistency"),
    ("all of them", "full", "base"),
)
CONTRAST_PAIRS = (  # those above, and what claims ask for
    *((variant, baseline) for _, variant, baseline in CONTRASTS),
    ("full", "attention"),
    ("full", "no_mask"),
    ("full", "only_mask"),
    ("supervised", "base"),
)
STUDY_CONDITIONS = (CLEAN, MASKS, "objects")
STUDY_METRICS = ("age_mae", "gender_accuracy", "race_accuracy", "mask_accuracy", "overall_accuracy", "occlusion_drop")
ABLATION_METRICS = (  # what the report's table of contrasts shows: data set, condition, metric
    *(("utkface", CLEAN, metric) for metric in ("age_mae", "gender_accuracy", "race_accuracy")),
    *(("utkface", MASKS, metric) for metric in STUDY_METRICS[:5]),
    ("utkface", "objects", "overall_accuracy"),
    ("fairface", CLEAN, "gender_accuracy"),
    ("fairface", MASKS, "gender_accuracy"),
    ("masks", CLEAN, "mask_accuracy"),
)
BACKBONE_METRICS = (  # the same for the table of backbones
    *(("utkface", CLEAN, metric) for metric in ("age_mae", "gender_accuracy", "race_accuracy")),
    *(("utkface", MASKS, metric) for metric in ("gender_accuracy", "race_accuracy")),
    ("fairface", CLEAN, "gender_accuracy"),
)
