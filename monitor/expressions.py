"""Decides what a configured expression finds in a message: JMESPath, compiled once, with a bound on its work.

A message can be a mebibyte of nested arrays, so an expression is charged for every node that it visits and for what it
makes; beyond `WORK_MAX` it fails like any other. Nothing of a message gets into an exception: a failure is a value.

Three expressions are not JMESPath, because a record is more than its message: `$key`, `$topic` and `$header.<name>`.
They stand alone, without anything before or after them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import jmespath
from jmespath.exceptions import IncompleteExpressionError, JMESPathError, LexerError, ParseError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from monitor.core.nearest import nearest

if TYPE_CHECKING:
    from jmespath.visitor import _TreeNode

WORK_MAX = 200_000
"""Nodes visited and items made for one message, all its expressions together: about 100 ms, of 500 ms that one message
may take. The longest transcript within the contract joined from its words (20,000) needs a fifth of it."""

EXPRESSION_CHARACTERS_MAX = 1_000
DEPTH_MAX = 64
"""Of the parsed expression; the library recurses two calls a level, and Python ends at 1,000."""
FAN_OUT_MAX = 1_000
"""Copies of its input that `[a, b]` and `{a: b}` can make, multiplied over one expression: comparing or printing what
they nest costs that much without visiting a node."""
CHARACTERS_AN_ITEM = 100
"""Text is cheaper than items: this many characters are charged like one."""


class Failed(Enum):
    """What an expression gives when it cannot be evaluated: never a value of any message."""

    FAILED = "failed"


FAILED = Failed.FAILED


class BadExpression(Exception):
    """An expression that cannot be compiled. `what` says why, with a position; `str` is the same."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


_Path: TypeAlias = tuple[str | int, ...]
_PATH = "path"
"""A kind of node that the library does not have."""

Headers: TypeAlias = Sequence[tuple[str, bytes]]


class Envelope(NamedTuple):
    """What a record has beside its message. The default is that of a line in a file."""

    key: bytes | None = None
    headers: Headers = ()
    topic: str | None = None


NO_ENVELOPE = Envelope()


class Expression(NamedTuple):
    """One compiled expression. It may only be used by one thread at a time, and shares a `Workbench` with others."""

    text: str
    read: Callable[[object, Envelope], object]
    """Of the message and its envelope; None for "not there", FAILED for "cannot be evaluated"."""
    constant: bool = False
    enveloped: bool = False
    """Whether it looks at the envelope rather than at the message."""


