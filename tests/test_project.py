"""The rules of the house, checked: floors, one hardware room, style, types, the README's two commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "vitruvian"
FLOORS = {
    0: ("errors", "boxes", "cache", "stages", "bundled", "data"),
    1: ("models", "tasks", "media", "hardware", "people", "plots", "following", "animation"),
    2: ("zoo", "fit", "hub", "hub_client", "licences", "weights", "catalogue", "catalogue_details", "readback"),
    3: ("training", "datasets", "running", "audit", "artefacts", "generation"),
    4: (
        *("planning", "inference_plan", "zoo_plan", "network_stage", "predict", "picture_cameras", "metric_scaling"),
        *("load_wish", "loading", "importing", "driving"),
        *("videos", "progress", "run_document", "jobs", "coco", "precision_choice", "exporting", "compiled_loading"),
    ),
    5: (
        "animating",
        "demo",
        "demo_animate",
        "demo_fit",
        "kept",
        "doctor",
        "bench",
        "verification",
        "evaluation",
        "finetuning",
    ),
    6: ("cli", "__init__"),
    7: ("__main__",),
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
ROOM_FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "vitruvian":
            names |= {f"vitruvian.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("vitruvian.") and not name.endswith("__version__")}


@pytest.mark.parametrize("path", ROOM_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_imports_from_above_or_beside(path: Path) -> None:
    room = room_of(path)
    floor = FLOOR_OF[room]
    for other in imported_rooms(path) - {room}:
        assert FLOOR_OF[other] <= floor, f"{room} (floor {floor}) imports {other} (floor {FLOOR_OF[other]})"
        assert not (floor == FLOOR_OF[other] == 1), f"{room} imports its neighbour {other}"
    if room == "fit":
        assert imported_rooms(path) <= {"fit", "hardware", "errors", "cache"}


@pytest.mark.parametrize("path", ROOM_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_hardware_room_asks_devices(path: Path) -> None:
    if room_of(path) == "hardware":
        return
    asked = re.search(
        r"\.cuda\(|is_available\(|set_default_dtype|torch\.accelerator|torch\.cuda\.|get_capabilities|sched_getaffinity"
        r"|cpu_count",
        path.read_text(encoding="utf-8"),
    )
    assert asked is None, f"{asked and asked[0]} belongs to hardware/"


@pytest.mark.parametrize("path", ROOM_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_style_and_types_are_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_begins_with_two_commands_of_one_line() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    first, second = blocks[:2]
    assert [first[0], second[0]] == ["sh", "sh"]
    assert all(block[1].count("\n") == 1 for block in (first, second))
    assert "vitruvian demo" in first[1]
    assert "pytest" in second[1]


def test_help_does_not_import_torch() -> None:
    code = "import sys; from vitruvian.cli.main import app; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
