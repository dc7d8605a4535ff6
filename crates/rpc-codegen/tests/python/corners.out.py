# @generated from corners.rpc.rs by `convoke gen --lang python`: change corners.rpc.rs, not this.
"""Corners of "definitions", for other languages.

Not a backslash is lost: C:\\new.
"""

from __future__ import annotations

import dataclasses as _dataclasses
import enum as _enum
import typing as _t

try:
    from . import convoke_http as _http
except ImportError:
    import convoke_http as _http  # type: ignore[no-redef]


@_dataclasses.dataclass
class Parcel:
    """Says \"\"\"what\"\"\" it is called."""

    from_: str

    its: int

    digest: bytes

    grid: _t.List[_t.List[float]]

    parts: _t.Dict[int, Parcel]

    seen: _t.List[str]

    added_later: _t.Optional[_t.List[int]] = None

    to_whom: _t.Optional[str] = None
    """Where it goes."""


#: Where.
Address = str


Pair = _t.Tuple[int, str]


@_dataclasses.dataclass
class Empty:
    pass


Weight = int


class State(_enum.Enum):
    """How it goes."""

    WaitingLong = "WAITING_LONG"

    Arrived = "there"

    Newer = "NEWER"


class Outcome:
    """What became of it.

    One of OutcomeNone, OutcomeDone, OutcomeBoth, OutcomeLost, OutcomeNobody.
    """


@_dataclasses.dataclass
class OutcomeNone(Outcome):
    pass


@_dataclasses.dataclass
class OutcomeDone(Outcome):
    """It is there."""

    value: int


@_dataclasses.dataclass
class OutcomeBoth(Outcome):
    value0: _t.Tuple[int, str]
    value1: Empty


@_dataclasses.dataclass
class OutcomeLost(Outcome):
    class_: _http.Duration

    last_seen: _t.Optional[str] = None


@_dataclasses.dataclass
class OutcomeNobody(Outcome):
    pass


class StateRaised(_http.AppError):
    """A method answered with its own error, `State`."""

    error: State


class OutcomeRaised(_http.AppError):
    """A method answered with its own error, `Outcome`."""

    error: Outcome


_types: _t.Dict[str, _http.Codec] = {}
_types["Parcel"] = _http.Record(
    Parcel,
    [
        ("added_later", "addedLater", _http.Listing(_http.Integer(0, 2**32 - 1)), True),
        ("from_", "from", _http.Named(_types, "Address"), False),
        ("to_whom", "toWhom", _http.Maybe(_http.Named(_types, "Address")), True),
        ("its", "it's", _http.Integer(-(2**7), 2**7 - 1), False),
        ("digest", "digest", _http.Bytes(32), False),
        ("grid", "grid", _http.Listing(_http.Listing(_http.FLOAT, 2), 2), False),
        ("parts", "parts", _http.Table(_http.Integer(0, 2**64 - 1), _http.Named(_types, "Parcel")), False),
        ("seen", "seen", _http.Listing(_http.CHAR), False),
    ],
)
_types["Address"] = _http.TEXT
_types["Pair"] = _http.Parts(_http.Integer(0, 2**8 - 1), _http.Named(_types, "Address"))
_types["Empty"] = _http.Record(
    Empty,
    [
    ],
)
_types["Weight"] = _http.Integer(0, 2**64 - 1)
_types["State"] = _http.Choice(State, State.Newer)
_types["Outcome"] = _http.Variants(
    "Outcome",
    [
        ("None", OutcomeNone, None),
        ("Done", OutcomeDone, _http.Held(OutcomeDone, ["value"], _http.Named(_types, "Weight"))),
        ("Both", OutcomeBoth, _http.Held(OutcomeBoth, ["value0", "value1"], _http.Parts(_http.Named(_types, "Pair"), _http.Named(_types, "Empty")))),
        ("Lost", OutcomeLost, _http.Record(
            OutcomeLost,
            [
                ("last_seen", "last-seen", _http.Maybe(_http.TEXT), True),
                ("class_", "class", _http.SPAN, False),
            ],
        )),
        ("Nobody", OutcomeNobody, _http.Record(
            OutcomeNobody,
            [
            ],
        )),
    ],
)


class PostClient(_http.Client):
    """Takes parcels.

    Not over HTTP, since they take streams: all.
    """

    __send = _http.Method(
        "acme.Post-Office",
        "send",
        request=_http.Named(_types, "Parcel"),
        answer=_http.Named(_types, "Outcome"),
        error=_http.Named(_types, "State"),
        raises=StateRaised,
        deadline_s=1.500,
    )

    def send(
        self,
        parcel: Parcel,
        *,
        timeout_s: _t.Optional[float] = None,
        selector: _t.Optional[str] = None,
        key: _t.Optional[str] = None,
    ) -> Outcome:
        """Sends one.

        Idempotent: running twice does no more than running once.
        """
        return self._call(self.__send, parcel, timeout_s, selector, key)

    __yield_ = _http.Method(
        "acme.Post-Office",
        "yield",
        request=_http.Named(_types, "Pair"),
        answer=_http.UNIT,
        error=_http.TEXT,
    )

    def yield_(
        self,
        key_: _t.Tuple[int, str],
        *,
        timeout_s: _t.Optional[float] = None,
        selector: _t.Optional[str] = None,
        key: _t.Optional[str] = None,
    ) -> None:
        return self._call(self.__yield_, key_, timeout_s, selector, key)

    __follow = _http.Method(
        "acme.Post-Office",
        "follow",
        request=_http.UNIT,
        answer=_http.Named(_types, "State"),
        error=_http.NEVER,
        stream_error=_http.Named(_types, "Outcome"),
        stream_raises=OutcomeRaised,
    )

    def follow(
        self,
        *,
        timeout_s: _t.Optional[float] = None,
        selector: _t.Optional[str] = None,
        key: _t.Optional[str] = None,
    ) -> _t.Generator[State, None, None]:
        return self._stream(self.__follow, None, timeout_s, selector, key)

    ___call_ = _http.Method(
        "acme.Post-Office",
        "_call",
        request=_http.Either(_http.Integer(0, 2**8 - 1), _http.Named(_types, "Weight")),
        answer=_http.Integer(0, 2**128 - 1),
        error=_http.NEVER,
    )

    def _call_(
        self,
        self_: _t.Union[_http.Ok, _http.Err],
        *,
        timeout_s: _t.Optional[float] = None,
        selector: _t.Optional[str] = None,
        key: _t.Optional[str] = None,
    ) -> int:
        return self._call(self.___call_, self_, timeout_s, selector, key)


class BellClient(_http.Client):
    """A second one in the file."""

    __ring = _http.Method(
        "Bell",
        "ring",
        request=_http.UNIT,
        answer=_http.Named(_types, "Weight"),
        error=_http.Named(_types, "Outcome"),
        raises=OutcomeRaised,
    )

    def ring(
        self,
        *,
        timeout_s: _t.Optional[float] = None,
        selector: _t.Optional[str] = None,
        key: _t.Optional[str] = None,
    ) -> int:
        return self._call(self.__ring, None, timeout_s, selector, key)
