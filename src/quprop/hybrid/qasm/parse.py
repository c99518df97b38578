"""OpenQASM text -> syntax tree, by the language's own reference parser (`openqasm3`, extra ``qasm``).

OpenQASM 2 is read by the same grammar, with its own words: those that only version 3 reserves are names in it, `^` is
its power, and `opaque g q;` is read as the gate g without a body, called opaque. Every mistake becomes one sentence
with line and column, both counted from 1.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, NoReturn

from quprop.errors import QupropError
from quprop.lazy import missing

_MAX_DEPTH = 100  # brackets within brackets; the parser is recursive
_MAX_CHARACTERS = 50_000_000


_WORDS_OF_2 = frozenset(
    re.findall(r"\w+", "OPENQASM include qreg creg gate opaque if measure reset barrier")  # of its grammar's statements
)


class Parsed(NamedTuple):
    statements: list[Any]
    version: int  # 2 or 3
    opaque: frozenset[str] = frozenset()  # gates of version 2 that are declared only


class ProgramText:
    """The program's text, and where the nodes of its tree stand in it."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def place(self, node: Any) -> tuple[int, int]:
        """(line, column) of a node, from 1."""
        span = getattr(node, "span", None)
        if span is None:
            return 1, 1
        line, column = span.start_line, span.start_column
        name = getattr(node, "name", None)
        if isinstance(name, str) and 0 < line < len(self._starts):
            # The parser gives plain identifiers their offset in the file for a column.
            offset = column - self._starts[line - 1]
            if self.lines[line - 1].startswith(name, max(offset, 0)) and offset >= 0:
                column = offset
        return line, min(column, len(self.lines[line - 1]) if 0 < line <= len(self.lines) else column) + 1

    def text_of(self, node: Any) -> str:
        """The text of a node that stands on one line; an empty one for others."""
        span = node.span
        if span.start_line != span.end_line:
            return ""
        return str(self.lines[span.start_line - 1][span.start_column : span.end_column + 1])

    def refuse(self, node: Any, sentence: str) -> NoReturn:
        line, column = self.place(node)
        raise QupropError(f"line {line}, column {column}: {sentence}") from None


