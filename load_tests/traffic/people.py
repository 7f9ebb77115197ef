"""Writes a made-up catalogue and what 6,040 people did with it: `python -m load_tests.traffic.people FOLDER [SEED]`.

For `recsys evaluate --data FOLDER`: a million events of the size that training is to bear, not a likeness of anybody.
3,883 films have genres, a year and a place in a space of tastes. 105 lists run through them: of a genre, of a year, of
what is like one film. People pick lists that suit them and walk down, leaving out what they do not care for; now and
then they take something by chance. Several events share a second.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

FILMS, PEOPLE, TASTES = 3883, 6040, 16
GENRES = [
    "Drama",
    "Comedy",
    "Action",
    "Thriller",
    "Romance",
    "Horror",
    "Adventure",
    "Sci-Fi",
    "Children",
    "Crime",
    "War",
    "Documentary",
    "Musical",
    "Mystery",
    "Animation",
    "Fantasy",
    "Western",
    "Noir",
]


class World:
    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        fame = rng.permutation((np.arange(FILMS) + 12.0) ** -0.9)
        self.fame = np.log(fame / fame.max())
        share = rng.dirichlet(np.full(len(GENRES), 2.0))
        self.genres = np.zeros((FILMS, len(GENRES)), bool)
        for film in range(FILMS):
            self.genres[film, rng.choice(len(GENRES), rng.integers(1, 4), replace=False, p=share)] = True
        self.years = 2000 - np.minimum(rng.exponential(12, FILMS).astype(np.int64), 80)
        self.films = _unit(rng.normal(size=(FILMS, TASTES)) + self.genres @ rng.normal(size=(len(GENRES), TASTES)))
        self.lists = [films for films in self._lists() if len(films) > 20]
        self.tops = _unit(np.stack([self.films[films[:50]].mean(axis=0) for films in self.lists]))

    def _lists(self) -> list[Ints]:
        rng, rankings = self.rng, []
        for genre in range(len(GENRES)):
            films = np.flatnonzero(self.genres[:, genre])
            for value, spread in ((-self.fame, 0.6), (-self.years, 1.0), (self.fame, 1.2)):
                rankings.append(films[np.argsort(value[films] + rng.normal(0, spread, len(films)))])
        for year in range(1990, 2001):
            films = np.flatnonzero(self.years == year)
            rankings.append(films[np.argsort(self.fame[films] + rng.normal(0, 0.5, len(films)))])
        for _ in range(40):
            film = rng.choice(FILMS, p=_softmax(self.fame))
            near = self.films @ self.films[film] + 0.075 * self.fame
            rankings.append(np.argsort(rng.normal(0, 0.05, FILMS) - near)[:300])
        return rankings

    def person(self) -> list[tuple[int, int]]:
        """Films and Unix seconds, in order."""
        rng, taste = self.rng, _unit(self.rng.normal(size=(1, TASTES)))[0]
        most = int(np.clip(rng.lognormal(4.62, 0.95), 20, 2000))
        wish = 4.0 * (self.films @ taste) + 0.45 * self.fame + rng.gumbel(size=FILMS)
        cares = wish >= np.sort(wish)[-min(3 * most, FILMS)]
        chance = _softmax(wish)
        lists = _softmax(2.0 * (self.tops @ taste) + rng.gumbel(size=len(self.lists)) * 0.5)
        seen, clock = np.zeros(FILMS, bool), 9.6e8 + rng.random() * 5e7
        done: list[tuple[int, int]] = []
        for _ in range(400):
            if len(done) >= most:
                break
            films = self.lists[rng.choice(len(self.lists), p=lists)]
            start = 0 if rng.random() < 0.7 else rng.integers(max(len(films) - 10, 1))
            walk = films[start : start + 1 + rng.geometric(1 / 120)]
            walk = walk[cares[walk] & ~seen[walk]]
            walk = walk[rng.random(len(walk)) < 0.9][: rng.geometric(1 / 25)]
            walk = walk[np.argsort(np.arange(len(walk)) + rng.normal(0, 0.6, len(walk)))]
            alone = rng.choice(FILMS, 1, p=chance) if rng.random() < 0.35 else walk[:0]
            for film in [*walk.tolist(), *alone[~seen[alone]].tolist()]:
                clock += 0.0 if rng.random() < 0.4 else rng.exponential(12)
                done.append((film, int(clock)))
            seen[[film for film, _ in done]] = True
            clock += rng.exponential(5 * 86400) if rng.random() < 0.05 else 0.0
        return done[:most]


def _unit(vectors: Doubles) -> Doubles:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _softmax(values: Doubles) -> Doubles:
    raised = np.exp(values - values.max())
    return raised / raised.sum()


def main(folder: Path, seed: int = 1) -> None:
    world = World(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "items.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["item_id", "title", "text"])
        for film in range(FILMS):
            genres = " ".join(GENRES[g] for g in np.flatnonzero(world.genres[film]))
            out.writerow([film + 1, f"Film {film + 1} ({world.years[film]})", genres])
    with (folder / "events.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["user_id", "item_id", "timestamp"])
        for person in range(PEOPLE):
            out.writerows((person + 1, film + 1, when) for film, when in world.person())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
