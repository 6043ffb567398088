"""Go templates, parsed (pure): what an ApplicationSet's text reads, calls and prints.

Everything that Argo CD's controller parses is parsed, so that a linter sees every field and every function;
`gotemplate_eval` evaluates the small part of it that our own lane uses. Source: Go, package text/template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from state.errors import InvalidValue

TEMPLATE_MAX_CHARS: Final = 64 * 1024
_DEPTH_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Literal:
    value: str | int | bool | None


@dataclass(frozen=True, slots=True)
class Field:
    """`.a.b`, `$.a`, `$x.a` or `(…).a`; an empty path is the whole root."""

    root: str | Pipeline
    """`.`, `$`, a variable such as `$x`, or a pipeline in parentheses."""
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each of which is the last argument of the next; `declares` are the variables that take the result."""

    commands: tuple[Operand, ...]
    declares: tuple[str, ...] = ()


Operand: TypeAlias = "Literal | Field | Call | Pipeline"


@dataclass(frozen=True, slots=True)
class Action:
    """`{{ pipeline }}`."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Block:
    """`{{ if … }}`, `with`, `range`, `define`, `block`, `template`; `pipeline` is None where the keyword takes none."""

    keyword: str
    pipeline: Pipeline | None
    body: tuple[Node, ...] = ()
    otherwise: tuple[Node, ...] = ()


Node: TypeAlias = "Text | Action | Block"


class _Token(NamedTuple):
    kind: str
    text: str


_TOKENS: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    |(?P<char>'(?:[^'\\\n]|\\.)+')
    |(?P<number>[+-]?[0-9][0-9A-Za-z_.+-]*)
    |(?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
    |(?P<dot>\.)
    |(?P<variable>\$[A-Za-z0-9_]*)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<declare>:=|=)
    |(?P<pipe>\|)
    |(?P<open>\()
    |(?P<close>\))
    |(?P<comma>,)""",
    re.VERBOSE,
)
_ACTION: Final = re.compile(r"\{\{(?P<left>- )?")
_COMMENT: Final = re.compile(r"\s*/\*(?:.|\n)*?\*/\s*")
_BLOCKS: Final = frozenset({"if", "with", "range", "define", "block"})
_WORDS: Final = {"true": True, "false": False, "nil": None}


def parse(text: str) -> tuple[Node, ...]:
    """The template as a tree. Raises InvalidValue with what is not understood."""
    if len(text) > TEMPLATE_MAX_CHARS:
        raise InvalidValue(f"template: expected at most {TEMPLATE_MAX_CHARS} characters, got {len(text)}")
    parser = _Parser(_pieces(text))
    nodes, end = parser.nodes(0)
    if end is not None:
        raise InvalidValue(f"template: unexpected {{{{ {end[0]} }}}}")
    return nodes


def is_template(text: str) -> bool:
    return "{{" in text


def operands(nodes: tuple[Node, ...]) -> Iterator[tuple[Operand, Call | None]]:
    """Every operand anywhere in the tree, each with the call whose argument it is."""
    for node in nodes:
        match node:
            case Text():
                pass
            case Action(pipeline):
                yield from _of_pipeline(pipeline)
            case Block(_, pipeline_or_none, body, otherwise):
                if pipeline_or_none is not None:
                    yield from _of_pipeline(pipeline_or_none)
                yield from operands(body)
                yield from operands(otherwise)


def blocks(nodes: tuple[Node, ...]) -> Iterator[Block]:
    """Every block anywhere in the tree."""
    for node in nodes:
        if isinstance(node, Block):
            yield node
            yield from blocks(node.body)
            yield from blocks(node.otherwise)


def _of_pipeline(pipeline: Pipeline) -> Iterator[tuple[Operand, Call | None]]:
    for n, command in enumerate(pipeline.commands):
        # What goes through a pipe is the last argument of the command after it.
        after = pipeline.commands[n + 1] if n + 1 < len(pipeline.commands) else None
        yield from _of_operand(command, after if isinstance(after, Call) else None)


def _of_operand(operand: Operand, inside: Call | None) -> Iterator[tuple[Operand, Call | None]]:
    yield operand, inside
    match operand:
        case Call(_, arguments):
            for argument in arguments:
                yield from _of_operand(argument, operand)
        case Pipeline():
            yield from _of_pipeline(operand)
        case Field(Pipeline() as root, _):
            yield from _of_pipeline(root)
        case _:
            pass


def _pieces(text: str) -> Iterator[str | list[_Token]]:
    """Texts and actions in order, with `{{-` and `-}}` applied."""
    at = 0
    trim = False
    while True:
        found = _ACTION.search(text, at)
        plain = text[at : found.start() if found else len(text)]
        if trim:
            plain = plain.lstrip(" \t\r\n")
        if found is None:
            yield plain
            return
        yield plain.rstrip(" \t\r\n") if found["left"] else plain
        comment = _COMMENT.match(text, found.end())
        if comment is not None:
            end = comment.end()
            trim = text.startswith("-}}", end)
            if not trim and not text.startswith("}}", end):
                raise InvalidValue("template: a comment is not closed by }}")
            at = end + (3 if trim else 2)
            continue
        tokens, at, trim = _action(text, found.end())
        yield tokens


def _action(text: str, at: int) -> tuple[list[_Token], int, bool]:
    tokens: list[_Token] = []
    while True:
        if text.startswith("}}", at):
            return tokens, at + 2, False
        if text[at : at + 1].isspace() and text.startswith("-}}", at + 1):
            return tokens, at + 4, True
        found = _TOKENS.match(text, at)
        if found is None:
            raise InvalidValue(f"template: not understood: {text[at : at + 30]!r}")
        kind = str(found.lastgroup)
        if kind != "space" or not text.startswith("-}}", found.end()):
            tokens.append(_Token(kind, found[0]))
            at = found.end()
        else:
            at = found.end() - 1


