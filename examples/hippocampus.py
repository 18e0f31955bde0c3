"""Plan, cache, cross-validation and ensemble on the hippocampus data of the Medical Segmentation Decathlon.

    python examples/hippocampus.py DATA [--test FOLDER] [--budget MINUTES] [--folds N] [--out FOLDER]

DATA is the folder of Task04_Hippocampus (http://medicaldecathlon.com, CC-BY-SA 4.0): ``dataset.json``, ``imagesTr`` and
``labelsTr``; a ``folds.json`` in it says which cases are validated together. The plan is used as it is proposed. No
test case is seen before the last step. A run that was interrupted goes on where it stopped.
"""

# ruff: noqa: E402 - what comes before the imports must be set before them

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import resource
import sys
import time
import warnings
from pathlib import Path

# fastai compiles its activations with torch.jit.script when it is imported
warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)

import matplotlib.pyplot as plt
from fastai.torch_core import set_seed

from faimed3d.cache import preprocess
from faimed3d.data import msd_table
from faimed3d.evaluation import ScoreTable
from faimed3d.plan import cross_validate, make_folds, propose

MINUTES_A_FOLD = 60
TOLERANCE = 1.0  # mm, of the surface Dice
PUBLISHED = (  # mean Dice of anterior and posterior
    ("nnU-Net, five folds, all 260 training cases", 0.8975, 0.8807),
    ("MONAI DynUNet, likewise", 0.8983, 0.8816),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder with dataset.json, imagesTr, labelsTr")
    parser.add_argument("--test", type=Path, help="folder with imagesTr and labelsTr of cases kept aside")
    parser.add_argument("--budget", type=float, help=f"minutes of training in all; default {MINUTES_A_FOLD} a fold")
    parser.add_argument("--folds", type=int, help="how many folds to train; default: all of the data set")
    parser.add_argument("--memory", default="8GB", help="what a training step may need")
    parser.add_argument("--out", type=Path, default=Path("hippocampus_out"), help="plan, cache, weights, scores")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data is None or not (args.data / "dataset.json").exists():
        parser.exit(2, f"{args.data or 'no DATA'}: here must be Task04_Hippocampus of the Medical Segmentation\n"
                    "Decathlon (http://medicaldecathlon.com): dataset.json, imagesTr, labelsTr. Say where it is:\n"
                    "make hippocampus DATA=folder [TEST=folder] [BUDGET=minutes]\n")  # fmt: skip
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    set_seed(args.seed)
    table = msd_table(args.data)
    plan = propose(table, memory=args.memory)
    folds = list(make_folds(table, **plan.folds).names)[: args.folds]
    plan = plan.for_budget(MINUTES_A_FOLD if args.budget is None else args.budget / len(folds))
    plan.to_json(args.out / "plan.json")
    print(plan)
    cache = preprocess(table, args.out / "cache", plan)
    cv = cross_validate(plan, cache, args.out / "folds", folds=folds, tolerance=TOLERANCE, tta=True)
    report("Cross-validation", cv.table, args.out / "cross_validation")
    if args.test is not None:
        scores = cv.ensemble.evaluate(msd_table(args.test), tolerance=TOLERANCE, tta=True)
        report(f"Cases kept aside, mean of {len(folds)} networks", scores, args.out / "test")
    for name, *dice in PUBLISHED:
        print(f"  {name}: {' '.join(f'{value:.4f}' for value in dice)}")
    print(f"{(time.perf_counter() - started) / 60:.0f} minutes, {peak_memory():.1f} GB at most; written to {args.out}")


def report(title: str, scores: ScoreTable, path: Path) -> None:
    """Print the means of each class, and keep the scores of each case as a table and as a picture."""
    print(f"\n{title}: {scores['case'].nunique()} cases")
    means = scores.summary().xs("mean", axis=1, level=1)
    print(means.to_string(float_format="%.4f"))
    scores.to_csv(path.with_suffix(".csv"), index=False)
    scores.show()
    plt.savefig(path.with_suffix(".png"), dpi=120)
    plt.close()


def peak_memory() -> float:
    """GB of this process and of its largest child."""
    unit = 1 if sys.platform == "darwin" else 1024
    return (
        sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * unit / 1e9
    )


if __name__ == "__main__":
    main()
