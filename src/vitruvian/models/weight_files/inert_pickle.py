"""Reads a pickle without running anything: bytes -> plain containers, tensor records and inert placeholders.

`pickletools` splits the stream into instructions, and this file interprets them over data alone: no class is looked
up, imported, called or built. What the instructions name or would call becomes one of `inert_values`.

Cost: one Python step per instruction, a few microseconds each; weight files have 20..40 instructions per tensor.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from vitruvian.errors import RefusedError
from vitruvian.models.weight_files.inert_values import (
    Global,
    Inert,
    StorageRecord,
    hashable,
    label,
    storage_record,
    without_calling,
)

MAX_PICKLE_BYTES = 64 * 10**6
"""Largest pickle that is looked at. The storages lie outside it: the largest published file needs 0.5 MB."""
MAX_PICKLE_STEPS = 10 * 10**6
"""Most instructions that are followed; bounds time and the memory of what they build."""


class _Bounded:
    """The pickle's bytes as `pickletools` wants them, never more than the limit."""

    def __init__(self, stream: BinaryIO, limit_bytes: int) -> None:
        self._stream = stream
        self._left_bytes = limit_bytes
        self._limit_bytes = limit_bytes

    def _take(self, data: bytes) -> bytes:
        self._left_bytes -= len(data)
        return data

    def read(self, count: int) -> bytes:
        """At most `count` bytes; a claim beyond the limit is refused before anything is allocated."""
        if count > self._left_bytes:
            raise RefusedError(
                f"got a pickle that is damaged or larger than {self._limit_bytes} bytes; expected a weight file's "
                "table of contents, which is small; get the file again from its publisher"
            )
        return self._take(self._stream.read(count))

    def readline(self) -> bytes:
        """One line, at most as long as the limit allows."""
        return self._take(self._stream.readline(self._left_bytes))

    def tell(self) -> int:
        """Bytes read so far."""
        return self._limit_bytes - self._left_bytes


def read_pickle(stream: BinaryIO, storages: dict[str, StorageRecord] | None = None) -> Any:
    """Value of the pickle that starts at the stream's position; the stream is left just behind its end.

    `storages` receives every storage that is mentioned, by key, whether or not a tensor of the value uses it.

    Raises:
        RefusedError: the bytes are no whole pickle, exceed the limits, or contradict themselves.
    """
    machine = _Machine({} if storages is None else storages)
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(_Bounded(stream, MAX_PICKLE_BYTES))):  # type: ignore[arg-type]
            if steps >= MAX_PICKLE_STEPS:
                raise RefusedError(
                    f"got a pickle of more than {MAX_PICKLE_STEPS} instructions; expected a weight file, which needs "
                    "a few dozen per tensor; save the weights alone as safetensors"
                )
            machine.step(opcode.name, argument)
        return machine.result
    except (ValueError, OverflowError, IndexError, KeyError, EOFError, struct.error, _DamagedPickle) as error:
        raise RefusedError(
            f"got a damaged pickle ({type(error).__name__}); expected a whole weight file; get the file again"
        ) from error


class _DamagedPickle(Exception):
    """An instruction that does not fit what came before it."""


_MARK = object()