class _Parser:
    def __init__(self, pieces: Iterator[str | list[_Token]]) -> None:
        self._pieces = pieces

    def nodes(self, depth: int) -> tuple[tuple[Node, ...], tuple[str, list[_Token]] | None]:
        """Nodes up to `else` or `end`, which is returned too, or up to the end of the text."""
        if depth > _DEPTH_MAX:
            raise InvalidValue("template: nested too deeply")
        made: list[Node] = []
        for piece in self._pieces:
            if isinstance(piece, str):
                if piece:
                    made.append(Text(piece))
                continue
            tokens = [t for t in piece if t.kind != "space"]
            word = tokens[0].text if tokens and tokens[0].kind == "name" else ""
            if word in {"else", "end"}:
                return tuple(made), (word, piece)
            if word in _BLOCKS:
                made.append(self._block(word, piece, depth))
            elif word in {"template", "break", "continue"}:
                made.append(Block(word, None))
            else:
                made.append(Action(_pipeline(piece)))
        return tuple(made), None

    def _block(self, keyword: str, piece: list[_Token], depth: int) -> Block:
        rest = _after(piece, keyword)
        pipeline = None if keyword in {"define", "block"} else _pipeline(rest)
        body, end = self.nodes(depth + 1)
        otherwise: tuple[Node, ...] = ()
        if end is not None and end[0] == "else":
            chained = _after(end[1], "else")
            word = next((t.text for t in chained if t.kind == "name"), "")
            if any(t.kind != "space" for t in chained):
                if word not in {"if", "with"}:
                    raise InvalidValue("template: after else only if or with may follow")
                # `else if` shares the `end` of the block it continues.
                return Block(keyword, pipeline, body, (self._block(word, chained, depth + 1),))
            otherwise, end = self.nodes(depth + 1)
        if end is None or end[0] != "end":
            raise InvalidValue(f"template: {{{{ {keyword} }}}} has no {{{{ end }}}}")
        return Block(keyword, pipeline, body, otherwise)


def _after(piece: list[_Token], word: str) -> list[_Token]:
    n = next(n for n, t in enumerate(piece) if t.text == word)
    return piece[n + 1 :]


def _pipeline(tokens: list[_Token]) -> Pipeline:
    reader = _Reader(tokens)
    made = reader.pipeline(0)
    if reader.peek() is not None:
        raise InvalidValue(f"template: unexpected {reader.rest()!r}")
    return made


class _Reader:
    """One action's tokens. Spaces matter: `.a.b` is one operand, `.a .b` are two."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> _Token | None:
        while self._at < len(self._tokens) and self._tokens[self._at].kind == "space":
            self._at += 1
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def rest(self) -> str:
        return "".join(t.text for t in self._tokens[self._at :])[:40]

    def pipeline(self, depth: int) -> Pipeline:
        if depth > _DEPTH_MAX:
            raise InvalidValue("template: nested too deeply")
        declares = self._declared()
        commands = [self._command(depth)]
        while (token := self.peek()) is not None and token.kind == "pipe":
            self._at += 1
            if self.peek() is not None:  # Go takes a pipe that nothing follows
                commands.append(self._command(depth))
        return Pipeline(tuple(commands), declares)

    def _declared(self) -> tuple[str, ...]:
        names = []
        start = self._at
        while (token := self.peek()) is not None and token.kind in {"variable", "comma"}:
            self._at += 1
            if token.kind == "variable":
                names.append(token.text)
        if names and (token := self.peek()) is not None and token.kind == "declare":
            self._at += 1
            return tuple(names)
        self._at = start
        return ()

    def _command(self, depth: int) -> Operand:
        token = self.peek()
        if token is not None and token.kind == "name" and token.text not in _WORDS:
            self._at += 1
            return Call(token.text, tuple(self._arguments(depth)))
        parts = list(self._arguments(depth))
        if len(parts) != 1:
            raise InvalidValue(f"template: expected one value or a function, got {len(parts)} values")
        return parts[0]

    def _arguments(self, depth: int) -> Iterator[Operand]:
        while (token := self.peek()) is not None and token.kind not in {"pipe", "close"}:
            yield self._operand(token, depth)

    def _operand(self, token: _Token, depth: int) -> Operand:
        self._at += 1
        match token.kind:
            case "string":
                return Literal(_unquoted(token.text))
            case "number":
                return Literal(_number(token.text))
            case "dot":
                return Field(".", ())
            case "field":
                return Field(".", (token.text[1:], *self._path()))
            case "variable":
                return Field(token.text, tuple(self._path()))
            case "name" if token.text in _WORDS:
                return Literal(_WORDS[token.text])
            case "name":
                return Call(token.text, ())
            case "open":
                inner = self.pipeline(depth + 1)
                closing = self.peek()
                if closing is None or closing.kind != "close":
                    raise InvalidValue("template: a parenthesis is not closed")
                self._at += 1
                path = tuple(self._path())
                return Field(inner, path) if path else inner
            case _:
                raise InvalidValue(f"template: unexpected {token.text!r}")

    def _path(self) -> Iterator[str]:
        while self._at < len(self._tokens) and self._tokens[self._at].kind == "field":
            yield self._tokens[self._at].text[1:]
            self._at += 1


def _unquoted(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        value = json.loads(text)
    except ValueError:
        raise InvalidValue(f"template: an escape in {text[:40]} is not supported; write a raw string") from None
    return str(value)


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise InvalidValue(f"template: expected a whole number, got {text[:40]}") from None
