"""A tiny network of body parts, its weight file, and artefacts of it, written as an export writes them, unverified."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvian import zoo
from vitruvian.artefacts import trust
from vitruvian.artefacts.aoti import keeps_weights
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.folder import seal
from vitruvian.artefacts.ladder import RUNGS
from vitruvian.artefacts.manifest import MANIFEST, WEIGHTS, Backend, Manifest, StoredWeights
from vitruvian.artefacts.pictures import post_inside
from vitruvian.artefacts.reuse import STRUCTURE, structure_of
from vitruvian.artefacts.rung import Built, Draft, Rung
from vitruvian.artefacts.wrapping import PostInside
from vitruvian.fit.precision import Precision
from vitruvian.hardware import Target, target_here
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network
from vitruvian.models.weight_files import sha256_of
from vitruvian.models.weight_files.writing import safetensors_pieces
from vitruvian.weights import find_weights

HEIGHT, WIDTH = 64, 48
CLASSES = 20
MAX_BATCH = 4
CONFIG = SapiensConfig(
    backbone=BackboneConfig(width=32, depth=2, heads=2, mlp_width=64, input_hw=(HEIGHT, WIDTH), patch_padding="corner"),
    head=HeadConfig(kind="seg", channels=CLASSES, deconv_widths=(8,), conv_widths=()),
)
LICENCE = "mine"

_made: dict[str, Path] = {}


def once(root: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is made once for the whole run, whoever asks for it; not to be changed."""
    if name not in _made:
        folder = root.mktemp("small") / name
        make(folder)
        _made[name] = folder
    return _made[name]


def weight_file(path: Path, seed: int = 1) -> Path:
    """The network with noise for weights, as a file that says what it is."""
    network = build_network(CONFIG, "cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0.0, 0.2, generator=generator)
    spec = replace(zoo.MODELS["sapiens-seg-nano"], config=CONFIG, licence=LICENCE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for piece in safetensors_pieces(network.state_dict(), zoo.metadata_of(spec)):
            file.write(piece)
    return path


def network(folder: Path) -> nn.Module:
    """What an artefact's weights belong to, in eager float32."""
    return find_weights(folder / WEIGHTS).build().network.eval().requires_grad_(False)


def pictures(count: int, seed: int = 0) -> Tensor:
    """Normalised input (B,3,H,W)."""
    return torch.randn(count, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def artefact(
    folder: Path, backend: Backend, *, seed: int = 1, with_post: bool = False, reuse: Path | None = None
) -> None:
    """Write one, known to this machine's ledger; `reuse` gives the compiled file."""
    if backend == "aoti" and not keeps_weights():
        pytest.skip("this torch makes no native code that keeps its weights")
    folder.mkdir(parents=True)
    path = weight_file(folder.with_name(f"{folder.name}-source") / "tiny.safetensors", seed)
    shutil.copyfile(path, folder / WEIGHTS)
    one, rung = draft(path, with_post), RUNGS[backend]
    if reuse is None:
        with _quick_compilation():
            built = rung.build(one, folder)
    else:
        built = Built(entry="network.pt2", weights_outside=True)
        shutil.copyfile(reuse / built.entry, folder / built.entry)
    _, data = seal(folder, _manifest(one, path, rung, built))
    trust.remember(data, folder.name)


def _quick_compilation() -> AbstractContextManager[None]:
    """Do not optimise the part that only calls kernels, which halves the time; the kernels stay as they are."""
    from torch._inductor import config

    wanted: dict[str, Any] = {}
    if hasattr(config, "cpp_cache_precompile_headers"):
        wanted["cpp_cache_precompile_headers"] = False  # worth it from the second compilation on
    if hasattr(config.aot_inductor, "compile_wrapper_opt_level"):
        wanted["aot_inductor.compile_wrapper_opt_level"] = "O0"
    return config.patch(wanted)


def draft(path: Path, with_post: bool = False) -> Draft:
    """The network of a weight file on its way into an artefact."""
    found = find_weights(path)
    plain = found.build().network.eval().requires_grad_(False)
    batch = Axis(name="batch", maximum=MAX_BATCH)
    if with_post:
        contract = TensorContract(name="canvas_BHW3", dtype="uint8", shape=(batch, HEIGHT, WIDTH, 3))
        sample = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    else:
        contract = TensorContract(name="x_B3HW", dtype="float32", shape=(batch, 3, HEIGHT, WIDTH))
        sample = pictures(2)
    return Draft(
        name="tiny",
        module=post_inside(plain, found.spec.make_task()) if with_post else plain,
        inputs=(contract,),
        sample=(sample,),
        precision=Precision(),
        device="cpu",
        prefix=PostInside.prefix if with_post else "",
    )


def _manifest(one: Draft, path: Path, rung: Rung, built: Built) -> Manifest:
    found, with_post = find_weights(path), bool(one.prefix)
    with torch.inference_mode():
        outputs = one.module(*one.sample)
    assert one.batch is not None
    return Manifest(
        model="tiny",
        task="seg",
        licence=LICENCE,
        weights_sha256=sha256_of(path),
        source=path.name,
        backend=rung.name,
        precision=one.precision,
        inputs=one.inputs,
        outputs=tuple(
            TensorContract(
                name=name, dtype=str(value.dtype).removeprefix("torch."), shape=(one.batch, *value.shape[1:])
            )
            for name, value in outputs.items()
        ),
        with_post=with_post,
        network=zoo.metadata_of(found.spec),
        preparation=found.spec.make_task().constants(),
        target=target_here("cpu"),
        files={},
        entry=built.entry,
        weights=StoredWeights(prefix=one.prefix),
        options={STRUCTURE: structure_of(one)} if built.entry else {},
        version="0",
    )


def copied(folder: Path, target: Path, /, **changes: Any) -> Path:
    """A copy of an artefact with other fields in its manifest; the ledger does not know it unless nothing changed."""
    shutil.copytree(folder, target)
    if changes:
        path = target / MANIFEST
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    return target


def document(folder: Path) -> dict[str, Any]:
    """The manifest of an artefact as plain containers."""
    read: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return read


def known(folder: Path) -> Path:
    """The same folder, entered into the ledger as it is now."""
    trust.remember((folder / MANIFEST).read_bytes(), folder.name)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, byte for byte."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def target(**fields: Any) -> Target:
    """An imagined machine: Linux on x86-64 with AVX2, torch for the CPU."""
    plain: dict[str, Any] = {
        "torch": "2.13.0+cpu",
        "toolkit": "",
        "driver": "",
        "system": "Linux",
        "machine": "x86_64",
        "device": "cpu",
        "device_name": "paper CPU",
        "architecture": "",
        "instructions": ("avx", "avx2", "fma3"),
    }
    return Target(**{**plain, **fields})
