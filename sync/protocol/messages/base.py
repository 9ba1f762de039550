"""What all messages have in common: integers with their ranges, bases, decoding (docs/protocol.md 3.5)."""

from functools import cache
from typing import Annotated, Any, TypeGuard, TypeVar, get_args, get_origin

from cbor2 import undefined
from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import fields

from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.messages.faults import fault_words
from less_sync.sync.protocol.messages.shown import shown

I32 = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
I64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]

P = TypeVar("P", bound=Struct)


class Message(Struct, frozen=True):
    """Anything received or sent. Its repr tells tokens, UCANs and payloads by their size alone."""

    def __repr__(self) -> str:
        values = (f"{name}={shown(getattr(self, name), name)}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({', '.join(values)})"


class Params(Message, frozen=True, omit_defaults=True):
    """What a client sends with a method."""


class Result(Message, frozen=True, omit_defaults=True):
    """What the server answers or announces."""


class Empty(Result, frozen=True):
    """A result without fields: `{}`."""


# Decoding.


def decode_params(kind: type[P], params: object, *, entries_max: int | None = None) -> P:
    """Turn decoded CBOR into `kind`; also for results, on the client's side.

    Booleans and floats are no integers, text and arrays are no bytes, arrays are no maps, and a known map
    with a key that is no text is refused (docs/protocol.md 3.5).

    Args:
        entries_max: a list of more entries is cut to one more than this before it is looked at, so that
            whoever refuses long lists still sees one, and no work is done for entries nobody will serve.

    Raises:
        ParamsError: a required field is missing, or a field has another type or is out of range.
    """
    if entries_max is not None and type(params) is dict:
        for value in params.values():
            if type(value) is list and len(value) > entries_max:
                params = _with_lists_cut(params, kind, entries_max + 1)
                break
    try:
        # Without `builtin_types` text in a bytes field would be taken for base64.
        return convert(params, kind, builtin_types=(bytes,))
    except ValidationError:
        if isinstance(params, ParamsError):  # refused already, when they had to wait
            raise params from None
    try:
        return convert(_without_absent(params, kind), kind, builtin_types=(bytes,))
    except ValidationError as error:
        raise ParamsError(fault_words(str(error))) from None


def _with_lists_cut(params: dict[Any, object], kind: type[Struct], length_max: int) -> object:
    """`params` with the lists that stand under fields of `kind` cut to `length_max` entries."""
    long = {
        name: value[:length_max]
        for name in kind.__struct_encode_fields__
        if type(value := params.get(name)) is list and len(value) > length_max
    }
    return params | long


def _without_absent(value: object, kind: type[Struct]) -> object:
    """`value` without those optional keys of `kind`, at every level, that are null or undefined."""
    if type(value) is not dict:
        return value
    optional, lists = _shape(kind)
    kept = {k: v for k, v in value.items() if k not in optional or (v is not None and v is not undefined)}
    for name, element in lists.items():
        items = kept.get(name)
        if type(items) is list:
            kept[name] = [_without_absent(item, element) for item in items]
    return kept


def has_unknown(params: object, kind: type[Struct]) -> TypeGuard[dict[str, object]]:
    """Whether raw params have members that `kind` does not know, at the top or in a list of maps."""
    if type(params) is not dict:
        return False
    known, lists = _names(kind)
    if not params.keys() <= known:
        return True
    for name, element in lists.items():
        items = params.get(name)
        if type(items) is list:
            for item in items:
                if type(item) is dict and not item.keys() <= element:
                    return True
    return False


@cache
def _names(kind: type[Struct]) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """The keys of `kind`, and those that hold lists of maps with the keys of these maps."""
    _, lists = _shape(kind)
    elements = {name: frozenset(element.__struct_encode_fields__) for name, element in lists.items()}
    return frozenset(kind.__struct_encode_fields__), elements


@cache
def _shape(kind: type[Struct]) -> tuple[frozenset[str], dict[str, type[Struct]]]:
    """The optional keys of `kind`, and those that hold lists of maps with the type of these maps."""
    optional: set[str] = set()
    lists: dict[str, type[Struct]] = {}
    for one in fields(kind):
        if not one.required:
            optional.add(one.encode_name)
        element: Any = get_args(one.type)[0] if get_origin(one.type) is list else None
        if isinstance(element, type) and issubclass(element, Struct):
            lists[one.encode_name] = element
    return frozenset(optional), lists
