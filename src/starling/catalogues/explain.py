"""Pydantic's errors as sentences: the key with its place, what is wrong with it, the mend."""

from typing import Any

from pydantic import BaseModel, ValidationError

from starling.catalogues.errors import nearest


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence for each thing wrong; an unknown key of ``model`` comes with the nearest known ones."""
    return [_say(item, model) for item in error.errors()]


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
    annotation: Any = model
    for part in location:
        section = _member(annotation, BaseModel)
        mapping = _member(annotation, dict)
        if section is not None:
            annotation = section.model_fields[str(part)].annotation
        elif mapping is not None:
            annotation = mapping.__args__[1]
    section = _member(annotation, BaseModel)
    return [] if section is None else [field.alias or name for name, field in section.model_fields.items()]


def _member(annotation: Any, kind: type) -> Any:
    """The part of an annotation such as ``Section | None`` that is a ``kind``; None where there is none."""
    for part in (annotation, *getattr(annotation, "__args__", ())):
        origin = getattr(part, "__origin__", part)
        if isinstance(origin, type) and issubclass(origin, kind):
            return part
        if origin is dict:
            break  # the values of a mapping are a step further
    return None
