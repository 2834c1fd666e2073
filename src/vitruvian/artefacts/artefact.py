"""An artefact that is open: inputs in, outputs by name out, whatever the batch.

`open_artefact` looks at manifest, machine, trust and files, in this order, before anything of it can run. Every call is
checked against the manifest, because compiled code does not check; a batch beyond its range is cut into parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vitruvian.artefacts import trust as ledger
from vitruvian.artefacts.compatibility import require_match
from vitruvian.artefacts.contract import checked
from vitruvian.artefacts.folder import check_files
from vitruvian.artefacts.ladder import RUNGS
from vitruvian.artefacts.manifest import CONSTANTS, WEIGHTS, Manifest, read_manifest
from vitruvian.artefacts.rung import Compiled, Opening
from vitruvian.errors import RefusedError, UsageError
from vitruvian.hardware import probe, target_here


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A network of an artefact's folder on a device."""

    folder: Path
    manifest: Manifest
    device: str
    """torch device string."""
    compiled: Compiled
    """Takes what `checked` let through."""

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Outputs by name for inputs in call order, as the manifest describes both.

        A batch beyond the artefact's range is cut into parts of nearly equal length.

        Raises:
            UsageError: an input of another type, device or shape; says which, and what to do.
        """
        parts = self._parts(inputs)
        if parts is None:
            return dict(self.compiled(*checked(self.manifest.inputs, inputs, self.device)))
        place = next(place for place, contract in enumerate(self.manifest.inputs) if contract.batch)
        return self._joined([self(*part) for part in parts], [len(part[place]) for part in parts])

    def _joined(self, parts: list[dict[str, Tensor]], lengths: list[int]) -> dict[str, Tensor]:
        """Outputs of the whole batch; what has not one row for each input cannot be put together."""
        for part, length in zip(parts, lengths, strict=True):
            odd = next((name for name, value in part.items() if not value.ndim or len(value) != length), None)
            if odd is not None:
                raise UsageError(
                    f"got a batch of {sum(lengths)} for {self.folder.name}, which takes {self.manifest.batch_range[1]} "
                    f"at once and whose output {odd} has no row for each input; expected a batch that it takes at "
                    "once; split it, or export again with a larger --max-batch"
                )
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _parts(self, inputs: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]] | None:
        """The inputs in parts where their batch is too large; None where it is not, or where they do not fit anyway."""
        contracts, (_, largest) = self.manifest.inputs, self.manifest.batch_range
        if largest is None or len(inputs) != len(contracts):
            return None
        lengths = {
            value.shape[0]
            for contract, value in zip(contracts, inputs, strict=True)
            if contract.batch and isinstance(value, Tensor) and value.ndim
        }
        if len(lengths) != 1 or max(lengths) <= largest:
            return None
        count = -(-max(lengths) // largest)
        split = [
            value.tensor_split(count) if contract.batch else (value,) * count
            for contract, value in zip(contracts, inputs, strict=True)
        ]
        return list(zip(*split, strict=True))


def open_artefact(
    folder: str | Path,
    *,
    device: str | None = None,
    trust: bool = False,
    calls_at_once: int = 1,
    module: nn.Module | None = None,
) -> Artefact:
    """Open a folder that an export wrote.

    Args:
        folder: With a `manifest.json`.
        device: torch device string; None: the kind of device it was made for.
        trust: Run code in it although it was not made on this machine.
        calls_at_once: Threads that will call at the same time.
        module: What the weights belong to, for an artefact of your own module that holds weights alone.

    Raises:
        UsageError: no artefact there, or a device that is not here.
        RefusedError: not trusted, changed, damaged, or made for another machine (`MismatchError`).
    """
    folder = Path(folder).absolute()  # `.` has no name
    manifest, data = read_manifest(folder)
    rung = RUNGS[manifest.backend]
    device = device_for(manifest, device)
    require_match(rung, manifest.target, target_here(device), folder.name, manifest.source)
    if rung.executes and not trust:
        ledger.require(data, folder.name)
    check_files(folder, manifest.files)
    opening = Opening(
        folder=folder,
        manifest=manifest,
        device=device,
        weights=partial(_weights, folder, manifest, device),
        calls_at_once=calls_at_once,
        module=module,
    )
    return Artefact(folder=folder, manifest=manifest, device=device, compiled=rung.open(opening))


def device_for(manifest: Manifest, device: str | None) -> str:
    """Where an artefact runs: as asked; else on the kind of device it was made for; where that is not here, on the
    first accelerator or the CPU.

    Raises:
        UsageError: the device that was asked for is not here.
    """
    if device is None:
        kinds = {one.kind for one in (*probe().accelerators, probe().cpu)}
        device = manifest.target.device if manifest.target.device in kinds else probe().default_device
    return probe().device(device).device


def _weights(folder: Path, manifest: Manifest, device: str) -> dict[str, Tensor]:
    """Weights in the types the compiled file takes, and its constants, by its own names."""
    stored = manifest.weights
    if stored is None:
        return {}
    kept = frozenset(stored.kept_float32)
    found = {
        stored.prefix + name: _typed(value, name in kept, manifest.precision.torch_dtype).to(device)
        for name, value in _tensors(folder / WEIGHTS).items()
    }
    if CONSTANTS in manifest.files:
        found |= {name: value.to(device) for name, value in _tensors(folder / CONSTANTS).items()}
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise RefusedError(
            f"got {path.name}, which is no safetensors file ({str(error)[:200]}); expected the one that the export "
            "wrote; export the model again"
        ) from error


def _typed(value: Tensor, keep: bool, dtype: torch.dtype) -> Tensor:
    if value.dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        return value
    return value.to(torch.float32 if keep else dtype)
