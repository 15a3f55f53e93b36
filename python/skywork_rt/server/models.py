"""The models of a server by name: opened when they are needed, and closed for others where memory is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from skywork_rt.api.async_generator import AsyncGenerator
from skywork_rt.api.generation_config import from_generation_config
from skywork_rt.api.generator import Generator
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import InvalidArgumentError, SkyworkError
from skywork_rt.server.errors import ApiError
from skywork_rt.server.memory import Need, need_of
from skywork_rt.server.settings import ServerSettings
from skywork_rt.server.token_texts import TokenTexts

__all__ = ["Model", "Models"]


class Model:
    """One named bundle, open or not."""

    def __init__(
        self,
        name: str,
        path: str,
        options: Mapping[str, Any],
        need: Need,
        defaults: Mapping[str, Any],
        changed: Callable[[], None],
    ) -> None:
        """`defaults`: sampling parameters that its generation_config.json sets. `changed` is told when it has
        opened, has failed to, or has closed, whoever still waits for that."""
        self.name = name
        self._length = need.length
        self.path = path
        self.created = int(time.time())
        self.defaults = defaults
        self.need = need
        self.users = 0
        self.last_used = 0.0
        self._options = options
        self._changed = changed
        self._opening: asyncio.Task[_Open] | None = None
        self._open: _Open | None = None
        self._closing = False

    @property
    def max_length(self) -> int:
        """Longest prompt and answer together, in tokens; while it is not open, the longest that it may be."""
        return self._open.engine.generator.max_length if self._open is not None else self._length

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def takes_memory(self) -> bool:
        """Whether it is open, or being opened or closed."""
        return self._opening is not None

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def engine(self) -> AsyncGenerator:
        assert self._open is not None, "who uses a model holds it open"
        return self._open.engine

    @property
    def generator(self) -> Generator:
        return self.engine.generator

    @property
    def tokens(self) -> TokenTexts:
        assert self._open is not None, "who uses a model holds it open"
        return self._open.tokens

    def stats(self) -> dict[str, Any]:
        """As `Generator.stats`, with `Generator.grammar_stats` as `grammar`; empty while the model is not open."""
        if self._open is None:
            return {}
        return {**self._open.engine.stats(), "grammar": self._open.engine.generator.grammar_stats()}

    async def open(self) -> None:
        """Opens it and runs a few tokens, so that the first request finds everything in its place. Who waits for this
        may leave: it goes on for the others."""
        await asyncio.shield(self.begin_to_open())

    def begin_to_open(self) -> asyncio.Task[_Open]:
        """From here on it takes memory."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._opened())
            self._opening.add_done_callback(_hear)
        return self._opening

    async def close(self) -> None:
        """Cancels what runs, and frees the memory."""
        opening, self._open = self._opening, None
        if opening is not None and not self._closing:
            self._closing = True
            await asyncio.shield(asyncio.create_task(self._close(opening)))

    async def _opened(self) -> _Open:
        try:
            opened = await asyncio.to_thread(_opened, self.path, self._options)
            if not self._closing:
                self._open = opened
        except Exception:
            self._opening = None  # the next request tries again
            raise
        finally:
            self._changed()
        return opened

    async def _close(self, opening: asyncio.Task[_Open]) -> None:
        try:
            opened = await opening
            await opened.engine.close()
            await asyncio.to_thread(opened.engine.generator.close)
        except SkyworkError:
            pass  # it had not opened
        finally:
            self._opening, self._closing = None, False
            self._changed()


@dataclass(frozen=True)
class _Open:
    """What there is of an open model."""

    engine: AsyncGenerator
    tokens: TokenTexts


class Models:
    """All models of a server."""

    def __init__(self, settings: ServerSettings) -> None:
        if not settings.models:
            raise InvalidArgumentError("no model is given; name at least one bundle")
        self._most = settings.max_model_memory
        self._seconds = settings.model_seconds
        self._change = asyncio.Event()
        self._models = {name: self._prepared(name, path, settings) for name, path in settings.models.items()}

    def __iter__(self) -> Any:
        return iter(self._models.values())

    @property
    def first(self) -> Model:
        return next(iter(self._models.values()))

    def named(self, name: str | None) -> Model:
        """The model of a request, which names none where there is one only. Raises ApiError."""
        if name is None:
            if len(self._models) == 1:
                return self.first
            raise ApiError(400, f"model is missing; give one of {', '.join(self._models)}", param="model")
        if name not in self._models:
            raise ApiError(
                404,
                f"The model {name!r:.200} does not exist; this server has {', '.join(self._models)}.",
                param="model",
                code="model_not_found",
            )
        return self._models[name]

    @asynccontextmanager
    async def use(self, model: Model) -> AsyncIterator[Model]:
        """Holds a model open. Waits for memory; raises ApiError 503 when there is none in time."""
        model.users += 1
        try:
            if not model.is_open:
                await self._make_room_and_open(model)
            model.last_used = time.monotonic()
            yield model
        finally:
            model.users -= 1
            model.last_used = time.monotonic()
            if model.users == 0:
                self._note_change()

    async def close(self) -> None:
        """Closes all of them."""
        for model in self._models.values():
            await model.close()

    def _prepared(self, name: str, path: str, settings: ServerSettings) -> Model:
        try:
            config = BundleInfo.open(path).generation_config
            need, options = need_of(path, settings.generator, self._most)
        except SkyworkError as error:
            raise type(error)(f"model {name}: {error}") from error
        return Model(name, path, options, need, from_generation_config(config), self._note_change)

    async def _make_room_and_open(self, model: Model) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                while not model.takes_memory or model.closing:
                    await self._make_room(model)
            await model.open()
        except TimeoutError:
            raise ApiError(
                503,
                f"There is no memory for the model {model.name} while others are in use; try again later.",
                code="model_busy",
                retry=True,
            ) from None
        except SkyworkError as error:
            raise ApiError(
                503, f"The model {model.name} cannot be opened: {error}", code=error.code, retry=True
            ) from error

    async def _make_room(self, model: Model) -> None:
        """One step towards an open model: begins to open it where there is room, closes the longest unused one where
        there is none, and waits for a change where all are in use or somebody makes room already."""
        taken = [other for other in self if other.takes_memory]
        if not model.closing and self._fits(model, taken):
            model.begin_to_open()
            return
        idle = [other for other in taken if other.is_open and other.users == 0]
        if idle and not self._fits(model, [other for other in taken if not other.closing]):
            await min(idle, key=lambda other: other.last_used).close()
        else:
            await self._change.wait()

    def _fits(self, model: Model, taken: Iterable[Model]) -> bool:
        return self._most is None or sum(other.need.total for other in taken) + model.need.total <= self._most

    def _note_change(self) -> None:
        """Wakes up all who wait for memory."""
        self._change.set()
        self._change = asyncio.Event()


def _hear(opening: asyncio.Task[_Open]) -> None:
    """Takes note of a failure even if all who waited have left."""
    if not opening.cancelled():
        opening.exception()


def _opened(path: str, options: Mapping[str, Any]) -> _Open:
    generator = Generator(path, **options)
    try:
        _warm_up(generator)
    except BaseException:
        generator.close()
        raise
    return _Open(AsyncGenerator(generator), TokenTexts(generator))


def _warm_up(generator: Generator) -> None:
    """Reads the weights once, and loads what prompts are made with."""
    length = min(16, generator.max_length - 2)
    generator.generate([0] * length, max_tokens=2, temperature=0, ignore_eos=True)
    if generator.tokenizer is not None:
        _ = generator.chat_templates
    _ = generator.default_params
