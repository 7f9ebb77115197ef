"""Frames on a TCP connection: the stream cut into messages, after a greeting of known length.

A frame is its length, a call's number, a code, and a payload. The code is the method on the way to the server; on the
way back `RESULT` or `ERROR`. Nothing on the line is ever unpickled.
"""

from __future__ import annotations

import asyncio
import struct
from typing import cast

RESULT, ERROR = 0, 1
"""Codes of an answer: its payload is the result, or an error's text in UTF-8."""
_FRAME = struct.Struct("<IQB")
"""Bytes of the payload, number of the call, code."""
_LARGEST = 256 << 20
"""Bytes of a payload. A longer one is no frame of ours."""


class Frames(asyncio.Protocol):
    """One end of a connection. The first `greeting` bytes go to `greeted`, which says how many more there are."""

    def __init__(self, greeting: int) -> None:
        self._buffer = bytearray()
        self._greeting = greeting
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # what TCP gives; uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        if self._greeting or self._buffer:
            self._buffer += data
            self._read_buffer()
            return
        size = len(data)  # nearly always: whole frames, which are not copied into the buffer and out of it again
        at = self._read_frames(data, size)
        if at < size:
            self._buffer += data[at:]

    def _read_buffer(self) -> None:
        while self._greeting:
            if len(self._buffer) < self._greeting:
                return
            greeting, self._buffer = bytes(self._buffer[: self._greeting]), self._buffer[self._greeting :]
            self._greeting = self.greeted(greeting)
            if self.transport is None or self.transport.is_closing():
                self._buffer.clear()
                return
        if start := self._read_frames(self._buffer, len(self._buffer)):
            del self._buffer[:start]

    def _read_frames(self, data: bytes | bytearray, size: int) -> int:
        """Take the whole frames at the beginning. Return where what is left begins."""
        start = 0
        while size - start >= _FRAME.size:
            length, number, code = _FRAME.unpack_from(data, start)
            if length > _LARGEST:
                self.close()
                return size
            first = start + _FRAME.size
            if size < first + length:
                break
            start = first + length
            self.framed(number, code, bytes(data[first:start]))
        return start

    def send(self, number: int, code: int, payload: bytes) -> None:
        """Write a frame; nothing where the connection is closing."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines((_FRAME.pack(len(payload), number, code), payload))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def write(self, data: bytes) -> None:
        """Write a part of the greeting."""
        if self.transport is not None:
            self.transport.write(data)

    def greeted(self, greeting: bytes) -> int:
        """Take a part of the greeting. Return how many bytes of it are still to come."""
        raise NotImplementedError

    def framed(self, number: int, code: int, payload: bytes) -> None:
        """Take a frame."""
        raise NotImplementedError
