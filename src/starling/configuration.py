"""Configurations: YAML -> values checked by pydantic; errors name the file, the key, what is wrong and the mend."""

import difflib
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

BASE = "base"


class Section(BaseModel):
    """A part of a configuration: frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_yaml[Model: BaseModel](
    path: Path, model: type[Model], failure: type[ValueError] = ValueError
) -> Model:
    """The configuration in a YAML file; ``failure`` is raised for a file that cannot be read and for wrong keys."""
    return check(read_plain(path, failure), model, str(path), failure, path.parent)


def read_plain(path: Path, failure: type[ValueError] = ValueError) -> Any:
    """The plain values in a YAML file, unchecked."""
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise failure(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise failure(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def check[Model: BaseModel](
    content: Any,
    model: type[Model],
    source: str,
    failure: type[ValueError] = ValueError,
    base: Path | None = None,
) -> Model:
    """The configuration in plain values; ``source`` says where they are from.

    Sections that know of files find the folder ``base`` in the context of their validators.
    """
    if not isinstance(content, dict):
        needed = [f"`{name}`" for name, field in model.model_fields.items() if field.is_required()]
        raise failure(f"{source} holds no keys; needed are {', '.join(needed)}")
    try:
        return model.model_validate(content, context={BASE: base})
    except ValidationError as error:
        lines = [f"  {line}" for line in explain(error, model)]
        raise failure("\n".join([f"{source} has {len(lines)} error(s):", *lines])) from error


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence for each thing wrong; an unknown key of ``model`` comes with the nearest known ones."""
    return [_say(item, model) for item in error.errors()]


def nearest(name: str, options: Iterable[str], n: int = 3) -> str:
    """``"; did you mean 'a' or 'b'?"``, or the known names where they are few, or nothing."""
    options = list(dict.fromkeys(options))
    folded = {option.casefold(): option for option in options}
    if name.casefold() in folded:
        return f"; did you mean {folded[name.casefold()]!r}?"
    matches = difflib.get_close_matches(name.casefold(), folded, n=n, cutoff=0.5)
    if matches:
        return "; did you mean " + " or ".join(repr(folded[match]) for match in matches) + "?"
    if 0 < len(options) <= 12:
        return "; known are " + ", ".join(repr(option) for option in options)
    return ""


def _say(item: Any, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "top level"
    match item["type"]:
        case "extra_forbidden":
            return (
                f"{where}: unknown key{nearest(str(item['loc'][-1]), _known_keys(model, item['loc'][:-1]))}"
            )
        case "missing":
            return f"{where}: this key is needed"
        case "value_error":
            return f"{where}: {item['ctx']['error']}" if item["loc"] else str(item["ctx"]["error"])
    return f"{where}: {item['msg']}, not {item['input']!r}"


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys of the section at a place in the configuration; none where the place is not a section."""
    found: list[Any] = [model]
    for part in location:
        found = [inner for annotation in found for inner in _step(annotation, part)]
    return [
        field.alias or name
        for section in found
        if _is_section(section)
        for name, field in section.model_fields.items()
    ]


def _step(annotation: Any, part: int | str) -> list[Any]:
    """What an annotation says of the part of a value that pydantic calls ``part``: a key, a place or a kind."""
    if _is_section(annotation):
        field = annotation.model_fields.get(str(part))
        return _members(field.annotation) if field else [annotation] * _is_kind(annotation, part)
    arguments = get_args(annotation)
    return _members(arguments[-1 if get_origin(annotation) is dict else 0]) if arguments else []


def _members(annotation: Any) -> list[Any]:
    """The alternatives of a union, or the one that there is."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [inner for argument in get_args(annotation) for inner in _members(argument)]
    return _members(get_args(annotation)[0]) if origin is Annotated else [annotation]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_kind(section: type[BaseModel], tag: int | str) -> bool:
    """Whether a section of a tagged union is the one of this tag."""
    literals = [
        field.annotation for field in section.model_fields.values() if get_origin(field.annotation) is Literal
    ]
    return any(tag in get_args(literal) for literal in literals)
