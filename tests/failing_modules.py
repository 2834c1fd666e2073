"""Small networks that a backend of today's torch really refuses, each for one reason; the line that does it is marked.

Inputs are (B, 8) float32; every network computes in eager at any batch that its own code allows.
"""

from __future__ import annotations

import inspect
import logging
import zlib
from typing import Any

import torch
from torch import Tensor, nn

MARK = "# the line"
_log = logging.getLogger(__name__)


@torch.library.custom_op("vitruvian_tests::without_shape", mutates_args=())
def without_shape(x_BD: Tensor) -> Tensor:
    """An operator that nobody can run on shapes alone."""
    return x_BD * 2


@torch.library.custom_op("vitruvian_tests::only_here", mutates_args=())
def only_here(x_BD: Tensor) -> Tensor:
    """An operator that torch knows and no file format does."""
    return x_BD * 2


only_here.register_fake(torch.empty_like)


def marked_line(module: nn.Module) -> int:
    """Number of the line that is to blame."""
    lines, first = inspect.getsourcelines(type(module))
    return first + next(place for place, line in enumerate(lines) if MARK in line)


class Plain(nn.Module):
    """A network without any fault."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x_BD: Tensor) -> Any:
        return self.linear(x_BD)


class BranchOnValue(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        x_BD = self.linear(x_BD)
        if x_BD.sum() > 0:  # the line
            return x_BD + 1
        return x_BD - 1


class BranchOnItem(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        top = x_BD.max().item()
        return self.linear(x_BD) / top if top > 1 else self.linear(x_BD)  # the line


class BranchOnCount(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        found = (self.linear(x_BD) > 0).nonzero()
        if found.shape[0] == 0:  # the line
            return x_BD
        return x_BD + 1


class ItemAsLength(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        for _ in range(int(x_BD[0, 0].abs().item()) + 1):  # the line
            x_BD = self.linear(x_BD)
        return x_BD


class SortsByValue(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        columns = self.linear(x_BD).unbind(1)
        return torch.stack(sorted(columns, key=lambda column_B: column_B.sum()))  # the line


class FixedReshape(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return self.linear(x_BD).view(2, -1)  # the line


class LoopsOverBatch(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return torch.stack([self.linear(row_D) for row_D in x_BD])  # the line


class ComparesBatch(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        if x_BD.shape[0] > 4:  # the line
            return self.linear(x_BD) + 1
        return self.linear(x_BD)


class TableByBatch(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.tables = {length: torch.zeros(8) for length in range(9)}

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.linear(x_BD) + self.tables[x_BD.shape[0]]  # the line


class Prints(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        x_BD = self.linear(x_BD)
        print("mean", x_BD.mean())  # the line
        return x_BD


class Logs(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        x_BD = self.linear(x_BD)
        _log.info("mean %s", x_BD.mean())  # the line
        return x_BD


class FormatsValue(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        x_BD = self.linear(x_BD)
        self.title = f"mean {x_BD.mean():.3f}"  # the line
        return x_BD


class ThroughNumpy(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        checksum = zlib.crc32(x_BD.numpy().tobytes())  # the line
        return self.linear(x_BD) * checksum


class CallsCompiledCode(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        import cv2

        blurred = cv2.GaussianBlur(x_BD.numpy(), (3, 3), 1.0)  # the line
        return self.linear(torch.from_numpy(blurred))


class BreaksTheGraph(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        x_BD = self.linear(x_BD)
        torch._dynamo.graph_break()  # the line
        return x_BD


class OperatorWithoutShape(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return without_shape(self.linear(x_BD))  # the line


class SparseProduct(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return torch.sparse.mm(self.linear.weight.to_sparse(), x_BD.T)  # the line


class OperatorOnlyHere(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return only_here(self.linear(x_BD))  # the line


class Histogram(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return torch.histc(self.linear(x_BD), 8)  # the line


class GivesAnObject(Plain):
    def forward(self, x_BD: Tensor) -> Any:  # the line
        return _Pair(self.linear(x_BD), x_BD)


class _Pair:
    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.first, self.second = first, second


class GivesNone(Plain):
    def forward(self, x_BD: Tensor) -> Any:  # the line
        return self.linear(x_BD), None


class ChangesPlainTensor(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.count = torch.zeros(8)

    def forward(self, x_BD: Tensor) -> Tensor:
        self.count += 1  # the line
        return self.linear(x_BD) * self.count


class KeepsTheBatch(Plain):
    """torch names the line that makes the value, not the one that keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(1, 8))

    def forward(self, x_BD: Tensor) -> Tensor:
        y_BD = self.linear(x_BD)  # the line
        self.last = y_BD
        return y_BD


class ReplacesWeight(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        self.linear.weight.data = self.linear.weight.data * 2  # the line
        return self.linear(x_BD)


class ReshapesInput(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        x_BD.resize_(1, 8)  # the line
        return self.linear(x_BD)


class Counts(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x_BD: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x_BD) * self.calls  # the line


class DerivedWeight(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.doubled = self.linear.weight * 2

    def forward(self, x_BD: Tensor) -> Tensor:
        return x_BD @ self.doubled  # the line


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BD: Tensor) -> Tensor:
        return x_BD * 2


class PythonFunction(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return _Doubled.apply(self.linear(x_BD))  # the line


class MixesTypes(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.linear.bfloat16()

    def forward(self, x_BD: Tensor) -> Tensor:
        return x_BD @ self.linear.weight  # the line


class OtherDevice(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return self.linear(x_BD) + torch.ones(8, device="meta")  # the line


class WrongSizes(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        return self.linear(x_BD) @ torch.ones(3, 3)  # the line


class Complains(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        if x_BD.shape[1] != 9:
            raise ValueError("nine channels are needed")  # the line
        return self.linear(x_BD)


class MakesWeights(Plain):
    def forward(self, x_BD: Tensor) -> Tensor:
        scale = nn.Parameter(torch.ones(8))  # the line
        return self.linear(x_BD) * scale


class Overflows(nn.Module):
    """Finite in float32 and bfloat16, not in float16: the inner width of the second block passes 65504."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(_Block(1.0), _Block(6e4), _Block(1.0))

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.layers(x_BD)


class _Block(nn.Module):
    """x + norm(x), by way of numbers that are larger by the gain."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up = nn.Linear(8, 16, bias=False)
        self.down = nn.Linear(16, 8, bias=False)
        both_WD = torch.cat((torch.eye(8), -torch.eye(8)))
        self.up.weight.data = both_WD * gain
        self.down.weight.data = both_WD.T / gain

    def forward(self, x_BD: Tensor) -> Tensor:
        return x_BD + self.down(torch.relu(self.up(self.norm(x_BD))))
