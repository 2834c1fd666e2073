"""AdamW for what torch's own cannot do: moments in host memory, bfloat16 weights that learn from small steps.

In: parameters with gradients. Out: updated parameters. Float32 parameters get exactly what fused `AdamW` computes.
bfloat16 ones are updated in float32 and rounded stochastically, their moments, too: a second moment that is rounded to
the nearest would never fall, since a step takes 0.001 of it and bfloat16 sees 0.004. Memory on the device: moments in
the parameters' type, or none (`on_host`), and 100 MB of scratch at most for bfloat16.

With moments on the host, float32 parameters are updated there: gradients and weights travel down, weights up, 12 bytes
a parameter, through a copy of one at a time. bfloat16 ones are updated on the device, where random numbers are cheap (a
host draws 16 ns worth of them for a parameter, one after the other): moments travel up and down, 8 bytes a parameter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from vitruvian.errors import UsageError
from vitruvian.training.stochastic_rounding import round_stochastically

PIECE = 1 << 22
"""Elements of a bfloat16 parameter that are updated together."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Named as torch names them."""


class CarefulAdamW(Optimizer):
    """AdamW (Loshchilov and Hutter 2019) with moments wherever they are wanted.

    Random numbers come from a generator of its own, seeded anew for every update of a parameter by the seed (kept in
    the groups), the parameter's place and its step (kept in the state): whatever saves groups and state, a resumed
    training rounds as an uninterrupted one.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        on_host: bool = False,
        seed: int = 0,
    ) -> None:
        """Take charge of parameters; the moments are made by the first step.

        Args:
            groups: parameters of one device, float32 or bfloat16, with `weight_decay` each.
            lr: learning rate of groups without one.
            betas: decay of the moments.
            eps: added to the root of the second moment.
            on_host: moments in host memory; float32 parameters are updated by the host's processor.
            seed: of the rounding.

        Raises:
            UsageError: parameters of another type, or on several devices.
        """
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "seed": seed})
        device = _device_of(list(self._parameters()), on_host=on_host)
        self._on_host = on_host
        self._generator = torch.Generator(device)
        self._place = {parameter: index for index, parameter in enumerate(self._parameters())}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Raises:
            UsageError: a closure is given; the gradients are the caller's.
        """
        if closure is not None:
            raise UsageError("got a closure for an optimiser that takes gradients as they are; expected none")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self._state_of(parameter)
                weight, gradient = _local(parameter), _local(parameter.grad)
                if gradient.stride() != weight.stride():
                    gradient = torch.empty_like(weight).copy_(gradient)
                self._seed(group.get("seed", self.defaults["seed"]), self._place[parameter], state["step"])
                update = self._update_away if self._on_host else self._update
                update(weight, gradient, state, group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as the optimiser that gave this state dict would.

        The base class would take the moments to the parameters' device, where they may not fit.

        Raises:
            ValueError: the state dict of other parameters.
        """
        super().load_state_dict(state_dict | {"state": {}})
        saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        for key, parameter in zip(saved, self._parameters(), strict=True):
            if key in state_dict["state"]:
                self.state[parameter] = self._placed(parameter, state_dict["state"][key])

    def _seed(self, seed: int, place: int, step: Tensor) -> None:
        digest = hashlib.blake2b(f"{seed} {place} {step.item():.0f}".encode(), digest_size=8).digest()
        self._generator.manual_seed(int.from_bytes(digest, "big"))

    def _placed(self, parameter: nn.Parameter, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        moments = {key: self._moment(parameter).copy_(saved[key]) for key in MOMENTS}
        return {"step": saved["step"].to("cpu", copy=True), **moments}

    def _moment(self, parameter: nn.Parameter) -> Tensor:
        """Zeros laid out as the parameter, which the fused kernel relies on."""
        # Not pinned: whole moments in such blocks would take up to twice their size.
        return torch.zeros_like(parameter, device="cpu") if self._on_host else torch.zeros_like(parameter)

    def _parameters(self) -> Iterator[nn.Parameter]:
        return chain.from_iterable(group["params"] for group in self.param_groups)

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            for key in MOMENTS:
                state[key] = self._moment(parameter)
        return state

    def _update_away(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        """One parameter whose moments lie on the host."""
        if weight.dtype == torch.bfloat16:
            moments = {key: state[key].to(weight.device, copy=True) for key in MOMENTS}
            self._update(weight, gradient, {**moments, "step": state["step"]}, group)
            for key, moment in moments.items():
                state[key].copy_(moment)
            return
        staged = _staged(weight)
        self._update(staged, _staged(gradient), state, group)
        weight.copy_(staged)

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        """One parameter, all tensors on the device that computes."""
        mean, square = (_local(state[key]) for key in MOMENTS)
        if weight.dtype == torch.bfloat16:
            state["step"] += 1
            for piece in _pieces(weight, gradient, mean, square):
                _update_rounded(*piece, step=state["step"].item(), group=group, generator=self._generator)
            return
        adamw(
            [weight],
            [gradient],
            [mean],
            [square],
            [],
            [state["step"]],
            foreach=False,
            fused=weight.device.type == "cpu",  # elsewhere the fused kernel wants the step counter on the device
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _update_rounded(
    weight: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    step: float,
    group: dict[str, Any],
    generator: torch.Generator,
) -> None:
    beta1, beta2 = group["betas"]
    gradient32 = gradient.float()
    mean32 = mean.float().lerp_(gradient32, 1 - beta1)
    square32 = square.float().mul_(beta2).addcmul_(gradient32, gradient32, value=1 - beta2)
    del gradient32
    mean.copy_(round_stochastically(mean32, generator))
    square.copy_(round_stochastically(square32, generator))
    spread32 = square32.sqrt_().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
    weight32 = weight.float().mul_(1 - group["lr"] * group["weight_decay"])
    weight32.addcdiv_(mean32, spread32, value=-group["lr"] / (1 - beta1**step))
    weight.copy_(round_stochastically(weight32, generator))


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of equal parts of tensors of one shape; whole ones where their memory is not laid out in a row."""
    if not all(tensor.is_contiguous() for tensor in tensors):
        yield tensors
        return
    yield from zip(*(tensor.view(-1).split(PIECE) for tensor in tensors), strict=True)


def _staged(tensor: Tensor) -> Tensor:
    """A copy in host memory that the device reads and writes directly."""
    pinned = tensor.device.type == "cuda"
    return torch.empty_like(tensor, device="cpu", pin_memory=pinned, requires_grad=False).copy_(tensor)


def _local(tensor: Tensor) -> Tensor:
    """This process's share of a sharded tensor, any other one itself."""
    whole: Any = tensor
    return whole.to_local() if _is_sharded(tensor) else tensor


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local")  # to import the class takes a second, and some builds of torch lack it


def _device_of(parameters: list[nn.Parameter], *, on_host: bool) -> torch.device:
    """The one device of parameters that can be updated."""
    devices, dtypes = {parameter.device for parameter in parameters}, {parameter.dtype for parameter in parameters}
    odd = dtypes - {torch.float32, torch.bfloat16}
    if odd or len(devices) != 1:
        raise UsageError(
            f"got parameters in {', '.join(sorted(map(str, dtypes)))} on {', '.join(sorted(map(str, devices)))}; "
            "expected float32 or bfloat16 on one device; train float16 under autocast, with weights in float32"
        )
    if on_host and any(_is_sharded(parameter) for parameter in parameters):
        raise UsageError(
            "got state=host for sharded parameters; expected state=device; give the sharding its own offload policy"
        )
    return devices.pop()
