"""Where the things of a clip come from: a fresh procedural object or a packed sprite, perhaps repainted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .packs.sprites import Sprite, SpritePack
from .rooms.clips import Room
from .scenes import Scene
from .things import procedural
from .things.colours import any_colour, paint_colour, recolour
from .things.names import Names, name_object
from .things.shapes import Cutout, Shape, Turntable


@dataclass
class Thing:
    """One object of a clip: how it looks from anywhere, and what it may be called."""

    shape: Shape
    names: Names
    source: str
    upright: bool = True


class Library:
    """Draws random things. Sources are mixed by weight; a source the pack lacks is left out."""

    def __init__(self, pack: SpritePack, weights: dict[str, float]):
        self.pack = pack
        by_source: dict[str, list[Sprite]] = {}
        for sprite in pack.sprites:
            by_source.setdefault(sprite.source, []).append(sprite)
        self._sprites = {
            source: sprites for source, sprites in by_source.items() if weights.get(source, 0) > 0
        }
        self._by_noun: dict[str, list[Sprite]] = {}
        for sprite in pack.sprites:
            self._by_noun.setdefault(sprite.noun, []).append(sprite)
        self._sources = ["procedural", *self._sprites]
        share = np.array([weights.get(source, 0.0) for source in self._sources])
        if share[0] <= 0 and len(share) == 1:
            share[0] = 1.0
        self._share = share / share.sum()
        self.nouns = sorted({*procedural.NOUNS, *self._by_noun})

    def photo(self, rng: np.random.Generator) -> np.ndarray | None:
        """A random background photograph RGB uint8 [h,w,3], or None."""
        if not self.pack.backgrounds:
            return None
        entry = self.pack.backgrounds[int(rng.integers(len(self.pack.backgrounds)))]
        return self.pack.picture(entry["picture"])

    @property
    def has_scenes(self) -> bool:
        """Whether the pack holds photographs of things where they were."""
        return bool(self.pack.scenes)

    def scene(self, rng: np.random.Generator) -> Scene:
        """A random one of them."""
        entry = self.pack.scenes[int(rng.integers(len(self.pack.scenes)))]
        picture = self.pack.picture(entry["picture"])
        return Scene(picture[..., :3], picture[..., 3] == 255, name_object(entry["noun"]))

    @property
    def has_rooms(self) -> bool:
        """Whether the pack holds rendered rooms."""
        return bool(self.pack.rooms)

    def room(self, rng: np.random.Generator) -> Room:
        """A random one of them."""
        entry = self.pack.rooms[int(rng.integers(len(self.pack.rooms)))]
        return Room(
            np.stack([self.pack.picture(index) for index in entry["pictures"]]),
            np.stack([self.pack.picture(index) for index in entry["labels"]]),
            tuple(name_object(noun) for noun in entry["nouns"]),
            entry["count"],
            np.array(entry["whole"]),
        )

    def thing(
        self,
        rng: np.random.Generator,
        noun: str | None = None,
        colour: str | None = None,
        source: str | None = None,
    ) -> Thing:
        """A random thing; with `noun` of that kind, with `colour` painted (about) so, with `source` from
        there if it exists."""
        if noun is None:
            source = source if source in self._sources else str(rng.choice(self._sources, p=self._share))
            if source == "procedural":
                return self._procedural(rng, None, colour)
            sprites = self._sprites[source]
            return self._sprite(rng, sprites[int(rng.integers(len(sprites)))], colour)
        sprites = self._by_noun.get(noun, [])
        if noun in procedural.NOUNS and (not sprites or rng.random() < 0.7):
            return self._procedural(rng, noun, colour)
        if not sprites:
            raise ValueError(f"nothing in the library is called {noun!r}")
        return self._sprite(rng, sprites[int(rng.integers(len(sprites)))], colour)

    def _procedural(self, rng: np.random.Generator, noun: str | None, colour: str | None) -> Thing:
        def picture() -> np.ndarray:
            photo = self.photo(rng)
            return photo[::4, ::4] if photo is not None else rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)

        noun, shape = procedural.make_object(rng, picture, noun, colour)
        return Thing(shape, name_object(noun), "procedural", shape.upright)

    def _sprite(self, rng: np.random.Generator, sprite: Sprite, colour: str | None) -> Thing:
        paint = None
        if colour is not None or rng.random() < (0.12 if sprite.natural else 0.55):
            target = paint_colour(rng, colour or any_colour(rng))
            strength = float(rng.uniform(0.8, 1.0))
            paint = (target, strength)
        mirrored = rng.random() < 0.5
        order = [
            sprite.pictures[i]
            for i in (range(len(sprite.pictures)) if not mirrored else range(0, -len(sprite.pictures), -1))
        ]

        def look(index: int) -> np.ndarray:
            image = self.pack.picture(index)
            if mirrored:
                image = image[:, ::-1]
            if paint is not None:
                image = np.dstack([recolour(image[..., :3], image[..., 3], *paint), image[..., 3]])
            return np.ascontiguousarray(image)

        upright = sprite.upright
        shape = Cutout(look(order[0]), upright) if len(order) == 1 else Turntable(order, look, upright)
        return Thing(shape, name_object(sprite.noun, sprite.kinds), sprite.source, upright)
