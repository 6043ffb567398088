"""What a template's text uses: parameters, functions, the whole dot (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler.preview.gotemplate import Call, Field, Literal, Pipeline, blocks, is_template, operands, parse
from state.errors import InvalidValue

_OLD: Final = re.compile(r"\{\{\s*\.?([A-Za-z0-9_.-]+)\s*\}\}")

# Go's own functions and Sprig's generic ones that give the same result each time; Argo CD takes away env, expandenv
# and getHostByName and adds normalize, slugify, toYaml, fromYaml and fromYamlArray.
_KNOWN = """
    and or not len index slice print printf println html js urlquery call eq ne lt le gt ge
    abbrev abbrevboth trunc trim upper lower title untitle substr repeat trimall trimAll trimSuffix trimPrefix nospace
    initials swapcase snakecase camelcase kebabcase wrap wrapWith contains hasPrefix hasSuffix quote squote cat indent
    nindent replace plural sha1sum sha256sum sha512sum adler32sum toString atoi int64 int float64 seq toDecimal split
    splitList splitn toStrings until untilStep add1 add sub div mod mul add1f addf subf divf mulf biggest max min maxf
    minf ceil floor round join sortAlpha default empty coalesce all any compact mustCompact fromJson toJson
    toPrettyJson toRawJson mustFromJson mustToJson mustToPrettyJson mustToRawJson ternary deepCopy mustDeepCopy typeOf
    typeIs typeIsLike kindOf kindIs deepEqual base dir clean ext isAbs osBase osClean osDir osExt osIsAbs b64enc b64dec
    b32enc b32dec tuple list dict get set unset hasKey pluck keys pick omit merge mergeOverwrite mustMerge
    mustMergeOverwrite values append push mustAppend mustPush prepend mustPrepend first mustFirst rest mustRest last
    mustLast initial mustInitial reverse mustReverse uniq mustUniq without mustWithout has mustHas concat dig
    chunk mustChunk mustSlice fail regexMatch mustRegexMatch regexFindAll mustRegexFindAll regexFind
    mustRegexFind regexReplaceAll mustRegexReplaceAll regexReplaceAllLiteral mustRegexReplaceAllLiteral regexSplit
    mustRegexSplit regexQuoteMeta semver semverCompare urlParse urlJoin hello normalize slugify toYaml fromYaml
    fromYamlArray
"""
_CHANGING = """
    now ago date date_in_zone date_modify dateInZone dateModify duration durationRound htmlDate htmlDateInZone
    mustDateModify must_date_modify mustToDate toDate unixEpoch uuidv4 shuffle randAlphaNum randAlpha randAscii
    randNumeric randBytes randInt genPrivateKey derivePassword buildCustomCert genCA genCAWithKey genSelfSignedCert
    genSelfSignedCertWithKey genSignedCert genSignedCertWithKey encryptAES decryptAES bcrypt htpasswd
"""
KNOWN: Final = frozenset(_KNOWN.split())
CHANGING: Final = frozenset(_CHANGING.split())


GUARD: Final = re.compile(
    r'\{\{-?\s*if not \(regexMatch "[^"]*" \.\w+\)\s*-?\}\}'
    r'\{\{-?\s*fail "[^"]*"\s*-?\}\}\{\{-?\s*end\s*-?\}\}'
)
"""A check of a parameter that prints nothing, or fails the whole set."""


class Use(StrEnum):
    FIELD = "field"
    """A parameter; `name` is its path."""
    HAS = "has"
    """A parameter as the list of `has "literal"`."""
    WHOLE = "whole"
    """The dot itself, or a variable."""
    FUNCTION = "function"
    LOOP = "loop"
    """range or with over something that has a parameter in it."""
    UNKNOWN = "unknown"
    """Not understood; `name` says what."""


class Reference(NamedTuple):
    use: Use
    name: str

    @property
    def parameter(self) -> str:
        """The parameter's own name, without what follows its first dot."""
        return self.name.partition(".")[0]


def references(text: str, *, go: bool) -> Iterator[Reference]:
    """Everything that a text uses. What is not understood is told, so that nobody takes it for nothing."""
    if not is_template(text):
        return
    if not go:
        yield from (Reference(Use.FIELD, m[1]) for m in _OLD.finditer(text))
        return
    try:
        nodes = parse(text)
    except InvalidValue as error:
        yield Reference(Use.UNKNOWN, str(error))
        return
    for operand, inside in operands(nodes):
        match operand:
            case Field("." | "$", path) if path:
                yield Reference(Use.HAS if _is_has(inside, operand) else Use.FIELD, ".".join(path))
            case Field("." | "$", ()):
                yield Reference(Use.WHOLE, ".")
            case Field(str() as variable, _):
                yield Reference(Use.WHOLE, variable)
            case Call(function, _):
                yield Reference(Use.FUNCTION, function)
            case _:
                pass
    for block in blocks(nodes):
        if block.keyword in {"range", "with"} and block.pipeline is not None:
            yield from _loops(block.keyword, block.pipeline)
        elif block.keyword not in {"if", "range", "with"}:
            yield Reference(Use.UNKNOWN, f"{{{{ {block.keyword} }}}}")


def _is_has(inside: Call | None, field: Field) -> bool:
    if inside is None or inside.function not in {"has", "mustHas"}:
        return False
    return len(inside.arguments) == 2 and isinstance(inside.arguments[0], Literal) and inside.arguments[1] == field


def _loops(keyword: str, pipeline: Pipeline) -> Iterator[Reference]:
    for command in pipeline.commands:
        match command:
            case Field(_, path):
                yield Reference(Use.LOOP, f"{keyword} .{'.'.join(path)}")
            case Call(function, _):
                yield Reference(Use.LOOP, f"{keyword} {function}")
            case _:
                pass