class _Machine:
    """Stack machine of the pickle format over inert values."""

    def __init__(self, storages: dict[str, StorageRecord]) -> None:
        self.result: Any = None
        self._storages = storages
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in _PUSHES_ARGUMENT:
            self._stack.append(argument)
        elif name in _MAKES:
            self._stack.append(_MAKES[name]())
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop_many(_TUPLES[name])))
        else:
            handler = _HANDLERS.get(name)
            if handler is None:
                raise _DamagedPickle(name)
            handler(self, argument)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise _DamagedPickle("mark in place of a value")
        return value

    def _pop_many(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _top(self) -> Any:
        if self._stack[-1] is _MARK:
            raise _DamagedPickle("mark in place of a value")
        return self._stack[-1]

    def stop(self, _: Any) -> None:
        self.result = self._pop()

    def drop(self, _: Any) -> None:
        self._stack.pop()

    def drop_to_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def duplicate(self, _: Any) -> None:
        self._stack.append(self._top())

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def remember(self, index: int) -> None:
        self._memo[index] = self._top()

    def remember_next(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def recall(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def make_list(self, _: Any) -> None:
        self._stack.append(self._pop_to_mark())

    def make_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def make_dict(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._stack.append({})
        self._set_items(values)

    def make_frozenset(self, _: Any) -> None:
        self._stack.append(frozenset(map(hashable, self._pop_to_mark())))

    def set_item(self, _: Any) -> None:
        self._set_items(self._pop_many(2))

    def set_items(self, _: Any) -> None:
        self._set_items(self._pop_to_mark())

    def _set_items(self, keys_and_values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            target = target.items
        if not isinstance(target, dict) or len(keys_and_values) % 2:
            raise _DamagedPickle("items for what is no mapping")
        for key, value in zip(keys_and_values[::2], keys_and_values[1::2], strict=True):
            target[hashable(key)] = value

    def append(self, _: Any) -> None:
        self._extend([self._pop()])

    def extend(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, set):
            target.update(map(hashable, values))
        elif isinstance(target, (list, Inert)):
            (target.elements if isinstance(target, Inert) else target).extend(values)
        else:
            raise _DamagedPickle("elements for what is no sequence")

    def name_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(Global(module, name))

    def name_global_from_stack(self, _: Any) -> None:
        module, name = self._pop_many(2)
        if type(module) is not str or type(name) is not str:
            raise _DamagedPickle("a global without a name")
        self._stack.append(Global(module, name))

    def name_extension(self, code: int) -> None:
        self._stack.append(Inert("a registered extension", args=(code,)))

    def call(self, _: Any) -> None:
        function, args = self._pop_many(2)
        self._stack.append(without_calling(function, args))

    def call_with_keywords(self, _: Any) -> None:
        function, args, keywords = self._pop_many(3)
        self._stack.append(Inert(label(function), args=(args, keywords)))

    def instance_of_named(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(Inert(f"{module}.{name}", args=tuple(self._pop_to_mark())))

    def instance_of_marked(self, _: Any) -> None:
        function, *args = self._pop_to_mark() or [None]
        self._stack.append(Inert(label(function), args=tuple(args)))

    def give_state(self, _: Any) -> None:
        state = self._pop()
        target = self._top()
        # Containers and tensors may carry attributes (module versions, hooks); they are no weights and are dropped.
        if isinstance(target, Inert):
            target.state = state

    def persistent_from_stack(self, _: Any) -> None:
        record = storage_record(self._pop())
        if isinstance(record, StorageRecord):
            self._storages[record.key] = record
        self._stack.append(record)

    def persistent_from_text(self, argument: str) -> None:
        self._stack.append(Inert("a persistent id", args=(argument,)))

    def keep(self, _: Any) -> None:
        """Framing and version marks say nothing about values."""


_NUMBERS = frozenset(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"))
_TEXTS = frozenset(
    ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
)
_BYTES = frozenset(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"))
_PUSHES_ARGUMENT = _NUMBERS | _TEXTS | _BYTES
_MAKES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_HANDLERS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.keep,
    "FRAME": _Machine.keep,
    "STOP": _Machine.stop,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.drop_to_mark,
    "DUP": _Machine.duplicate,
    "MARK": _Machine.mark,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.remember),
    "MEMOIZE": _Machine.remember_next,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "LIST": _Machine.make_list,
    "TUPLE": _Machine.make_tuple,
    "DICT": _Machine.make_dict,
    "FROZENSET": _Machine.make_frozenset,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _Machine.extend),
    "GLOBAL": _Machine.name_global,
    "STACK_GLOBAL": _Machine.name_global_from_stack,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _Machine.name_extension),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.call),
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "INST": _Machine.instance_of_named,
    "OBJ": _Machine.instance_of_marked,
    "BUILD": _Machine.give_state,
    "BINPERSID": _Machine.persistent_from_stack,
    "PERSID": _Machine.persistent_from_text,
}
