"""Types to JSON Schema, JSON to typed values, and typed values back to JSON.

Rules.  1. msgspec writes the schemas and converts; what it leaves open is closed here: objects of
attrs, dataclasses, TypedDict and Struct take no unknown keys.  2. One schema, one text: `$defs` are
inlined unless a type contains itself, keys are sorted.  3. pydantic is never imported: a pydantic
model is whatever has `model_json_schema`, and pydantic itself converts it.
4. A message about a value names its place, never the value: it is shown to the model.
Not here: which parameters a function has (`signature`), who calls it (`toolbox`).
"""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import inspect as types

from statemachine_agents.errors import TableError
from statemachine_agents.values import JSON

Schema: TypeAlias = dict[str, JSON]

PREFIX: Final = "#/$defs/"

# Where a schema holds other schemas; under any other key stands a plain value (default, enum ...).
_ONE: Final = frozenset(
    {"items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"}
)
_MANY: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})

_Object: TypeAlias = types.StructType | types.DataclassType | types.TypedDictType


def schemas_of(hints: Sequence[Any], *, result: bool = False) -> tuple[list[Schema], Schema]:
    """Return a schema for each type, and the definitions of those types that contain themselves.

    Args:
        hints: resolved annotations.
        result: schemas of what a function returns. A TypedDict stays open then, because a dict
            that is returned as one may hold more keys, and saying so after an effect is too late.

    Raises:
        TypeError: a type has no JSON form; says which and why.
        NameError: a class says a type that msgspec cannot find from where the class stands.
    """
    for hint in hints:
        _refuse_foreign_metadata(hint)
    lifted: dict[str, Schema] = {}

    def custom(kind: type) -> Schema:
        return _pydantic_schema(kind, lifted, result=result)

    infos = types.multi_type_info(hints)
    objects = [node for node in _nodes(infos) if isinstance(node, _Object)]
    schemas, components = msgspec.json.schema_components(
        [*hints, *(found.cls for found in objects)], schema_hook=custom
    )
    roots, refs = schemas[: len(hints)], schemas[len(hints) :]
    for found, ref in zip(objects, refs, strict=True):
        _close(components[ref["$ref"].removeprefix(PREFIX)], found, result=result)
    if not result:  # results may be naive datetimes, which the format `date-time` does not cover
        for info, schema in zip(infos, roots, strict=True):
            _say_dates(info, schema)
    return _inline(list(roots), {**components, **lifted})


def is_closed(hints: Sequence[Any]) -> bool:
    """Return whether conversion alone would take keys or texts that the schema refuses.

    msgspec ignores unknown keys of attrs classes, and pydantic reads "5" as a number.
    """
    closed = (*typing.get_args(_Object), types.CustomType)
    return any(isinstance(node, closed) for node in _nodes(types.multi_type_info(hints)))


def is_loose(hints: Sequence[Any]) -> bool:
    """Return whether conversion hands over parts of its input uncopied (`Any`, a bare `dict`)."""
    return any(isinstance(node, types.AnyType) for node in _nodes(types.multi_type_info(hints)))


def convert(value: JSON, kind: Any) -> Any:
    """Convert plain JSON to a type, strictly: "5" is not 5.

    Raises:
        msgspec.ValidationError: says what was expected, what came and where.
    """
    return msgspec.convert(value, kind, str_keys=True, dec_hook=_from_plain)


def to_plain(value: Any) -> JSON:
    """Return a typed value as fresh JSON-like containers: Decimal as text, Enum as its value.

    Raises:
        TypeError: something inside has no JSON form.
    """
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_as_plain)


def checker(schema: Mapping[str, JSON]) -> Callable[[JSON], str]:
    """Compile a schema into a function that returns what is wrong with a value, or "".

    The text names places and rules, never values. Nothing is fetched for a `$ref`.

    Raises:
        TableError: that is no JSON Schema.
    """
    import jsonschema_rs  # 10 ms, and most programs that import us never call a tool

    try:
        validator = jsonschema_rs.validator_for(
            dict(schema), retriever=_fetch_nothing, mask="the value"
        )
    except ValueError as error:
        msg = f"not a JSON Schema: {error}; correct the schema the tool declares"
        raise TableError(msg, schema=schema) from error

    def check(value: JSON) -> str:
        if validator.is_valid(value):
            return ""
        found = (_meant(each) for each in itertools.islice(validator.iter_errors(value), 5))
        return "; ".join(f"{each.message} - at `{_place(each.instance_path)}`" for each in found)

    return check


