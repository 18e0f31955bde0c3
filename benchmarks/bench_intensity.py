"""hist_scaled and normalize against the straightforward versions, on a CT of 140x512x512."""

import numpy as np
import torch
from timing import compare, make_volume, peak_memory, print_machine, table

from faimed3d.intensity import normalize
from faimed3d.intensity.histogram import freqhist_bins, hist_scaled


def sorted_bins(t, ordered):
    middles = torch.arange(100).float() / 100 + 1 / 2 / 100
    ranks = torch.cat([torch.tensor([0.001]), middles, torch.tensor([0.999])])
    return ordered[(len(ordered) * ranks).long()].unique()


def interpolated(t, brks):
    places = np.interp(t.numpy().ravel(), brks.numpy(), np.linspace(0, 1, len(brks)))
    return torch.from_numpy(places).float().view(t.shape).clamp(0, 1)


def with_torch_sort(t):
    """What fastai.medical.imaging does."""
    return interpolated(t, sorted_bins(t, t.view(-1).sort()[0]))


def with_numpy_sort(t):
    """The same with the faster sort."""
    return interpolated(t, sorted_bins(t, torch.from_numpy(np.sort(t.numpy().ravel()))))


def plain_normalize(t):
    return (t - t.mean()) / t.std()


def main():
    print_machine()
    rows, memory = [], []
    for kind in ("whole", "float", "crowded"):
        t = make_volume(kind)
        expected = with_torch_sort(t)
        error = (hist_scaled(t) - expected).abs().max().item()
        assert error < 1e-6, error
        rows.append((f"hist_scaled, {kind}, torch.sort + np.interp", *compare(hist_scaled, with_torch_sort, t, n=3)))
        rows.append((f"hist_scaled, {kind}, np.sort + np.interp", *compare(hist_scaled, with_numpy_sort, t, n=3)))
        rows.append(
            (f"hist_scaled, {kind}, breaks given", *compare(hist_scaled, interpolated, t, freqhist_bins(t), n=3))
        )
        rows.append((f"normalize, {kind}", *compare(normalize, plain_normalize, t, n=9)))
    table(rows)
    shape = 70, 512, 512
    size = 70 * 512 * 512 * 4 / 2**20
    for kind, ours, peer in (
        ("whole", hist_scaled, with_torch_sort),
        ("float", hist_scaled, with_torch_sort),
        ("whole", normalize, plain_normalize),
    ):
        grown = [peak_memory(function, make_volume, kind, shape) / size for function in (ours, peer)]
        memory.append((f"{ours.__name__}, {kind}", *grown, grown[1] / grown[0], 1))
    print("Peak memory above the input, in volumes (the result is one):\n")
    table(memory, ("case", "ours", "peer", "ratio peer/ours", "n"))


if __name__ == "__main__":
    main()