def parse(text: Any) -> tuple[Parsed, ProgramText]:
    """The statements of a program and its version; 3 where the program does not say."""
    if not isinstance(text, str):
        raise QupropError(f"from_qasm takes the program's text, got {type(text).__name__}; read the file first")
    if len(text) > _MAX_CHARACTERS:
        raise QupropError(f"a program of at most {_MAX_CHARACTERS:,} characters is read, got {len(text):,}")
    try:
        from antlr4 import CommonTokenStream, InputStream
        from antlr4.error.ErrorListener import ErrorListener
        from openqasm3.parser import QASM3ParsingError, QASMNodeVisitor, qasm3Lexer, qasm3Parser
    except ImportError:
        raise missing("reading OpenQASM needs its reference parser", "qasm") from None

    class Listener(ErrorListener):
        def syntaxError(self, recognizer: Any, symbol: Any, line: int, column: int, msg: str, e: Any) -> None:
            raise QupropError(f"line {line}, column {column + 1}: {_in_words(msg)}")

    class Lexer(qasm3Lexer):
        """The reference lexer, which turns to version 2 when the program says so."""

        version = 3
        opaque: frozenset[str] = frozenset()
        waiting: Any = None  # a token to give next
        declaring: str | None = None  # between opaque and its ;, the gate's name

        def mode(self, mode: int) -> None:
            # Words of version 3 start a mode of their own; of those of version 2 only the name of a file does.
            if self.version == 3 or mode == self.DEFAULT_MODE or self.text == "include":
                super().mode(mode)

        def nextToken(self) -> Any:
            token, self.waiting = self.waiting or super().nextToken(), None
            if token.type == self.VersionSpecifier:
                self.version = _version(token)
            if self.version == 3 or token.type in (self.StringLiteral, self.VersionSpecifier):
                return token
            if token.type == self.CARET:
                token.type, token.text = self.DOUBLE_ASTERISK, "**"
            elif token.text == "opaque":
                token.type, self.declaring = self.GATE, ""
            elif token.type == self.SEMICOLON and self.declaring is not None:
                self.opaque |= {self.declaring}
                self.waiting = token.clone()
                token.type, self.waiting.type, self.declaring = self.LBRACE, self.RBRACE, None
            elif token.text.isidentifier() and token.text not in _WORDS_OF_2:
                token.type = self.Identifier
                self.declaring = self.declaring if self.declaring != "" else token.text
            return token

    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    source = ProgramText(text)
    lexer = Lexer(InputStream(text))
    lexer.removeErrorListeners()
    lexer.addErrorListener(Listener())
    stream = CommonTokenStream(lexer)
    try:
        stream.fill()
    except (IndexError, ValueError) as error:  # the lexer's stack of modes, on an unclosed block
        if isinstance(error, QupropError):
            raise
        raise QupropError(f"line {lexer.line}, column {lexer.column + 1}: this cannot be read as OpenQASM") from None
    _check_depth(stream.tokens)
    parser = qasm3Parser(stream)
    parser.removeErrorListeners()
    parser.addErrorListener(Listener())
    try:
        program = QASMNodeVisitor().visitProgram(parser.program())
    except QupropError:
        raise
    except RecursionError:
        token = parser.getCurrentToken()
        raise QupropError(
            f"line {token.line}, column {token.column + 1}: this expression is nested too deeply to be read; split it"
        ) from None
    except QASM3ParsingError as error:
        match = re.match(r"L(\d+):C(\d+): (.*)", str(error), re.DOTALL)
        if match is None:
            raise QupropError(f"line 1, column 1: this cannot be read as OpenQASM ({error})") from None
        raise QupropError(f"line {match[1]}, column {int(match[2]) + 1}: {match[3]}") from None
    except Exception as error:  # the reference parser trips over some malformed trees itself
        token = parser.getCurrentToken()
        raise QupropError(
            f"line {token.line}, column {token.column + 1}: this cannot be read as OpenQASM ({type(error).__name__}); "
            "check the statements before it"
        ) from None
    return Parsed(program.statements, lexer.version, lexer.opaque), source


def _version(token: Any) -> int:
    if token.text in ("2", "2.0"):
        return 2
    if token.text.split(".")[0] != "3":
        raise QupropError(
            f"line {token.line}, column {token.column + 1}: OpenQASM 2 and 3 are read, got version {token.text}"
        )
    return 3


def _check_depth(tokens: list[Any]) -> None:
    depth = 0
    for token in tokens:
        if token.text in ("(", "[", "{"):
            depth += 1
            if depth > _MAX_DEPTH:
                raise QupropError(
                    f"line {token.line}, column {token.column + 1}: brackets are nested more than {_MAX_DEPTH} deep; "
                    "simplify the expression"
                )
        elif token.text in (")", "]", "}"):
            depth -= 1


def _in_words(message: str) -> str:
    """ANTLR's message, as a sentence, without its lists of all that could have come."""
    message = message.replace("<EOF>", "the end of the program").replace("\\n", " ")
    match = re.fullmatch(r"missing (.+?) at (.+)", message, re.DOTALL)
    if match:
        return f"{match[1].replace('Identifier', 'a name')} is missing before {_short(match[2])}"
    match = re.fullmatch(r"(?:mismatched|extraneous) input (.+?) expecting (.+)", message, re.DOTALL)
    if match:
        few = match[2].strip("{}").replace("', ", "' or ").replace("Identifier, ", "Identifier or ")
        few = few.replace("Identifier", "a name") if len(few) < 40 else "something else"
        return f"{few} was expected, got {_short(match[1])}; check the statement for a missing ';' or bracket"
    match = re.fullmatch(r"no viable alternative at input (.+)", message, re.DOTALL)
    if match:
        return f"this is no OpenQASM statement: {_short(match[1])}; check its spelling and brackets"
    match = re.fullmatch(r"token recognition error at: (.+)", message, re.DOTALL)
    if match:
        return f"this character or text is not OpenQASM: {_short(match[1])}; remove it"
    return f"this cannot be read as OpenQASM: {_short(message)}"


def _short(text: str) -> str:
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= 60 else f"{text[:30]} ... {text[-25:]}"
