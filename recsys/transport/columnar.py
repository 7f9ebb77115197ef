"""Messages that are mostly arrays: the arrays' memory end to end, behind one head in MessagePack with all else.

An array inside MessagePack takes a call into Python on both ends. A message has a dozen of them, which with one request
in a batch cost more than what they hold.

| part | what it is |
| --- | --- |
| 8 bytes each | the loose numbers as float64, little-endian, NaN for None: others can be put in their place |
| 4 bytes | length of the head, little-endian |
| head | dtypes, empty where they are as annotated; shapes; then the other fields |
| up to 7 zeros | the arrays begin at a multiple of 8 |
| memory | of the arrays in C order, those of the longest items first |
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec
import numpy as np
from msgspec.structs import FieldInfo, fields

from recsys.columns import StringColumn

T = TypeVar("T", bound=msgspec.Struct)

Shapes = tuple[tuple[int, ...], ...]

_SIZE = struct.Struct("<I")
_SHORT, _HEADS = 8192, 256
"""Bytes of a head that is kept, and how many are: three rules with a hundred items each have 4 KB."""
_LASTING = 64
"""Values of a lasting field that are kept."""
_COPIED = 1024
"""Items under which an array is copied one time more: to ask numpy for its buffer takes longer."""


class Columnar(Generic[T]):
    """Writes and reads one kind of struct, whose fields are arrays, string columns, and what MessagePack knows.

    `loose`: names of fields that are numbers, or None, and that `renewed` puts others in the place of.

    `repeated`: messages often have the same head, and no field in it that somebody may change: what it says is kept.

    `lasting`: names of fields that are tuples of the same long objects in one message after another, which nobody
    changes: their encoding is kept, and what was read of it.

    `fit` returns the shapes that the arrays of a message must have, in the order of `names`, from its head: `shapes`
    says which they have, and the other fields are attributes.
    """

    def __init__(
        self,
        kind: type[T],
        encode: Callable[[object], bytes],
        fit: Callable[[Any], Shapes],
        loose: Sequence[str] = (),
        lasting: Sequence[str] = (),
        *,
        repeated: bool = False,
    ) -> None:
        """`encode`: to MessagePack."""
        own = fields(kind)
        hints = {field.name: field.type for field in own}
        arrays: list[tuple[str, np.dtype[Any]]] = []
        for name in (field.name for field in own):
            if hints[name] is StringColumn:
                arrays += [(f"{name}.{part}", dtype) for part, dtype in _STRINGS]
            elif get_origin(hints[name]) is np.ndarray:
                arrays.append((name, _dtype(hints[name])))
        arrays.sort(key=lambda array: -array[1].itemsize)
        self.names = [name for name, _ in arrays]
        """Of the arrays, in the order of the message."""
        self._dtypes = [dtype for _, dtype in arrays]
        others = [field for field in own if hints[field.name] is not StringColumn and field.name not in self.names]
        others = [field for field in others if field.name not in loose]
        self._loose = [(name, type(None) in get_args(hints[name])) for name in loose]
        """With whether None is one of its values."""
        self._numbers = struct.Struct(f"<{len(loose)}d")
        head = [(f.name, msgspec.Raw if f.name in lasting else hints[f.name], *_default(f)) for f in others]
        told = ("dtypes", tuple[str, ...]), ("shapes", Shapes)
        self._head: Any = msgspec.defstruct(kind.__name__, [*told, *head])
        self._decode_head = msgspec.msgpack.Decoder(self._head).decode
        parts = {name: name for name in self.names if "." not in name}
        parts |= {name: f"{name}.buffers" for name in (field.name for field in own) if hints[name] is StringColumn}
        self._parts_of = attrgetter(*parts.values())
        """The arrays, and of each string column both of its own."""
        self._picked = [
            (list(parts).index(name), -1 if not part else [one for one, _ in _STRINGS].index(part))
            for name, _, part in (name.partition(".") for name in self.names)
        ]
        """For each array the place among the parts, and in a string column's; -1: it is none of those."""
        self._others_of = attrgetter(*(field.name for field in others))
        self._encode, self._fit, self._kind = encode, fit, kind
        self._lasting = [
            (place, Lasting(field.name, hints[field.name], encode))
            for place, field in enumerate(others)
            if field.name in lasting
        ]
        self._repeated = repeated
        self._kept: dict[bytes, tuple[Shapes, Sequence[Any]]] = {}
        """What was read of heads."""
        places = {name: place for place, name in enumerate([*self.names, *(field.name for field in others)])}
        self._strings = [
            tuple(places.pop(f"{field.name}.{part}") for part, _ in _STRINGS)
            for field in own
            if hints[field.name] is StringColumn
        ]
        """Places of the two arrays of each string column."""
        behind = len(arrays) + len(others)
        columns = [field.name for field in own if hints[field.name] is StringColumn]
        places |= {name: behind + place for place, name in enumerate((*columns, *loose))}
        self._order = [places[field.name] for field in own]

    def encode(self, message: T) -> bytes:
        parts = self._parts_of(message)
        arrays = [parts[place] if which < 0 else parts[place][which] for place, which in self._picked]
        dtypes = [array.dtype for array in arrays]
        told = () if dtypes == self._dtypes else [dtype.str for dtype in dtypes]
        others = list(self._others_of(message))
        for place, lasting in self._lasting:
            others[place] = lasting.encoded(others[place])
        head = self._encode(self._head(told, [array.shape for array in arrays], *others))
        memory: list[Any] = [a.tobytes() if a.size < _COPIED else np.ascontiguousarray(a) for a in arrays]
        numbers = self._packed([getattr(message, name) for name, _ in self._loose])
        return b"".join((numbers, _SIZE.pack(len(head)), head, bytes(_padding(len(head))), *memory))

    def renewed(self, payload: bytes, *numbers: float | None) -> bytes:
        """The same message with other loose numbers, in the order of `loose`."""
        return self._packed(numbers) + payload[self._numbers.size :]

    def _packed(self, numbers: Sequence[float | None]) -> bytes:
        return self._numbers.pack(*[math.nan if number is None else number for number in numbers])

    def decode(self, payload: bytes) -> T:
        """Raises msgspec.DecodeError for what is no message, and its ValidationError for one that does not fit: it
        names the field.
        """
        begin = self._numbers.size
        if len(payload) < begin + _SIZE.size:
            raise msgspec.DecodeError("the message is cut short")
        (size,) = _SIZE.unpack_from(payload, begin)
        head = payload[begin + _SIZE.size : begin + _SIZE.size + size]
        shapes, others = self._kept.get(head) or self._read(head)
        at = begin + _SIZE.size + size + _padding(size)
        values: list[Any] = []
        try:
            for shape, dtype in zip(shapes, self._dtypes, strict=True):
                array: Any = np.ndarray(shape, dtype, payload, at)
                values.append(array)
                at += array.nbytes
        except (TypeError, ValueError) as error:
            name = self.names[len(values)]
            raise msgspec.ValidationError(f"the memory is no whole array: {error} - at `$.{name}`") from None
        if at != len(payload):
            raise msgspec.ValidationError(f"the message has {len(payload)} bytes and has to have {at}")
        values += others
        values += [StringColumn(values[blob], values[offsets]) for blob, offsets in self._strings]
        numbers = self._numbers.unpack_from(payload)
        values += [None if bare and math.isnan(n) else n for (_, bare), n in zip(self._loose, numbers, strict=True)]
        return self._kind(*[values[place] for place in self._order])

    def _read(self, head: bytes) -> tuple[Shapes, Sequence[Any]]:
        """Shapes of the arrays, and the other fields. Raises what `decode` raises for what is wrong with them."""
        told: Any = self._decode_head(head)
        self._check(told)
        others = list(self._others_of(told))
        for place, lasting in self._lasting:
            others[place] = lasting.read(others[place])
        read = told.shapes, others
        if self._repeated and len(head) <= _SHORT:
            if len(self._kept) >= _HEADS:
                self._kept.clear()
            self._kept[head] = read
        return read

    def _check(self, head: Any) -> None:
        """Raises ValidationError where the arrays are not what they have to be."""
        shapes = head.shapes
        if len(shapes) != len(self.names):
            raise msgspec.ValidationError(f"the message has {len(shapes)} arrays and has to have {len(self.names)}")
        if head.dtypes:
            for name, sent, dtype in zip(self.names, head.dtypes, self._dtypes, strict=False):
                if sent != dtype.str:
                    required = f"{dtype.str!r} ({dtype})"
                    raise msgspec.ValidationError(f"the array is {sent!r} and has to be {required} - at `$.{name}`")
        if not all(shapes):
            raise msgspec.ValidationError(f"the array has no dimension - at `$.{self.names[shapes.index(())]}`")
        expected = self._fit(head)
        if shapes != expected:
            raise misfit(self.names, shapes, expected)


