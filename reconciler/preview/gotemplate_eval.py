"""Evaluating the part of Go's templates that our own lane uses; everything else is refused (pure).

A wrong rendering would be worse than none: what is not listed here raises, with its name. Held in tests against Go's
own engine, with Sprig and `missingkey=error`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from reconciler.preview.gotemplate import Action, Block, Call, Field, Literal, Node, Operand, Pipeline, Text, parse
from state.canonical import Json
from state.errors import InvalidValue, Unsupported

Parameters = Mapping[str, Json]

_NO_VALUE: Final = "<no value>"
_REGEX: Final = re.compile(r"\^?(?:[A-Za-z0-9_/-]|\[[A-Za-z0-9_-]+\]|\{[0-9]+(?:,[0-9]*)?\}|[+*?])*\$?")


def render(text: str, parameters: Parameters) -> str:
    """The text as the controller prints it, with `missingkey=error`.

    Raises:
        Unsupported: the template uses something that is not evaluated here.
        InvalidValue: the controller itself would refuse it: a missing key, `fail`, a syntax error.
    """
    return _nodes(parse(text), parameters)


def _nodes(nodes: tuple[Node, ...], parameters: Parameters) -> str:
    made = []
    for node in nodes:
        match node:
            case Text(text):
                made.append(text)
            case Action(pipeline):
                made.append(_printed(_pipeline(pipeline, parameters)))
            case Block("if", Pipeline() as condition, body, otherwise):
                made.append(_nodes(body if _pipeline(condition, parameters) else otherwise, parameters))
            case Block(keyword, _, _, _):
                raise Unsupported(f"template: {{{{ {keyword} }}}} is not evaluated offline; only if and else are")
    return "".join(made)


def _printed(value: Json) -> str:
    match value:
        case None:
            return _NO_VALUE
        case bool():
            return str(value).lower()
        case str():
            return value
        case _:
            raise Unsupported(f"template: printing a {type(value).__name__} is not done offline; only texts are")


def _pipeline(pipeline: Pipeline, parameters: Parameters) -> Json:
    if pipeline.declares:
        raise Unsupported(f"template: the variable {pipeline.declares[0]} is not evaluated offline")
    value = _operand(pipeline.commands[0], parameters)
    for command in pipeline.commands[1:]:
        if not isinstance(command, Call):
            raise InvalidValue("template: only a function may follow a pipe")
        value = _call(command, parameters, (value,))
    return value


def _operand(operand: Operand, parameters: Parameters) -> Json:
    match operand:
        case Literal(value):
            return value
        case Call():
            return _call(operand, parameters, ())
        case Pipeline():
            return _pipeline(operand, parameters)
        case Field("." | "$", (name,)):
            if name not in parameters:
                raise InvalidValue(f'template: map has no entry for key "{name}"')
            return parameters[name]
        case Field(root, path):
            shown = root if isinstance(root, str) else "(…)"
            raise Unsupported(f"template: {shown}{''.join('.' + p for p in path)} is not evaluated offline")


def _call(call: Call, parameters: Parameters, piped: tuple[Json, ...]) -> Json:
    if call.function in {"and", "or"}:
        return _short_circuit(call, parameters, piped)
    function = _FUNCTIONS.get(call.function)
    if function is None:
        raise Unsupported(
            f"template: the function {call.function} is not evaluated offline; known are {', '.join(sorted(KNOWN))}"
        )
    arguments = (*(_operand(a, parameters) for a in call.arguments), *piped)
    return function(*_checked(call.function, arguments))


def _short_circuit(call: Call, parameters: Parameters, piped: tuple[Json, ...]) -> Json:
    value: Json = None
    stop = call.function == "or"
    if not call.arguments and not piped:
        raise InvalidValue(f"template: {call.function} needs an argument")
    for argument in call.arguments:
        value = _operand(argument, parameters)
        if bool(value) is stop:
            return value
    return piped[0] if piped else value


def _checked(name: str, arguments: tuple[Json, ...]) -> tuple[Json, ...]:
    wanted = _ARGUMENTS[name]
    if len(arguments) != wanted:
        raise InvalidValue(f"template: {name} takes {wanted} arguments, got {len(arguments)}")
    return arguments


def _regex_match(pattern: Json, text: Json) -> Json:
    if not isinstance(pattern, str) or not isinstance(text, str):
        raise InvalidValue("template: regexMatch takes two texts")
    if not _REGEX.fullmatch(pattern):
        raise Unsupported(f"template: the expression {pattern[:60]!r} is not evaluated offline")
    # Go's $ is the end of the text, Python's also the place before a last line break.
    python = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    try:
        return re.search(python, text, re.ASCII) is not None
    except re.error as error:
        raise InvalidValue(f"template: {pattern[:60]!r} is no regular expression: {error}") from error


def _has(needle: Json, haystack: Json) -> Json:
    if haystack is None:
        return False
    if not isinstance(haystack, list):
        raise InvalidValue(f"template: has needs a list, got a {type(haystack).__name__}")
    return needle in haystack


def _fail(message: Json) -> Json:
    raise InvalidValue(f"template: fail: {message}")


def _equal(left: Json, right: Json) -> Json:
    if not isinstance(left, str) or not isinstance(right, str):
        raise Unsupported("template: eq and ne compare only texts offline")
    return left == right


_FUNCTIONS: Final[dict[str, Callable[..., Json]]] = {
    "eq": _equal,
    "fail": _fail,
    "has": _has,
    "ne": lambda left, right: not _equal(left, right),
    "not": lambda value: not value,
    "regexMatch": _regex_match,
}
_ARGUMENTS: Final = {"eq": 2, "fail": 1, "has": 2, "ne": 2, "not": 1, "regexMatch": 2}
KNOWN: Final = frozenset({*_FUNCTIONS, "and", "or"})
"""The functions that are evaluated."""
