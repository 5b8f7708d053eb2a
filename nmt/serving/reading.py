"""Requests: their bodies, within limits, and the keys that they carry. Whatever is wrong is `Refused` with one line."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from nmt.errors import DataError
from nmt.runtime.files import is_full
from nmt.runtime.untrusted import parse_object

_FIELDS = 100  # of a form, besides as many as a request may have texts
_LONGEST = 400  # characters of an error, which may repeat what was sent
_KINDS = "application/json, application/x-www-form-urlencoded or multipart/form-data"


class Refused(Exception):  # noqa: N818 - the client's error, not ours
    """A request that is answered with a status and one line."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, " ".join(message[:_LONGEST].split()), dict(headers or {})


@dataclass(frozen=True)
class Upload:
    """A file in a form."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Limits:
    """The most that a request may ask for."""

    body: int = 10_000_000
    """Bytes."""
    characters: int = 500_000
    lines: int = 10_000
    line: int = 20_000
    """Characters of a line, which one worker translates in one go."""
    seconds: float = 60.0
    """Time for a request, from its first byte to the answer."""

    def check(self, lines: Sequence[str]) -> int:
        """Returns the number of characters of lines.

        Raises:
            Refused: there are too many.
        """
        characters = sum(map(len, lines))
        if characters > self.characters:
            raise Refused(413, f"a request may have {self.characters:,} characters, this one has {characters:,}")
        if (longest := max(map(len, lines), default=0)) > self.line:
            raise Refused(413, f"a line may have {self.line:,} characters, this one has {longest:,}")
        if len(lines) > self.lines:
            raise Refused(413, f"a request may have {self.lines:,} lines, this one has {len(lines):,}")
        return characters


class Keys:
    """The keys that let a client in; without any, everybody may."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Reads a file with a key on each line; lines that begin with # are comments.

        Raises:
            DataError: the file cannot be read, or holds no key.
        """
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8'}") from None
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise DataError(f"{path}: holds no key; write one a line")
        return cls(keys)

    def __bool__(self) -> bool:
        """Whether keys are needed."""
        return bool(self._digests)

    def check(self, request: Request, body: Mapping[str, Any] | None = None) -> None:
        """Looks for a key in the header `Authorization: Bearer KEY`, then in the body's `api_key`.

        Raises:
            Refused: there is none, or it is wrong.
        """
        if not self._digests:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        key: object = given.strip() if kind.lower() == "bearer" else (body or {}).get("api_key")
        if not key:
            raise Refused(403, "this server wants a key: api_key in the body, or a header Authorization: Bearer KEY")
        digest = _digest(str(key))
        if not any([hmac.compare_digest(digest, known) for known in self._digests]):  # noqa: C419 - all are compared
            raise Refused(403, "the key is wrong")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


async def read_fields(request: Request, limits: Limits) -> dict[str, Any]:
    """Returns the fields of a body: a JSON object, or a form, whose repeated fields become lists.

    Raises:
        Refused: the body is too large, too slow, or something else.
    """
    body = await read_body(request, limits)
    kind, most = request.headers.get("content-type", "").partition(";")[0].strip().lower(), limits.lines + _FIELDS
    try:
        match kind:
            case "application/json":
                found = parse_object(body)
                json.dumps(found, allow_nan=False)  # JSON has no such numbers, and an answer may repeat them
                return found
            case "multipart/form-data":
                return _collected(await _multipart(request, body, most))
            case "application/x-www-form-urlencoded" | "":
                text = body.decode("utf-8")
                return _collected(parse_qsl(text, True, encoding="utf-8", errors="strict", max_num_fields=most))
            case _:
                raise Refused(415, f"the body must be {_KINDS}")
    except MultiPartException as error:
        raise Refused(400, f"the form cannot be read: {error.message}") from None
    except json.JSONDecodeError as error:
        raise Refused(400, f"the body is no JSON: {error.msg} at character {error.pos}") from None
    except UnicodeError:
        raise Refused(400, "the body is not UTF-8") from None
    except ValueError as error:
        raise Refused(400, f"the body cannot be read: {error}") from None
    except OSError as error:
        raise no_room(error) from None


async def read_body(request: Request, limits: Limits) -> bytes:
    """Reads the body; what is too large is read to its end if that comes soon, so that the client hears why.

    Raises:
        Refused: it is too large or too slow.
    """
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                size += len(part)
                if size <= limits.body:
                    parts.append(part)
                else:
                    parts.clear()
                if size > 10 * limits.body:
                    break
    except TimeoutError:
        raise Refused(408, "the body did not arrive in time", {"Connection": "close"}) from None
    if size > limits.body:
        raise Refused(413, f"a body may have {limits.body:,} bytes", {"Connection": "close"})
    return b"".join(parts)


def no_room(error: OSError) -> Refused:
    """Converts an error of the disk.

    Raises:
        OSError: it is another one.
    """
    if not is_full(error):
        raise error
    return Refused(507, "the server's disk is full")


async def _multipart(request: Request, body: bytes, most: int) -> list[tuple[str, str | Upload]]:
    async def stream() -> AsyncGenerator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=most, max_part_size=len(body))
    form = await parser.parse()
    try:
        return [
            (
                _whole(name),
                _whole(value) if isinstance(value, str) else Upload(value.filename or "", await value.read()),
            )
            for name, value in form.multi_items()
        ]
    finally:
        await form.close()


def _whole(text: str) -> str:
    """Refuses halves of characters, which some encodings make."""
    text.encode()
    return text


def _collected(items: Sequence[tuple[str, str | Upload]]) -> dict[str, Any]:
    """Returns fields by name; several of one name as a list."""
    found: dict[str, Any] = {}
    for name, value in items:
        if name in found:
            found[name] = [*(found[name] if isinstance(found[name], list) else [found[name]]), value]
        else:
            found[name] = value
    return found
