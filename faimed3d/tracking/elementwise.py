"""Operations that leave every voxel where it is, one by one or in pairs of tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from faimed3d.tracking.grid import Operand, attach_grid, common_grid, current_grid, invalidate_grid, is_tracked
from faimed3d.tracking.rules import RULES, keeps_grid, rule

rule(
    """
    clone detach detach_ contiguous to cpu cuda type type_as float double half bfloat16 int long short bool char
    byte requires_grad_ pin_memory positive alias zeros_like ones_like empty_like full_like rand_like randn_like
    randint_like fill_ zero_ normal_ uniform_ random_ exponential_ bernoulli bernoulli_ dropout dropout2d dropout3d
    alpha_dropout feature_dropout feature_alpha_dropout batch_norm instance_norm group_norm layer_norm normalize relu6
    hardswish index_fill index_fill_ conj resolve_conj resolve_neg __deepcopy__ abs_ absolute share_memory_ __pos__
    real imag isin bucketize logsigmoid
    """
)(keeps_grid)
for _attribute in ("data", "real", "imag"):
    RULES[getattr(Tensor, _attribute).__get__] = keeps_grid


@rule("add", whole_call=True)
def pointwise(args, kwargs, result):
    """Operands broadcast against each other; all grids that fill the result must agree."""
    grid = None
    shape = result.shape if isinstance(result, Tensor) else result[0].shape
    for operand in (*args, *kwargs.values()):
        if not is_tracked(operand) or tuple(operand.shape[-3:]) != tuple(shape[-3:]):
            continue  # a number, a plain tensor, or one that is spread over the volume: it has no grid of its own
        other = current_grid(operand)
        grid = other if grid is None else common_grid(grid, other, len(shape) - 3)
        if other is None or grid is None:
            return None
    if not isinstance(grid, np.ndarray):
        return grid
    return grid.reshape((1,) * (len(shape) - 3 - grid.ndim) + grid.shape)


rule(
    """
    copy_ where masked_fill masked_fill_ isfinite isinf isnan isreal isclose nan_to_num multiply multiply_ divide
    divide_ subtract subtract_ negative negative_ greater greater_ greater_equal greater_equal_ less less_ less_equal
    less_equal_ not_equal not_equal_ arcsin arccos arctan arcsinh arccosh arctanh arctan2 fix fix_ softsign prelu
    complex polar
    """
)(pointwise)
rule("expit logit entr erf erfc erfinv exp2 expm1 log1p xlogy", home=(torch.special,))(pointwise)
rule(
    """
    __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __rtruediv__
    __itruediv__ __div__ __rdiv__ __idiv__ __floordiv__ __rfloordiv__ __ifloordiv__ __mod__ __rmod__ __imod__
    __pow__ __rpow__ __ipow__ __neg__ __abs__ __invert__ __and__ __rand__ __iand__ __or__ __ror__ __ior__ __xor__
    __rxor__ __ixor__ __lt__ __le__ __gt__ __ge__ __eq__ __ne__ __lshift__ __rshift__
    """,
    home=(Tensor,),
)(pointwise)


@rule("new_zeros new_ones new_full new_empty", home=(Tensor,))
def _new(x, result, *args, **kwargs):
    """An empty volume of the same size is on the same grid; of another size on none."""
    return x.grid if tuple(result.shape) == tuple(x.shape) else None


def _setitem(args):
    """``x[index] = value`` takes the grid from ``x`` where the value is a volume, slice or row on another one."""
    x, index, value = args
    grid = current_grid(x)
    if grid is None or not is_tracked(value) or value.ndim == 0 or (value.ndim == 1 and _is_boolean(index)):
        return  # numbers: t[t > 3] *= 2
    target, source = Operand(grid, x.shape).at(index), current_grid(value)
    if target is not None and source is not None:
        common = common_grid(target, source, max(x.ndim, value.ndim) - 3)
        if isinstance(common, np.ndarray):
            common = None if any(entry is None for entry in common.flat) else common
        if common is not None:
            return
    invalidate_grid(x)


def _is_boolean(index):
    return getattr(index, "dtype", None) in (torch.bool, np.bool_)


def _set_data(args):
    """``x.data = value``: other memory, with the grid of that."""
    x, value = args
    attach_grid(x, current_grid(value))


# operations that change a tensor and return nothing
MUTATION_RULES = {
    Tensor.__setitem__: _setitem,
    Tensor.data.__set__: _set_data,
}
