"""The hand-written app: FastAPI, one hnswlib index over all items, profiles in Redis. `uvicorn --factory …:create`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import hnswlib
import numpy as np
from fastapi import FastAPI, HTTPException, Query
from fastapi import Path as PathParameter
from redis.asyncio import Redis

from load_tests.comparison.baselines.answer import Recommendation, Slate
from load_tests.comparison.workload import item_id, profile_key, title


def create() -> FastAPI:
    folder = Path(os.environ["BENCH_FOLDER"])
    candidates = int(os.environ["BENCH_CANDIDATES"])
    items = int(os.environ["BENCH_ITEMS"])

    index = hnswlib.Index(space="ip", dim=int(os.environ["BENCH_DIMENSION"]))
    index.load_index(str(folder / "all.hnsw"))
    index.set_ef(int(os.environ["BENCH_EF"]))
    index.set_num_threads(1)
    ids = [item_id(n) for n in range(items)]
    titles = [title(n) for n in range(items)]
    # The default of 100 connections runs out at 128 clients.
    redis = Redis.from_url(os.environ["BENCH_REDIS"], max_connections=1000)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.get("/v1/users/{user_id}/recommendations")
    async def recommendations(
        user_id: Annotated[str, PathParameter(min_length=1, max_length=128)],
        k: Annotated[int, Query(ge=1, le=100)] = 10,
    ) -> Slate:
        profile = await redis.get(profile_key(user_id))
        if not isinstance(profile, bytes):
            raise HTTPException(404, f"user {user_id} is not known")
        # A third of a millisecond: a thread of its own would cost more than it gives.
        labels, distances = index.knn_query(np.frombuffer(profile, np.float32), candidates)
        best = zip(labels[0, :k].tolist(), (1.0 - distances[0, :k]).tolist(), strict=True)
        return Slate(
            user_id=user_id,
            items=[
                Recommendation(item_id=ids[n], title=titles[n], rank=rank, score=round(score, 6))
                for rank, (n, score) in enumerate(best, 1)
            ],
        )

    return app
