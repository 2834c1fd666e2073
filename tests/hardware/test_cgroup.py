"""Control groups of both versions, nested and mixed, from trees written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitruvian.hardware.cgroup import memory_limits, quota_cores

GIB = 1 << 30
V2 = "0::/system.slice/job.service/inner"
V1 = "9:name=systemd:/x\n4:memory:/docker/abc/inner\n3:cpuset:/\n2:cpu,cpuacct:/docker/abc\n0::/"


def tree(folder: Path, listing: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (folder / "listing").write_text(f"{listing}\n")
    return folder / "cgroup", folder / "listing"


@pytest.mark.parametrize(
    ("listing", "files", "left_gib"),
    [
        pytest.param(V2, {}, [], id="no group limits"),
        pytest.param(V2, {"system.slice/job.service/inner/memory.max": "max"}, [], id="explicitly unlimited"),
        pytest.param(V2, {"system.slice/job.service/inner/memory.max": f"{4 * GIB}"}, [4], id="limit of the own group"),
        pytest.param(
            V2,
            {
                "system.slice/job.service/inner/memory.max": "max",
                "system.slice/job.service/memory.max": f"{8 * GIB}",
                "system.slice/job.service/memory.current": f"{3 * GIB}",
                "system.slice/memory.max": f"{6 * GIB}",
                "other.slice/memory.max": f"{GIB}",
            },
            [5, 6],
            id="limits above, none beside",
        ),
        pytest.param(
            V2,
            {
                "system.slice/job.service/memory.max": f"{8 * GIB}",
                "system.slice/job.service/memory.high": f"{7 * GIB}",
                "system.slice/job.service/memory.current": f"{2 * GIB}",
            },
            [5],
            id="braking counts as a wall",
        ),
        pytest.param("0::/", {"memory.max": f"{2 * GIB}", "memory.current": f"{GIB}"}, [1], id="inside a namespace"),
        pytest.param("0::/../../beside", {"memory.max": f"{2 * GIB}"}, [2], id="a group out of sight"),
        pytest.param("0::/gone", {"memory.max": f"{2 * GIB}"}, [2], id="path of the world outside"),
        pytest.param(
            V1,
            {
                "memory/docker/abc/inner/memory.limit_in_bytes": f"{4 * GIB}",
                "memory/docker/abc/inner/memory.usage_in_bytes": f"{GIB}",
                "memory/docker/memory.limit_in_bytes": f"{2 * GIB}",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "cpuset/memory.limit_in_bytes": "1",
            },
            [3, 2, 9223372036854771712 / GIB],
            id="version 1, nested",
        ),
        pytest.param(
            V1,
            {"memory/memory.limit_in_bytes": f"{4 * GIB}", "memory/memory.usage_in_bytes": f"{GIB}"},
            [3],
            id="version 1, container's own mount",
        ),
        pytest.param(
            "4:memory:/job\n0::/job",
            {"memory/job/memory.limit_in_bytes": f"{4 * GIB}", "unified/job/memory.max": f"{3 * GIB}"},
            [4, 3],
            id="hybrid",
        ),
        pytest.param(
            "5:hugetlb,memory:/job", {"hugetlb,memory/job/memory.limit_in_bytes": f"{GIB}"}, [1], id="shared mount"
        ),
        pytest.param("nonsense", {"memory.max": "nonsense"}, [], id="nonsense"),
    ],
)
def test_every_limit_on_the_way_to_the_root_is_found(
    tmp_path: Path, listing: str, files: dict[str, str], left_gib: list[float]
) -> None:
    limits = memory_limits(*tree(tmp_path, listing, files))
    assert [limit.left_bytes / GIB for limit in limits] == left_gib


@pytest.mark.parametrize(
    ("stat", "held_gib"),
    [
        pytest.param("", 5, id="nothing known"),
        pytest.param(f"inactive_file {GIB}", 4, id="cache read once"),
        pytest.param(f"inactive_file {GIB}\nactive_file {2 * GIB}", 2, id="cache read twice"),
        pytest.param(
            f"inactive_file {GIB}\nactive_file {2 * GIB}\nfile_mapped {GIB}", 3, id="what is mapped is in use"
        ),
        pytest.param(f"active_file {GIB}\nfile_mapped {3 * GIB}", 5, id="mapped memory that is no cache"),
        pytest.param(f"inactive_file {9 * GIB}", 0, id="counters that disagree for a moment"),
        pytest.param("inactive_file many", 5, id="nonsense"),
    ],
)
def test_file_cache_is_not_held(tmp_path: Path, stat: str, held_gib: int) -> None:
    files = {"memory.max": f"{8 * GIB}", "memory.current": f"{5 * GIB}", "memory.stat": stat}
    [limit] = memory_limits(*tree(tmp_path, "0::/", files))
    assert limit.held_bytes == held_gib * GIB
    assert limit.left_bytes == (8 - held_gib) * GIB


def test_version_1_counts_the_groups_below(tmp_path: Path) -> None:
    stat = (
        f"inactive_file 1\nactive_file 1\nmapped_file 1\ntotal_inactive_file {GIB}\n"
        f"total_active_file {GIB}\ntotal_mapped_file 0"
    )
    files = {
        "memory/memory.limit_in_bytes": f"{8 * GIB}",
        "memory/memory.usage_in_bytes": f"{5 * GIB}",
        "memory/memory.stat": stat,
    }
    [limit] = memory_limits(*tree(tmp_path, "4:memory:/", files))
    assert limit.held_bytes == 3 * GIB


@pytest.mark.parametrize(
    ("listing", "files", "cores"),
    [
        (V2, {}, None),
        (V2, {"system.slice/job.service/cpu.max": "max 100000"}, None),
        (V2, {"system.slice/job.service/cpu.max": "250000 100000"}, 2.5),
        (
            V2,
            {"system.slice/job.service/inner/cpu.max": "800000 100000", "system.slice/cpu.max": "150000 100000"},
            1.5,
        ),
        (V1, {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "50000"}, None),
        (
            V1,
            {
                "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/docker/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        (V1, {"cpu/docker/cpu.cfs_quota_us": "100000", "cpu/docker/cpu.cfs_period_us": "100000"}, 1.0),
        (V2, {"cpu.max": "100000 0"}, None),
    ],
)
def test_the_tightest_quota_counts(tmp_path: Path, listing: str, files: dict[str, str], cores: float | None) -> None:
    assert quota_cores(*tree(tmp_path, listing, files)) == cores


def test_without_a_listing_the_root_is_asked(tmp_path: Path) -> None:
    root, listing = tree(tmp_path, "", {"memory.max": f"{GIB}", "cpu.max": "200000 100000"})
    listing.unlink()
    assert [limit.limit_bytes for limit in memory_limits(root, listing)] == [GIB]
    assert quota_cores(root, listing) == 2.0
    assert memory_limits(tmp_path / "none", listing) == ()
