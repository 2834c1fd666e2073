"""Files made to run code, to exhaust memory or to lie about themselves: nothing runs, and each ends in a refusal or
in placeholders. Pickles are written by instruction, because no honest writer makes them."""

from __future__ import annotations

import contextlib
import copyreg
import io
import pickle
import random
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vitruvian.errors import RefusedError
from vitruvian.models.weight_files import archive, inert_pickle, read_weights, reading

EXTENSION_CODE = 0x77


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8b" + struct.pack("<i", len(data)) + data


def storage(key: str = "0", elements: int = 4, kind: str = "FloatStorage") -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(elements) + b"tQ"


def counts(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(held: bytes | None = None, offset: bytes | None = None, shape: bytes = b"", stride: bytes = b"") -> bytes:
    """Instructions that make a tensor; by default four float32 values."""
    layout = (offset or number(0)) + (shape or counts(4)) + (stride or counts(1))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + (held or storage()) + layout + b"\x89)tR"


def checkpoint(evil: bytes = b"N", weight: bytes | None = None) -> bytes:
    """A pickle of {"state_dict": {"w": weight}, "evil": evil}."""
    inner = b"}" + text("w") + (weight or tensor()) + b"s"
    return b"\x80\x02}(" + text("state_dict") + inner + text("evil") + evil + b"u."


def write(path: Path, table: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """A torch archive around a pickle, with one storage of 1, 2, 3, 4."""
    with zipfile.ZipFile(path, "w", compression) as out:
        out.writestr("m/data.pkl", table)
        out.writestr("m/data/0", struct.pack("<4f", 1, 2, 3, 4))
    return path


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """A file that appears when something runs."""
    return tmp_path / "ran"


@pytest.fixture
def command(sentinel: Path) -> bytes:
    return text(f"echo > {sentinel}")


@pytest.fixture
def _extension() -> Iterator[None]:
    copyreg.add_extension("os", "system", EXTENSION_CODE)
    yield
    copyreg.remove_extension("os", "system", EXTENSION_CODE)


CALLS = {
    "reduce": b"cos\nsystem\n%s\x85R",
    "reduce with marked tuple": b"cos\nsystem\n(%stR",
    "stack global": b"\x8c\x02os\x8c\x06system\x93%s\x85R",
    "memoized": b"cos\nsystem\nq\x050h\x05%s\x85R",
    "inst": b"(%sios\nsystem\n",
    "obj": b"(cos\nsystem\n%so",
    "extension": b"\x82" + bytes([EXTENSION_CODE]) + b"%s\x85R",
    "nested": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n\x8c\x02os\x85R\x8c\x06systemtR%s\x85R",
    "state setter": b"ctypes\nSimpleNamespace\n)\x81}\x8c\x01xcos\nsystem\n%s\x85Rsb",
    "ordered dict of a call": b"ccollections\nOrderedDict\ncbuiltins\nmap\n(cos\nsystem\n](%setR\x85R",
}


@pytest.mark.usefixtures("_extension")
@pytest.mark.parametrize("name", CALLS)
def test_calls_do_not_run(tmp_path: Path, sentinel: Path, command: bytes, name: str) -> None:
    evil = CALLS[name] % command
    found = read_weights(write(tmp_path / "m.pth", checkpoint(evil)))
    assert found.tensors["w"].tolist() == [1, 2, 3, 4]
    with pytest.raises(RefusedError, match="no table of tensors"):
        read_weights(write(tmp_path / "root.pth", b"\x80\x04" + evil + b"."))
    (tmp_path / "bare.pth").write_bytes(b"\x80\x04" + evil + b".")
    with pytest.raises(RefusedError, match="a pickle that torch did not write"):
        read_weights(tmp_path / "bare.pth")
    assert not sentinel.exists()


@pytest.mark.usefixtures("_extension")
@pytest.mark.parametrize("name", CALLS)
def test_the_same_pickles_do_run_in_an_ordinary_reader(sentinel: Path, command: bytes, name: str) -> None:
    """So that the sentinel is known to notice."""
    with contextlib.suppress(TypeError):  # what is run returns a number, which one of them cannot go on with
        pickle.loads(b"\x80\x04" + CALLS[name] % command + b".")
    assert sentinel.exists()


PLACEHOLDERS = {
    "new object with keywords": b"csubprocess\nPopen\n)}\x92",
    "new object": b"csubprocess\nPopen\n)\x81",
    "state on a name": b"cos\n_exit\n}b",
    "state for slots": b"cpathlib\nPath\n)\x81N}\x8c\x09__class__cos\n_exit\ns\x86b",
    "items on an object": b"cos\n_Environ\n)\x81\x8c\x04PATH\x8c\x00s",
    "elements on an object": b"ccollections\ndeque\n)R(K\x01K\x02e",
    "subclass by a foreign function": b"ctorch._tensor\n_rebuild_from_type_v2\n"
    b"(cos\nsystem\nctorch\nTensor\n\x8c\x01x\x85NtR",
    "text persistent id": b"Pos.system\n",
    "odd persistent id": b"(\x8c\x07storageNtQ",
    "unhashable key": b"}]K\x01s",
    "bytes of protocol 2": b"c_codecs\nencode\n\x8c\x01x\x8c\x06latin1\x86R",
    "set of lists": b"\x8f(]]\x90",
    "deeply nested key": b"}" + b")" + b"\x85" * 300_000 + b"K\x01s",
    "deeply nested list": b"]" * 300_000 + b"a" * 299_999,
    "far memo": b"Nr\xff\xff\xff\xff",
    "huge frame": b"\x95" + b"\xff" * 7 + b"\x7fN",
}


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_odd_values_become_placeholders(tmp_path: Path, name: str) -> None:
    found = read_weights(write(tmp_path / "m", checkpoint(PLACEHOLDERS[name])))
    assert found.tensors["w"].tolist() == [1, 2, 3, 4]


DAMAGE = {
    "text longer than everything": b"\x8d" + struct.pack("<Q", 2**62),
    "bytes longer than everything": b"\x8e" + struct.pack("<Q", 2**40),
    "number longer than everything": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "number of negative length": b"\x8b" + struct.pack("<i", -5),
    "number in too many digits": b"L" + b"9" * 100_000 + b"L\n",
    "unknown instruction": b"\xfe",
    "missing memo": b"h\x09",
    "empty stack": b"0" * 20,
    "call on a mark": b"(R",
    "items on a number": b"K\x01NNs",
    "elements on a mapping": b"}Na",
    "odd number of items": b"}(Nu",
    "nameless global": b"K\x01K\x02\x93",
    "out-of-band buffer": b"\x97",
    "not utf-8": b"X\x02\0\0\0\xff\xff",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_pickles_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="damaged"):
        read_weights(write(tmp_path / "m", checkpoint(DAMAGE[name])))


FAR = 2**62
LIES = {
    "negative offset": tensor(offset=number(-1)),
    "offset beyond": tensor(offset=number(1)),
    "offset as a float": tensor(offset=b"G" + struct.pack(">d", 0)),
    "huge offset": tensor(offset=number(2**80)),
    "shape beyond": tensor(shape=counts(5)),
    "stride beyond": tensor(shape=counts(2), stride=counts(4)),
    "stride that wraps around": tensor(shape=counts(3), stride=counts(2**63)),
    "negative stride": tensor(stride=counts(-1)),
    "repeated element": tensor(shape=counts(FAR), stride=counts(0)),
    "huge empty shape": tensor(shape=counts(0, 2**70), stride=counts(1, 1)),
    "shape and stride differ": tensor(shape=counts(2, 2)),
    "shape is no tuple": tensor(shape=text("4")),
    "too many axes": tensor(shape=counts(*[1] * 40), stride=counts(*[1] * 40)),
    "storage shorter than said": tensor(storage(elements=5), shape=counts(5)),
    "storage of negative length": tensor(storage(elements=-4), shape=counts(0)),
    "storage of huge length": tensor(storage(elements=2**70)),
    "storage missing": tensor(storage(key="1")),
    "storage outside": tensor(storage(key="../../../../etc/passwd")),
    "storage is the pickle": tensor(storage(key="../data.pkl")),
    "storage of unknown kind": tensor(storage(kind="QInt8Storage")),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_about_tensors_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match=r"got .*expected"):
        read_weights(write(tmp_path / "m", checkpoint(weight=LIES[name])))


def test_lies_about_what_is_not_used_do_not_matter(tmp_path: Path) -> None:
    found = read_weights(write(tmp_path / "m", checkpoint(evil=LIES["storage missing"])))
    assert list(found.tensors) == ["w"]


def test_number_of_instructions_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inert_pickle, "MAX_PICKLE_STEPS", 1000)
    with pytest.raises(RefusedError, match="more than 1000 instructions"):
        read_weights(write(tmp_path / "m", checkpoint(b"N0" * 1000 + b"N")))


def test_size_of_the_pickle_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m", checkpoint(text("x" * 5000)))
    assert read_weights(path).tensors
    monkeypatch.setattr(reading, "MAX_PICKLE_BYTES", 4000)
    with pytest.raises(RefusedError, match="4000 are the limit"):
        read_weights(path)
    older = tmp_path / "older"
    torch.save({"w": torch.ones(2), "long": "x" * 5000}, older, _use_new_zipfile_serialization=False)
    monkeypatch.setattr(inert_pickle, "MAX_PICKLE_BYTES", 4000)
    with pytest.raises(RefusedError, match="larger than 4000 bytes"):
        read_weights(older)


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m", checkpoint(text("0" * 10**6)), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**4
    with pytest.raises(RefusedError, match=r"compressed.*zip -0"):
        read_weights(path)


def test_compressed_inner_archive_is_refused(tmp_path: Path) -> None:
    inner = io.BytesIO()
    torch.save({"w": torch.ones(2)}, inner)
    with zipfile.ZipFile(tmp_path / "m", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("serialized_state_dict.pt", inner.getvalue())
    with pytest.raises(RefusedError, match="compressed"):
        read_weights(tmp_path / "m")


def test_table_of_members_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m", checkpoint())
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 90)
    with pytest.raises(RefusedError, match="table of members"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_equal_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m", checkpoint())
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("m/data/0", bytes(16))
    with pytest.raises(RefusedError, match="same name"):
        read_weights(path)


@pytest.mark.parametrize(
    ("field_offset", "value"),
    [(20, 2**31), (42, 2**30), (42, 7)],
    ids=["more bytes than the file", "outside the file", "not at a header"],
)
def test_directories_that_lie_are_refused(tmp_path: Path, field_offset: int, value: int) -> None:
    path = write(tmp_path / "m", checkpoint())
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + field_offset, value)
    if field_offset == 20:
        struct.pack_into("<I", data, entry + 24, value)
    path.write_bytes(data)
    with pytest.raises(RefusedError, match="damaged archive"):
        read_weights(path)


SELF = b"c__torch__\nNet\n)\x81q\x00}" + text("again") + b"h\x00sb."
DIAMOND = (
    b"c__torch__\nNet\n)\x81q\x00}"
    + text("w")
    + b"Nsb0"
    # each level holds the one below twice: 2^40 paths
    + b"".join(
        b"c__torch__\nNet\n)\x81q%c}(%sh%c%sh%cub0" % (level, text("a"), level - 1, text("b"), level - 1)
        for level in range(1, 41)
    )
    + b"h\x28."
)


@pytest.mark.parametrize("table", [SELF, DIAMOND], ids=["contains itself", "shared at every level"])
def test_endless_module_trees_are_refused(tmp_path: Path, table: bytes) -> None:
    with pytest.raises(RefusedError, match="without end"):
        read_weights(write(tmp_path / "m", b"\x80\x02" + table))


def test_big_endian_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m", checkpoint())
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("m/byteorder", "big")
    with pytest.raises(RefusedError, match="big-endian"):
        read_weights(path)


@pytest.mark.parametrize("kind", ["zip", "older", "safetensors"])
def test_random_damage_gives_weights_or_a_refusal(tmp_path: Path, kind: str) -> None:
    rng = random.Random(7)
    path = tmp_path / "w"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.ones(2, dtype=torch.int64)}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "o": {1, 2.5}}, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    refused = 0
    for round_ in range(150):
        data = bytearray(whole)
        for _ in range(1 + round_ % 4):
            data[rng.randrange(len(data))] = rng.randrange(256)
        other = tmp_path / f"w{round_}"
        other.write_bytes(data)
        try:
            for value in read_weights(other).tensors.values():
                value.clone()
        except RefusedError:
            refused += 1
    assert refused > 10