class Lasting:
    """A field that one message after another has."""

    def __init__(self, name: str, kind: Any, encode: Callable[[object], bytes]) -> None:
        self._name, self._encode = name, encode
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._written: dict[tuple[int, ...], tuple[Sequence[object], msgspec.Raw]] = {}
        """By the id() of each object. They are kept beside, so that nothing else gets their ids."""
        self._known: dict[bytes, Any] = {}

    def encoded(self, objects: Sequence[object]) -> msgspec.Raw:
        ids = tuple(map(id, objects))
        kept = self._written.get(ids)
        if kept is None:
            if len(self._written) >= _LASTING:
                self._written.clear()
            kept = self._written[ids] = objects, msgspec.Raw(self._encode(objects))
        return kept[1]

    def read(self, raw: msgspec.Raw | Any) -> Any:
        """Raises msgspec.ValidationError, which names the field."""
        if type(raw) is not msgspec.Raw:  # what it is where a message does not say
            return raw
        told = bytes(raw)
        value = self._known.get(told, self)
        if value is self:
            try:
                value = self._decode(told)
            except msgspec.ValidationError as error:
                raise msgspec.ValidationError(f"{error} - at `$.{self._name}`") from None
            if len(self._known) >= _LASTING:
                self._known.clear()
            self._known[told] = value
        return value


def misfit(names: Sequence[str], shapes: Sequence[object], expected: Sequence[object]) -> msgspec.ValidationError:
    """The error about the first array whose shape is another than expected."""
    name, shape, required = next(row for row in zip(names, shapes, expected, strict=True) if row[1] != row[2])
    return msgspec.ValidationError(f"the array has shape {shape} and has to have {required} - at `$.{name}`")


def _padding(size: int) -> int:
    """Bytes between a head of this size and the arrays."""
    return -(_SIZE.size + size) % 8


def _dtype(hint: Any) -> np.dtype[Any]:
    """Of the items of `NDArray[scalar]`, in the byte order of messages."""
    return np.dtype(
        np.dtype(hint.__args__[1].__args__[0]).newbyteorder("<").str
    )  # numpy's own object: quick to compare


def _default(field: FieldInfo) -> tuple[Any, ...]:
    """As msgspec takes it; empty: there is none."""
    if field.default_factory is not msgspec.NODEFAULT:
        return (msgspec.field(default_factory=field.default_factory),)
    return () if field.default is msgspec.NODEFAULT else (field.default,)


_STRINGS = [(field.name, _dtype(field.type)) for field in fields(StringColumn)]
"""The arrays of a string column, in the order of its arguments."""
