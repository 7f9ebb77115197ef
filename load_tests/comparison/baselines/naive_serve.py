"""The graph that Serve's tutorials lead to: an ingress that asks every shard once for every request."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import hnswlib
import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, HTTPException, Query
from fastapi import Path as PathParameter
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from redis.asyncio import Redis

from load_tests.comparison.baselines.answer import Recommendation, Slate
from load_tests.comparison.workload import item_id, profile_key, title

api = FastAPI()
Hits = list[tuple[int, float]]


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Shard:
    def __init__(self, path: str, dimension: int, ef: int) -> None:
        self._index = hnswlib.Index(space="ip", dim=dimension)
        self._index.load_index(path)
        self._index.set_ef(ef)
        self._index.set_num_threads(1)

    async def search(self, vector: npt.NDArray[np.float32], k: int) -> Hits:
        labels, distances = self._index.knn_query(vector, k)
        return list(zip(labels[0].tolist(), (1.0 - distances[0]).tolist(), strict=True))


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class Recommender:
    def __init__(self, shards: list[DeploymentHandle[Any]], redis_url: str, candidates: int) -> None:
        self._shards = shards
        self._redis = Redis.from_url(redis_url)
        self._candidates = candidates

    @api.get("/v1/users/{user_id}/recommendations")
    async def recommendations(
        self,
        user_id: Annotated[str, PathParameter(min_length=1, max_length=128)],
        k: Annotated[int, Query(ge=1, le=100)] = 10,
    ) -> Slate:
        profile = await self._redis.get(profile_key(user_id))
        if not isinstance(profile, bytes):
            raise HTTPException(404, f"user {user_id} is not known")
        vector = np.frombuffer(profile, np.float32)
        answers: list[Hits] = await asyncio.gather(
            *(shard.search.remote(vector, self._candidates) for shard in self._shards)
        )
        best = sorted((hit for hits in answers for hit in hits), key=lambda hit: -hit[1])[:k]
        return Slate(
            user_id=user_id,
            items=[
                Recommendation(item_id=item_id(n), title=title(n), rank=rank, score=round(score, 6))
                for rank, (n, score) in enumerate(best, 1)
            ],
        )


def build(args: dict[str, Any]) -> Application:
    """`args` are the platform's, of which data_dir, redis_url and shards count; the rest is in the environment."""
    folder, dimension, ef = Path(args["data_dir"]), int(os.environ["BENCH_DIMENSION"]), int(os.environ["BENCH_EF"])
    shards = [
        Shard.options(name=f"shard-{n}").bind(str(folder / f"shard-{n}.hnsw"), dimension, ef)
        for n in range(args["shards"])
    ]
    return Recommender.bind(shards, args["redis_url"], int(os.environ["BENCH_CANDIDATES"]))
