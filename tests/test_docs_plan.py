"""The page on plans has the rules that the code has."""

import re
from pathlib import Path

from faimed3d.plan import rules
from faimed3d.plan.oddities import _FAR, _LEAST, _USUAL
from faimed3d.plan.rule_table import RULES

PAGE = (Path(__file__).parents[1] / "docs" / "plan.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| `")]


def test_the_table_is_that_of_the_code():
    assert [[f"`{rule.field}`", rule.says, rule.source] for rule in RULES] == ROWS


def test_the_numbers_of_the_rules_are_those_of_the_constants():
    said = {rule.field: rule.says for rule in RULES}
    cpu, cuda = rules.SEGMENTATION["cpu"], rules.SEGMENTATION["cuda"]
    for field, words in {
        "spacing": f"more than {rules.ANISOTROPIC} times the spacing",
        "crop": f"below {rules.LEAST_BOX:.0%}".replace("%", " %"),
        "widths": f"{cuda.width} channels (on a CPU {cpu.width}), doubled at each level, {cuda.most_width} at most",
        "deep_supervision": f"from {rules.DEEP} levels on",
        "batch_size": f"{rules.LEAST_BATCH} at least, {rules.LARGEST_SHARE:.0%}".replace("%", " %"),
        "items_per_epoch": f"{cuda.least_steps} batches at least",
        "epochs": f"on a GPU {cuda.epochs}, on a CPU {cpu.epochs}",
        "lr": f"{cuda.optimizer.upper()} {cuda.lr:g}, {'AdamW' if cpu.optimizer == 'adamw' else 'SGD'} {cpu.lr:g}",
        "blocks": ", ".join(map(str, rules.RESENC_BLOCKS[:5])),
        "optimizer": f"on a GPU {cuda.optimizer.upper()}",
    }.items():
        assert words in said[field], field
    of_classes = [rules.CLASSIFICATION[device] for device in ("cuda", "cpu")]
    for field, words in {
        "widths": "of classes {} ({}), {} ({}) at most".format(
            *(one.width for one in of_classes), *(one.most_width for one in of_classes)
        ),
        "blocks": ", ".join(map(str, rules.RESNET_BLOCKS[:3])),
        "batch_size": "of classes {}, on a CPU {}".format(*(one.batch for one in of_classes)),
        "epochs": f"of classes {of_classes[0].epochs};",
        "lr": f"for classes on a GPU {of_classes[0].lr:g}",
    }.items():
        assert words in said[field], field
    assert of_classes[1].lr == cpu.lr
    assert of_classes[1].epochs == of_classes[0].epochs
    assert cpu.batch == 2
    assert "on a CPU 2" in said["batch_size"]
    assert f"above {_FAR}" in PAGE
    assert f"{_LEAST:.0%}".replace("%", " %") in PAGE
    assert f"{_USUAL:.0%}".replace("%", " %") in PAGE


def test_links_lead_somewhere():
    root = Path(__file__).parents[1]
    for path in re.findall(r"`(faimed3d/[\w/.]+)`", PAGE):
        assert (root / path).exists(), path
