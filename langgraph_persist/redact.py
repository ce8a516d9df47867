"""Redactors for ``Persist(redact=…)``: what must not be read in the record is replaced by a mark.

A redactor is given JSON values (a string, a number, a list, a dict) and gives back what may be
recorded: of each string and number first, then of the list or dict that it is in, which is where it
finds the keys. Any callable does, and they can be combined::

    Persist(redact=[redact_secrets, redact_personal])

Only the record is redacted. Checkpoints hold the state as it is: a graph could not go on without.
Names of nodes and channels, and the ids of threads, runs, messages and tool calls, by which rows
are found, stay as they are; bytes are in base64, where no text is recognised.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

_KEY = re.compile(
    r"api_?key|secret|passw(or)?d|pwd$|passphrase|credential|authori[sz]ation|bearer|cookie|jwt"
    r"|(private|access|account)_?key|connection_string|(^|_)o?auth$|(^|_)token$",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SCHEMA = ("properties", "$defs", "definitions")
"""Where a JSON schema has names of its own."""
# Whatever may repeat is bounded, or cannot begin within itself: texts are long, and not ours.
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web tokens
    r"|\b(?:sk|pk|rk)[-_][\w-]{16,}"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|hf_|npm_|pypi-|lsv2_|gsk_|tvly-|AIza)"
    r"[\w-]{16,}"
    r"|\bSG\.[\w-]{16,}\.[\w-]{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|(?<=[Bb]earer )[\w.~+/=-]{16,}"
    r"|(?<=://)[^\s/@:]{0,256}:[^\s/@]{1,1024}(?=@)",
    re.DOTALL,
)
_ASSIGNED = re.compile(
    r"(?i)((?:api[_-]?key|secret(?:[_-][a-z]{1,20}){0,3}|(?:access|private|account)[_-]?key|passwd"
    r"|password|(?:(?<![a-z])|access|refresh|auth|id|session|csrf)token)"
    r"[\"']?\s{0,8}[:=]\s{0,8}[\"']?"
    r"|authori[sz]ation[\"']?\s{0,8}[:=]\s{0,8}[\"']?basic\s{1,8})([^\s\"',;}]{6,})"
)
_EMAIL = re.compile(r"[\w.+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[A-Za-z]{2,24}")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_PHONE = re.compile(
    r"(?<![\w.-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[ .-]\d{3}[ .-]\d{4}"
    r"|0\d{1,4}[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3})(?![\w-]|\.\d)"
)


def _goes_inside(redact: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Mark a redactor that is to be given a value as a whole."""
    vars(redact)["goes_inside"] = True
    return redact


@_goes_inside
def redact_secrets(value: Any) -> Any:
    """A JSON value without keys, tokens and passwords, known by their form or their name.

    What a secret's name names is left out whatever it is, but for ``null`` and booleans.
    """
    return _through(value, _without_secrets, by_name=True)


@_goes_inside
def redact_personal(value: Any) -> Any:
    """A JSON value without e-mail addresses and the numbers of telephones, cards and accounts.

    Of plain numbers it knows those of cards; a telephone's could be any.
    """
    return _through(value, _without_personal, by_name=False)


def _through(value: Any, clean: Callable[[str], str], by_name: bool) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_through(item, clean, by_name) for item in value]
    if isinstance(value, dict):
        return {clean(key): _item(key, item, clean, by_name) for key, item in value.items()}
    if not by_name and type(value) is int and _is_card_number(value):
        return "[card]"
    return value


def _item(key: str, item: Any, clean: Callable[[str], str], by_name: bool) -> Any:
    if not by_name:
        return _through(item, clean, by_name)
    if key in _SCHEMA and isinstance(item, dict):
        # What is named there is a schema itself, and holds no value.
        return {
            clean(name): _through(part, clean, by_name)
            if isinstance(part, dict)
            else _item(name, part, clean, by_name)
            for name, part in item.items()
        }
    return "[secret]" if _holds_secret(key, item) else _through(item, clean, by_name)


def _holds_secret(key: str, item: Any) -> bool:
    return item is not None and not isinstance(item, bool) and _names_secret(key)


@functools.lru_cache(maxsize=4096)
def _names_secret(key: str) -> bool:
    names = (key, _HUMP.sub("_", key))
    return any(_KEY.search(name.replace("-", "_")) for name in names)


def _without_secrets(text: str) -> str:
    return _ASSIGNED.sub(r"\1[secret]", _SECRETS.sub("[secret]", text))


def _without_personal(text: str) -> str:
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    text = _IBAN.sub(lambda found: "[iban]" if _is_iban(found[0]) else found[0], text)
    text = _CARD.sub(lambda found: "[card]" if _is_card(found[0]) else found[0], text)
    return _PHONE.sub("[phone]", text)


def _is_iban(text: str) -> bool:
    """Whether its two check digits are right."""
    code = text.replace(" ", "")
    return int("".join(str(int(char, 36)) for char in code[4:] + code[:4])) % 97 == 1


def _is_card(number: str) -> bool:
    """Whether the last digit is the checksum of the others, as that of every card is."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_card_number(number: int) -> bool:
    """Whether it is one; times in parts of a second are as long, but begin otherwise."""
    return 10**13 <= number < 10**19 and (text := str(number))[0] in "3456" and _is_card(text)