def _meant(error: Any) -> Any:
    """Return the error inside a union's error, where one member alone fits by its type."""
    branches = getattr(error.kind, "context", None)
    if not branches:
        return error
    path = error.instance_path
    fitting = [
        branch
        for branch in branches
        if not any(
            type(each.kind).__name__ == "Type" and each.instance_path == path for each in branch
        )
    ]
    return _meant(fitting[0][0]) if len(fitting) == 1 else error


def describe(schema: Schema, doc: str | None) -> str:
    """Spread a docstring over an object schema: its parameters describe the properties.

    Args:
        schema: changed in place; a property that has a description keeps it.
        doc: Google, NumPy or ReST; None gives "".

    Returns:
        The text before the sections.
    """
    if not doc or not doc.strip():
        return ""
    import docstring_parser  # late: only decorated functions with a docstring need it

    parsed = docstring_parser.parse(doc)
    properties = schema.get("properties", {})
    for parameter in parsed.params:
        found = properties.get(parameter.arg_name)
        if found is not None and parameter.description:
            found.setdefault("description", " ".join(parameter.description.split()))
    texts = (parsed.short_description, parsed.long_description)
    return "\n\n".join(text.strip() for text in texts if text)


def sort_keys(value: JSON) -> JSON:
    """Return a copy with the keys of every object sorted."""
    if isinstance(value, dict):
        return {key: sort_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [sort_keys(inner) for inner in value]
    return value


# ----------------------------------------------------------------------------------------- pydantic


def _from_plain(kind: Any, value: JSON) -> Any:
    """Convert what msgspec does not know; here that is always a pydantic model."""
    try:
        return kind.model_validate(value)
    except ValueError as error:
        errors = getattr(error, "errors", None)
        if errors is None:
            raise
        # str(error) would repeat the values and advertise a web page.
        found = errors(include_url=False, include_input=False, include_context=False)
        texts = (
            f"{'.'.join(map(str, each['loc'])) or kind.__name__}: {each['msg']}" for each in found
        )
        raise ValueError("; ".join(texts)) from error


def _as_plain(value: Any) -> JSON:
    if hasattr(value, "model_dump"):
        try:
            return value.model_dump(mode="json")
        except Exception as error:
            # The sentence reaches the model, and a serializer may raise anything.
            kind, what = type(value).__name__, type(error).__name__
            raise TypeError(f"{kind}.model_dump raised {what}") from error
    if isinstance(value, str):  # msgspec refuses subclasses of str
        return str(value)
    kind = type(value).__name__
    raise TypeError(f"an object of type {kind} has no JSON form; return plain values")


def _pydantic_schema(kind: Any, lifted: dict[str, Schema], *, result: bool) -> Schema:
    if not hasattr(kind, "model_json_schema"):
        raise NotImplementedError
    # `model_dump` writes names unless the model says otherwise; `model_validate` reads aliases.
    aliased = not result or bool(kind.model_config.get("serialize_by_alias"))
    mode = "serialization" if result else "validation"
    try:
        schema: Schema = kind.model_json_schema(mode=mode, by_alias=aliased)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise TypeError(f"pydantic has no schema for {kind.__name__}: {first}") from error
    own = schema.pop("$defs", {})
    for name, body in own.items():
        lifted[f"{kind.__name__}.{name}"] = _renamed(body, kind.__name__)
    return _renamed(schema, kind.__name__)


def _renamed(schema: Schema, owner: str) -> Schema:
    """Give a model's own definitions names that no other type has."""

    def rename(node: Schema) -> Schema:
        ref = node.get("$ref")
        if isinstance(ref, str) and ref.startswith(PREFIX):
            return {**node, "$ref": f"{PREFIX}{owner}.{ref.removeprefix(PREFIX)}"}
        return node

    return _rewrite(schema, rename)


# --------------------------------------------------------------------------------- walks over types


def _nodes(infos: Sequence[types.Type]) -> Iterator[types.Type]:
    """Yield every type inside these types once."""
    waiting, seen = list(infos), set()
    while waiting:
        info = waiting.pop()
        if id(info) in seen:
            continue
        seen.add(id(info))
        yield info
        if isinstance(info, types.UnionType):
            waiting.extend(info.types)
        elif isinstance(info, types.Metadata):
            waiting.append(info.type)
        elif isinstance(info, types.CollectionType):
            waiting.append(info.item_type)
        elif isinstance(info, types.TupleType):
            waiting.extend(info.item_types)
        elif isinstance(info, types.DictType):
            waiting.extend((info.key_type, info.value_type))
        elif isinstance(info, _Object | types.NamedTupleType):
            waiting.extend(field.type for field in info.fields)


def _close(schema: Schema, info: _Object, *, result: bool) -> None:
    if schema.get("type") != "object":  # an array-like Struct
        return
    if not (result and isinstance(info, types.TypedDictType)):
        schema.setdefault("additionalProperties", False)
    text = describe(schema, schema.get("description"))
    if text:
        schema["description"] = text
    for field in info.fields:
        if result and isinstance(info, types.DataclassType) and field.name.startswith("_"):
            # msgspec writes no private fields, so a result never has them.
            del schema["properties"][field.encode_name]
            schema["required"] = [name for name in schema["required"] if name != field.encode_name]
        elif not result:
            _say_dates(field.type, schema["properties"][field.encode_name])


def _say_dates(info: types.Type, schema: Schema) -> None:
    """Tell the model that a text is a time; msgspec says so only where a zone is required."""
    if isinstance(info, types.Metadata):
        _say_dates(info.type, schema)
    elif isinstance(info, types.UnionType):
        # A union has at most one text-like member, so the bare string is the time.
        for branch in schema.get("anyOf", ()):
            for member in info.types:
                if isinstance(member, types.DateTimeType | types.TimeType):
                    _say_dates(member, branch)
    elif isinstance(info, types.DateTimeType | types.TimeType):
        if schema.get("type") == "string":
            word = "date-time" if isinstance(info, types.DateTimeType) else "time"
            schema.setdefault("format", word)
    elif isinstance(info, types.CollectionType) and "items" in schema:
        _say_dates(info.item_type, schema["items"])


def _refuse_foreign_metadata(hint: Any) -> None:
    """Refuse bounds that msgspec would silently drop: `Annotated[int, Field(ge=1)]`."""
    for note in getattr(hint, "__metadata__", ()):
        if type(note).__module__.partition(".")[0] in {"pydantic", "annotated_types"}:
            msg = (
                f"{type(note).__name__} inside Annotated is not read here, so its bounds would be "
                f"lost; write msgspec.Meta(ge=..., pattern=..., description=...) instead"
            )
            raise TypeError(msg)
    for inner in typing.get_args(hint):
        _refuse_foreign_metadata(inner)


# ------------------------------------------------------------------------------- walks over schemas


def _rewrite(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """Apply `change` to a schema and to every schema in it, outermost first; keys sorted."""
    schema = change(schema)
    out: Schema = {}
    for key in sorted(schema):
        value = schema[key]
        if key in _ONE and isinstance(value, dict):
            value = _rewrite(value, change)
        elif key in _MANY:
            value = [_rewrite(each, change) if isinstance(each, dict) else each for each in value]
        elif key in _NAMED:
            value = {name: _rewrite(value[name], change) for name in sorted(value)}
        else:
            value = sort_keys(value)
        out[key] = value
    return out


def _inline(roots: list[Schema], definitions: dict[str, Schema]) -> tuple[list[Schema], Schema]:
    edges = {name: _refs(body) for name, body in definitions.items()}
    looping = {name for name in edges if name in _reachable(edges, edges[name])}
    kept: set[str] = set()

    def resolve(node: Schema) -> Schema:
        node = {key: value for key, value in node.items() if key != "discriminator"}
        ref = node.get("$ref")
        if not isinstance(ref, str) or not ref.startswith(PREFIX):
            return node
        name = ref.removeprefix(PREFIX)
        rest = {key: value for key, value in node.items() if key != "$ref"}
        if name in looping:
            kept.add(name)
            return {**rest, "$ref": PREFIX + _safe(name)}
        return resolve({**definitions[name], **rest})

    out = [_rewrite(root, resolve) for root in roots]
    defs: Schema = {}
    while missing := sorted(kept - defs.keys()):
        for name in missing:
            defs[name] = _rewrite(definitions[name], resolve)
    return out, {_safe(name): defs[name] for name in sorted(defs)}


def _refs(schema: Schema) -> set[str]:
    found: set[str] = set()

    def note(node: Schema) -> Schema:
        ref = node.get("$ref")
        if isinstance(ref, str) and ref.startswith(PREFIX):
            found.add(ref.removeprefix(PREFIX))
        return node

    _rewrite(schema, note)
    return found


def _reachable(edges: Mapping[str, set[str]], start: set[str]) -> set[str]:
    seen, waiting = set(start), list(start)
    while waiting:
        for name in edges.get(waiting.pop(), set()) - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _place(path: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _fetch_nothing(uri: str) -> JSON:
    raise ValueError(f"{uri} is not fetched: put the definition into the schema itself")
