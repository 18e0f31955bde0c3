"""Plan, training and scores on the 3D sets of MedMNIST.

    python examples/medmnist3d.py DATA [--sets vesselmnist3d ...] [--budget MINUTES] [--out FOLDER]

DATA holds ``vesselmnist3d.npz``, ``adrenalmnist3d.npz`` or others of MedMNIST v2 (https://medmnist.com, CC BY 4.0; Yang
et al. 2023, doi:10.1038/s41597-022-01721-8). The plan is used as it is proposed. Trained on the training arrays, scored
on the validation arrays; test arrays, where the file has them, are scored once, at the end.
"""

# ruff: noqa: E402 - what comes before the imports must be set before them

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import time
import warnings
from pathlib import Path

# fastai compiles its activations with torch.jit.script when it is imported
warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)

import numpy as np
import pandas as pd
from fastai.torch_core import set_seed

from faimed3d.cache import preprocess
from faimed3d.plan import propose

MINUTES = 30  # of training, each set
PUBLISHED = {"vesselmnist3d": (0.874, 0.930), "adrenalmnist3d": (0.827, 0.839)}  # test AUC: ResNet-18 3D, best of all


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder of the .npz files")
    parser.add_argument("--sets", nargs="*", help="names of the files without .npz; default: all of the folder")
    parser.add_argument("--budget", type=float, default=MINUTES, help="minutes of training, each set")
    parser.add_argument("--out", type=Path, default=Path("medmnist3d_out"), help="plans, caches, weights")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    files = sorted(args.data.glob("*3d.npz")) if args.data else []
    if not files:
        parser.exit(2, f"{args.data or 'no DATA'}: here must be files of MedMNIST v2 (https://medmnist.com), such as\n"
                    "vesselmnist3d.npz. Say where they are: make medmnist3d DATA=folder\n")  # fmt: skip
    for file in files:
        if args.sets is None or file.stem in args.sets:
            run(file, args)


def run(file: Path, args: argparse.Namespace) -> None:
    """Train on one set and print its scores."""
    started = time.perf_counter()
    arrays = np.load(file)
    table = pd.concat([cases(arrays, "train"), cases(arrays, "val")], ignore_index=True)
    out = args.out / file.stem
    out.mkdir(parents=True, exist_ok=True)
    set_seed(args.seed)
    plan = propose(table, fn_col="image", label_col="label").for_budget(args.budget)
    plan.to_json(out / "plan.json")
    print(f"\n{file.stem}\n{plan}\n")
    learn = plan.learner(preprocess(table, out / "cache", plan), "val")
    plan.fit(learn)
    learn.save(out.absolute() / "network")
    scores = [score(learn, "validation")]
    if "test_images" in arrays:
        scores.append(score(learn, "test", cases(arrays, "test")))
    print(pd.DataFrame(scores).to_string(index=False, float_format="%.4f"))
    if file.stem in PUBLISHED:
        print("published AUC on test: ResNet-18 3D {:.3f}, best {:.3f}".format(*PUBLISHED[file.stem]))
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes")


def cases(arrays: np.lib.npyio.NpzFile, part: str) -> pd.DataFrame:
    """A row for each volume of a part, which is a fold as well."""
    images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"].ravel().astype(int)
    return pd.DataFrame({"image": list(images), "label": labels, "fold": part})


def score(learn, part: str, table: pd.DataFrame | None = None) -> dict[str, object]:
    """AUC and accuracy of the cases of a table, or of validation: means over all that training has turned them into."""
    found = learn.evaluate(table, tta=True).summary().loc["all"]
    return {"part": part, "cases": int(found["cases"]), "AUC": found["auc"], "accuracy": found["accuracy"]}


if __name__ == "__main__":
    main()
