"""resize_linear against the grid_sample version of the page that this library ports, and against F.interpolate."""

import torch
import torch.nn.functional as F
from timing import compare, print_machine, table

from faimed3d.spatial.resizing import resize_linear, resize_nearest

SIZES = [
    ((31, 736, 736), (100, 50, 50)),
    ((140, 512, 512), (64, 128, 128)),
    ((140, 512, 512), (64, 256, 256)),
    ((20, 512, 512), (40, 256, 256)),
    ((40, 128, 128), (80, 256, 256)),
    ((64, 64, 64), (64, 128, 128)),
]


def with_grid_sample(t, new_shape):
    z, x, y = new_shape
    t = t.unsqueeze(0).unsqueeze(0).float()
    axes = [torch.linspace(-1, 1, n) for n in (x, y, z)]
    mesh_x, mesh_y, mesh_z = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack((mesh_y, mesh_x, mesh_z), 3).unsqueeze(0)
    out = F.grid_sample(t, grid, align_corners=True, mode="bilinear")
    return out.squeeze().permute(2, 0, 1).contiguous()


def with_interpolate(t, size):
    return F.interpolate(t[None, None], size, mode="trilinear", align_corners=True)[0, 0]


def nearest_of_floats(t, size):
    return F.interpolate(t[None, None].float(), size, mode="nearest-exact")[0, 0].to(t.dtype)


def main():
    print_machine()
    rows = []
    for old, new in SIZES:
        t = torch.randn(old)
        torch.testing.assert_close(resize_linear(t, new), with_interpolate(t, new), rtol=0, atol=1e-3)
        case = f"{'x'.join(map(str, old))} -> {'x'.join(map(str, new))}"
        labels = torch.randint(0, 9, old, dtype=torch.int64)
        rows.append((f"linear {case}, grid_sample", *compare(resize_linear, with_grid_sample, t, new, n=9)))
        rows.append((f"linear {case}, F.interpolate", *compare(resize_linear, with_interpolate, t, new, n=9)))
        rows.append((f"nearest {case}, through float", *compare(resize_nearest, nearest_of_floats, labels, new, n=7)))
    table(rows)


if __name__ == "__main__":
    main()