class Workbench(TreeInterpreter):
    """The library's interpreter with an account of its work. `start` before each message."""

    def __init__(self) -> None:
        super().__init__()
        self._left = WORK_MAX
        self._visits: dict[str, Callable[[_TreeNode, object], object]] = {
            name.removeprefix("visit_"): getattr(self, name) for name in dir(self) if name.startswith("visit_")
        }

    def start(self) -> None:
        self._left = WORK_MAX

    def visit(self, node: _TreeNode, value: object) -> object:
        self._left -= 1
        if self._left < 0:
            raise _WorkExceeded
        return self._visits[node["type"]](node, value)

    def visit_path(self, node: _TreeNode, value: object) -> object:
        """Our own kind of node, see `_shortened`."""
        return _walk(node["value"], value)

    def visit_flatten(self, node: _TreeNode, value: object) -> object:
        return self._charged(super().visit_flatten(node, value))

    def visit_function_expression(self, node: _TreeNode, value: object) -> object:
        name, arguments = node["value"], [self.visit(child, value) for child in node["children"]]
        if name == "join" and isinstance(arguments[0], str) and isinstance(arguments[1], list):
            self._spend(len(arguments[0]) * len(arguments[1]) // CHARACTERS_AN_ITEM)  # the glue may be a message's text
        return self._charged(_FUNCTIONS.call_function(name, arguments))

    def _charged(self, made: object) -> object:
        if isinstance(made, str):
            self._spend(len(made) // CHARACTERS_AN_ITEM)
        elif isinstance(made, list | dict):
            self._spend(len(made))
        return made

    def _spend(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise _WorkExceeded


class _WorkExceeded(Exception):
    pass


def compile_expression(text: str, workbench: Workbench) -> Expression:
    """Raises BadExpression.

    >>> compile_expression("results[0].text", Workbench()).read({"results": [{"text": "yes"}]}, NO_ENVELOPE)
    'yes'
    >>> compile_expression("$header.tenant", Workbench()).read({}, Envelope(headers=[("tenant", b"acme")]))
    'acme'
    >>> compile_expression("results[0].", Workbench())
    Traceback (most recent call last):
    monitor.expressions.BadExpression: it ends too early, at character 12
    """
    if not text.strip():
        raise BadExpression("it is empty")
    if len(text) > EXPRESSION_CHARACTERS_MAX:
        raise BadExpression(f"it is longer than {EXPRESSION_CHARACTERS_MAX} characters")
    if _SURROGATE.search(text):
        raise BadExpression("it has half a character in it (a lone surrogate)")
    if text.startswith("$"):
        return Expression(text, _envelope_reader(text), enveloped=True)
    tree = _parsed(text)
    _check(text, tree)
    if tree["type"] == "literal":
        return Expression(text, _constant_reader(tree["value"]), constant=True)
    tree = _shortened(tree)
    if tree["type"] == _PATH:
        return Expression(text, _path_reader(tree["value"]))
    return Expression(text, _tree_reader(tree, workbench))


# ------------------------------------------------------------------------------------------------------------- reading
_HEADER = "$header."


def _envelope_reader(text: str) -> Callable[[object, Envelope], object]:
    if text == "$key":
        return lambda _, envelope: _text(envelope.key)
    if text == "$topic":
        return lambda _, envelope: envelope.topic
    if text.startswith(_HEADER) and text != _HEADER:
        name = text.removeprefix(_HEADER)
        return lambda _, envelope: _header(envelope.headers, name)
    raise BadExpression('what begins with "$" is $key, $topic or $header.<name>, and nothing else')


def _header(headers: Headers, name: str) -> object:
    """The last of that name, as Kafka's own clients have it."""
    return next((_text(value) for found, value in reversed(headers) if found == name), None)


def _text(value: bytes | None) -> object:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return FAILED


def _constant_reader(value: object) -> Callable[[object, Envelope], object]:
    return lambda _message, _envelope: value


def _path_reader(path: _Path) -> Callable[[object, Envelope], object]:
    return lambda message, _: _walk(path, message)


def _walk(path: _Path, message: object) -> object:
    found = message
    for step in path:
        if type(step) is str:
            if type(found) is not dict:
                return None
            found = found.get(step)
        else:
            assert isinstance(step, int)
            if type(found) is not list or not -len(found) <= step < len(found):
                return None
            found = found[step]
    return found


def _tree_reader(tree: _TreeNode, workbench: Workbench) -> Callable[[object, Envelope], object]:
    def read(message: object, _: Envelope) -> object:
        try:
            return workbench.visit(tree, message)
        except (_WorkExceeded, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError):
            return FAILED  # what was raised holds parts of the message, and ends here

    return read


# ----------------------------------------------------------------------------------------------------------- compiling
_SURROGATE = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")
"""By escape or as it is: text with one in it cannot be written as UTF-8, and nothing a message holds may be so."""

_FUNCTIONS = Functions()
_SIGNATURES: Mapping[str, Mapping[str, Sequence[Mapping[str, object]]]] = Functions.FUNCTION_TABLE


def _parsed(text: str) -> _TreeNode:
    try:
        return jmespath.compile(text).parsed
    except IncompleteExpressionError:
        what = f"it ends too early, at character {len(text) + 1}"
    except LexerError as error:
        what = f"{error.message[:1].lower()}{error.message[1:]}, at character {error.lexer_position + 1}"
    except ParseError as error:
        found = f'unexpected "{error.token_value}"' if error.token_value else "it ends too early"
        what = f"{found}, at character {error.lex_position + 1}"
    except (JMESPathError, ValueError, TypeError, LookupError, AttributeError):
        what = "it is no expression"  # a fault of the parser for some texts that are none
    except RecursionError:
        what = "it is nested too deeply"
    raise BadExpression(what)


def _check(text: str, tree: _TreeNode) -> None:
    """What the library would only say for a message: unknown functions, wrong numbers of arguments."""
    copies = 1
    for node, depth in _nodes(tree):
        if depth > DEPTH_MAX:
            raise BadExpression(f"it is nested more than {DEPTH_MAX} levels deep")
        if node["type"] == "function_expression":
            _check_call(text, node["value"], len(node["children"]))
        elif node["type"] in ("multi_select_list", "multi_select_dict"):
            copies *= len(node["children"])
        elif node["type"] == "slice":
            bounds: Sequence[object] = node["children"]
            if bounds[2] == 0:
                raise BadExpression("a slice cannot have a step of 0")
    if copies > FAN_OUT_MAX:
        raise BadExpression(f"its lists and objects copy their input more than {FAN_OUT_MAX} times")


def _check_call(text: str, name: str, given: int) -> None:
    call = re.search(rf"\b{re.escape(name)}\s*\(", text)
    place = f"at character {call.start() + 1}" if call else "somewhere"
    if name not in _SIGNATURES:
        known = nearest(name, _SIGNATURES) or ", ".join(sorted(_SIGNATURES))
        raise BadExpression(f"unknown function {name}(), {place}; there is {known}")
    wanted = _SIGNATURES[name]["signature"]
    variadic = bool(wanted and wanted[-1].get("variadic"))
    if given < len(wanted) or (given > len(wanted) and not variadic):
        least = "at least " if variadic else ""
        raise BadExpression(f"{name}() takes {least}{len(wanted)} arguments, not {given}, {place}")


def _nodes(tree: _TreeNode) -> Iterator[tuple[_TreeNode, int]]:
    """Every node with its depth, without recursion: how deep it is, is what is to be found out."""
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting += [(child, depth + 1) for child in node["children"] if isinstance(child, dict)]


def _shortened(node: _TreeNode) -> _TreeNode:
    """The tree with every `a.b[0].c` as one node: names and indices need no interpreter, and most expressions are
    nothing else. Four times as fast. The library's own tree is not touched: it keeps it for the next who asks.
    """
    path = _plain_path(node)
    if path is not None:
        return {"type": _PATH, "value": path, "children": []}
    children: list[_TreeNode] = [_shortened(child) if isinstance(child, dict) else child for child in node["children"]]
    return {**node, "children": children}


def _plain_path(node: _TreeNode) -> _Path | None:
    if node["type"] in ("field", "index"):
        return (node["value"],)
    if node["type"] not in ("subexpression", "index_expression"):
        return None
    steps: list[str | int] = []
    for child in node["children"]:
        path = _plain_path(child)
        if path is None:
            return None
        steps += path
    return tuple(steps)
