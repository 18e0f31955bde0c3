"""hist_scaled and normalize against the straightforward versions, on a CT of 140x512x512: ``python bench_intensity.py``."""

import numpy as np
import torch
from timing import compare, make_volume, peak_memory, print_machine, table

from faimed3d.intensity import freqhist_bins, hist_scaled, normalize


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
        for name, peer in (("torch.sort + np.interp", with_torch_sort), ("np.sort + np.interp", with_numpy_sort)):
            rows.append((f"hist_scaled, {kind}, {name}", *compare(lambda: hist_scaled(t), lambda: peer(t), n=3), 3))
        rows.append((f"normalize, {kind}", *compare(lambda: normalize(t), lambda: plain_normalize(t), n=9), 9))
        brks = freqhist_bins(t)
        rows.append(
            (
                f"hist_scaled, {kind}, breaks given",
                *compare(lambda: hist_scaled(t, brks), lambda: interpolated(t, brks), n=3),
                3,
            )
        )
    table(rows)
    size = t.numel() * 4 / 2**20
    for name, ours, peer in (
        ("hist_scaled, whole", hist_scaled, with_torch_sort),
        ("hist_scaled, float", hist_scaled, with_torch_sort),
        ("normalize, whole", normalize, plain_normalize),
    ):
        grown = [
            peak_memory(lambda: (make_volume(name.split()[1], (70, 512, 512)),), f) * 2 / size for f in (ours, peer)
        ]
        memory.append((name, *grown, grown[1] / grown[0], 1))
    print("Peak memory above the input, in volumes (the result is one):\n")
    table(memory, ("case", "ours", "peer", "ratio peer/ours", "n"))


if __name__ == "__main__":
    main()
