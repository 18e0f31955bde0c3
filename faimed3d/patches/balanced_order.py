"""``BalancedOrder``: the cases of an epoch, of rare classes as many as of others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class BalancedOrder:
    """The order of an epoch, from torch's random numbers: ``torch.manual_seed`` repeats it.

    Of a class all items come once before one comes again.

    Args:
        classes: number of the class of each item.
        share: of the items of an epoch that are drawn with each class as often as any other, 0 to 1. The others are
            drawn from all items alike.

    Raises:
        ValueError: ``share`` is none.

    >>> order = BalancedOrder([0, 0, 0, 0, 0, 1], share=1.0)
    >>> sum(number == 5 for number in order(range(6)))  # the one item of class 1
    3
    """

    def __init__(self, classes: Sequence[int], share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"oversampling is a share of the cases of an epoch, 0 to 1; got {share!r}")
        self.share, self.count = share, len(classes)
        numbers = torch.tensor(classes)
        self.members = [(numbers == one).nonzero().flatten() for one in numbers.unique()]

    def __call__(self, items: Sequence[int]) -> list[int]:
        """Numbers of the items of an epoch, as many as there are.

        Args:
            items: all of them, 0, 1, ...: those of other loaders are none that this order was made for.
        """
        if len(items) != self.count:
            raise ValueError(f"the order is one of {self.count} items, got {len(items)}")
        balanced = round(self.share * self.count)
        kinds = torch.randperm(len(self.members)).tolist()  # which classes come once more, where it does not come out
        counts = [balanced // len(kinds) + (place < balanced % len(kinds)) for place in range(len(kinds))]
        drawn = [_in_turn(self.members[kind], count) for kind, count in zip(kinds, counts, strict=True)]
        numbers = torch.cat([*drawn, torch.randperm(self.count)[balanced:]])
        return [items[number] for number in numbers[torch.randperm(self.count)].tolist()]


def _in_turn(members: Tensor, count: int) -> Tensor:
    """So many of some items: all of them once, in any order, before one comes again."""
    turns = -(-count // len(members))
    return torch.cat([members[torch.randperm(len(members))] for _ in range(turns)] or [members[:0]])[:count]
