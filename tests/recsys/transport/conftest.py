"""What the tests of direct lines share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from recsys.transport.channel_server import ChannelServer
from tests.support.channels import SECRET, handler


@pytest.fixture
async def server() -> AsyncIterator[ChannelServer]:
    server = await ChannelServer.start("127.0.0.1", handler, SECRET)
    yield server
    server.stop()
