r"""Pseudonymises a message body: same structure, no real names or IP addresses. Pure.

Every text becomes a pseudonym of its kind, unless :mod:`consumers.commands.redact.allow_list`
keeps it because it identifies nobody. A GUID stays a GUID; hexadecimal and digits keep their
length; a mail address keeps a consistent pseudonym of its domain; the parts of a path or of
``DOMAIN\user`` are replaced individually. Free text becomes a single pseudonym, followed by the IP
addresses in it. An IP address in any field is replaced by
:mod:`consumers.commands.redact.addresses`. JSON in a text is redacted as JSON.

Pseudonyms are keyed hashes of the text in lower case. Equal values stay equal, across fields and
across runs with the same key, and reveal nothing without it. Short numbers and hexadecimal are
permuted one-to-one, so distinct ids stay distinct. Booleans, null, empty values (empty, ``-``,
``<null>``), numbers below 1,000, and names that look like column names are kept.
"""

from __future__ import annotations

import math
import re
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from consumers.commands.redact.addresses import AddressMap
from consumers.commands.redact.allow_list import PATH_WORDS, AllowList, family_of
from schemas.events.addresses import MAX_ADDRESS_LENGTH
from schemas.events.decode import MAX_BODY_BYTES, Decoder
from schemas.events.framing import records_of
from schemas.events.lenient_json import TooDeep, load_json
from schemas.events.record_recovery import recovered

if TYPE_CHECKING:
    from schemas.events.tables import Tables

UNREADABLE = b"unreadable message"
"""Replaces a message that is not JSON; it is not JSON either."""
UNREADABLE_RECORD = "unreadable record"
"""Replaces an unreadable record in a readable envelope; it is not a record either."""
MAX_REDACT_DEPTH = 100
"""Nesting beyond which objects and lists are emptied. Nothing is read that deep."""
MAX_REMEMBERED_TEXTS = 200_000
MAX_REMEMBERED_LENGTH = 300
MAX_UNKNOWN_NAMES = 1_000
MAX_TEXT_ADDRESSES = 10
"""IP addresses kept of a free text."""
_MAX_PATH_LENGTH = 2_000

_NOTHING = frozenset(("", "-", "<null>", "true", "false"))
_NIL = "00000000-0000-0000-0000-000000000000"
_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
_IDENTIFYING_NAME = re.compile(
    r"[0-9]{5}|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}|^[0-9.]+$|^[0-9A-Fa-f]{12,}$"
)
"""Names that look like personal identifiers: numbers, IP addresses, GUIDs, hashes."""
_GUID = re.compile(r"(\{?)([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})(\}?)")
_HEX = re.compile(r"(?=.*[0-9])[0-9A-Fa-f]{8,256}")
_DIGITS = re.compile(r"([-+]?0*)([0-9]{1,60})")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,20}\.[0-9]{1,20}")
_MAIL = re.compile(r"([^@\s/]{1,256})@([^@\s/]{1,256})")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.[A-Za-z][A-Za-z0-9-]{1,62}")
_NETWORK = re.compile(r"([0-9A-Fa-f:.]{2,45})/([0-9]{1,3})")
_PORT = re.compile(r"[0-9]{1,5}")
_IN_TEXT = re.compile(r"(?<![0-9A-Fa-f.:/])([0-9A-Fa-f:.]{2,45})(?![0-9A-Za-z.:])")


class Redactor:
    """Redacts message bodies with a key of at least 32 bytes."""

    def __init__(self, key: bytes, tables: Tables) -> None:
        self.records = 0
        self.unreadable_messages = 0
        self.unreadable_records = 0
        self.unknown_names: set[str] = set()
        """Kept names of columns that no table defines, up to a limit."""
        self._key = key[:64]
        self._keep = AllowList(tables)
        self._decoder = Decoder(tables)
        self._addresses = AddressMap(self._key)
        self._remembered: dict[tuple[str, str], str] = {}
        self._names: dict[str, str] = {}

    def message(self, body: bytes) -> bytes:
        """Return the body redacted, with the same records, on a single line. Never raises."""
        body = body.removeprefix(b"\xef\xbb\xbf")
        if len(body) > MAX_BODY_BYTES:
            return self._unreadable()
        try:
            value = load_json(body)
        except (ValueError, RecursionError):
            return self._by_record(body)
        self.records += len(records_of(body))
        return orjson.dumps(self._value(value, "", 0))

    def _unreadable(self) -> bytes:
        self.records += 1
        self.unreadable_messages += 1
        return UNREADABLE

    def _by_record(self, body: bytes) -> bytes:
        """Redact a body that is not a single JSON text: by lines, or around broken records."""
        records: list[Any] = []
        unreadable = 0
        for part in chain.from_iterable(map(self._pieces_of, records_of(body))):
            try:
                records.append(self._value(load_json(part), "", 1))
            except (ValueError, RecursionError):
                unreadable += 1
                records.append(UNREADABLE_RECORD)
        if unreadable == len(records) <= 1:
            return self._unreadable()
        self.unreadable_records += unreadable
        self.records += len(records)
        return orjson.dumps({"records": records})

    def _pieces_of(self, part: bytes) -> list[bytes]:
        """Return a record, or the parts that the decoder finds in a broken one."""
        try:
            load_json(part)
        except (TooDeep, RecursionError):
            return [part]
        except ValueError:
            return [piece for _, piece in recovered(part, self._decoder.tells_its_table)]
        return [part]

    # --- values ---

    def _value(self, value: Any, name: str, depth: int) -> Any:
        """Redact a value under *name*, in lower case. List items inherit the name."""
        if isinstance(value, str):
            return self._text(value, name, depth)
        if isinstance(value, dict):
            return {} if depth > MAX_REDACT_DEPTH else self._object(value, name, depth)
        if isinstance(value, list):
            return (
                []
                if depth > MAX_REDACT_DEPTH
                else [self._value(item, name, depth + 1) for item in value]
            )
        if value is None or isinstance(value, bool):
            return value
        return self._number(value, name)

    def _object(self, value: dict[str, Any], name: str, depth: int) -> dict[str, Any]:
        found = {}
        for key, inner in value.items():
            low = key.lower()
            under = name if name and low in ("value", "localizedvalue") else low
            found[self._name(key)] = self._value(inner, under, depth + 1)
        return found

    def _name(self, name: str) -> str:
        found = self._names.get(name)
        if found is None:
            found = self._new_name(name)
            if len(self._names) < MAX_REMEMBERED_TEXTS:
                self._names[name] = found
        return found

    def _new_name(self, name: str) -> str:
        if name == "" or name.lower() in self._keep.names:
            return name
        if not _NAME.fullmatch(name) or _IDENTIFYING_NAME.search(name):
            return self._word(name)
        if len(self.unknown_names) < MAX_UNKNOWN_NAMES:
            self.unknown_names.add(name)
        return name

    def _number(self, number: float, name: str) -> float:
        if self._keep.is_place(name):
            return 0.0 if isinstance(number, float) else 0
        if isinstance(number, float) and not (math.isfinite(number) and number.is_integer()):
            return 0.5  # still not an integer and not zero; nothing else of it is read
        if abs(number) < 1_000 or self._keep.keeps_number(name, number):
            return number
        new = int(self._digits(str(abs(int(number)))[:18])) * (-1 if number < 0 else 1)
        return float(new) if isinstance(number, float) else new

    def _text(self, text: str, name: str, depth: int) -> str:
        place = (name, text)
        found = self._remembered.get(place)
        if found is None:
            found = self._new_text(text, name, depth)
            if len(self._remembered) >= MAX_REMEMBERED_TEXTS:
                self._remembered.clear()
            if len(text) < MAX_REMEMBERED_LENGTH:
                self._remembered[place] = found
        return found

    def _new_text(self, text: str, name: str, depth: int) -> str:
        bare = text.strip()
        if bare.lower() in _NOTHING:
            return bare
        if self._keep.is_place(name):
            return "0"
        found = self._address(bare) or self._keep.kept_part(name, text)
        if found is not None:
            return found
        if bare[0] in "{[" and (inside := self._json(text, name, depth)) is not None:
            return inside
        if self._keep.is_agent(name):
            return self._with_addresses(f"{family_of(bare)} {self._word(bare)}", bare)
        if name == "actiontype" and bare.lower().startswith("logon"):
            return f"Logon-{self._word(bare)}"  # which identifies hunting rows
        return self._pseudonym(bare)

    def _json(self, text: str, name: str, depth: int) -> str | None:
        try:
            value = load_json(text)
        except (ValueError, RecursionError):
            return None
        before = text[: len(text) - len(text.lstrip())]
        return before + orjson.dumps(self._value(value, name, depth + 1)).decode()

    # --- addresses ---

    def _address(self, text: str) -> str | None:
        """Replace an IP address with its brackets, port or zone; return None for other text."""
        if len(text) > MAX_ADDRESS_LENGTH:
            return None
        if network := _NETWORK.fullmatch(text):
            found = self._addresses.replaced(network[1])
            return f"{found}/{network[2]}" if found else None
        bracket, after = text.startswith("["), ""
        address = text
        if bracket:
            address, _, after = text[1:].partition("]")
        elif text.count(":") == 1:
            address, _, after = text.partition(":")
        address, zone, _ = address.partition("%")
        found = self._addresses.replaced(address)
        if found is None:
            return None
        port = _PORT.fullmatch(after.removeprefix(":"))
        end = f":{self._shuffled(int(port[0]), 10 ** len(port[0]), 'port')}" if port else ""
        found += "%0" if zone else ""
        return (f"[{found}]" if bracket else found) + end

    def _with_addresses(self, new: str, text: str) -> str:
        """Return *new* followed by the replacements of the IP addresses in a free text."""
        found = []
        for match in _IN_TEXT.finditer(text):
            part = match[1].strip(".")
            tries = (part, part.strip(":"), part.partition(":")[0], part.rpartition(":")[2])
            replaced = next(filter(None, map(self._addresses.replaced, tries)), None)
            if replaced is not None:
                found.append(replaced)
        return " ".join((new, *found[:MAX_TEXT_ADDRESSES]))

    # --- pseudonyms ---

    def _pseudonym(self, text: str) -> str:
        if guid := _GUID.fullmatch(text):
            return guid[1] + self._guid(guid[2]) + guid[3]
        if digits := _DIGITS.fullmatch(text):
            short = len(text) < 4
            return text if short else digits[1] + self._digits(digits[2])
        if _HEX.fullmatch(text):
            return self._hex(text)
        if _DECIMAL.fullmatch(text):
            return "0.0"
        if mail := _MAIL.fullmatch(text):
            return f"{self._word(mail[1])}@{self._domain(mail[2])}"
        return self._parted(text)

    def _parted(self, text: str) -> str:
        for mark in "/\\":
            if mark in text and len(text) < _MAX_PATH_LENGTH and not re.search(r"\s", text):
                return mark.join(map(self._part, text.split(mark)))
        if _HOST.fullmatch(text):
            first, _, rest = text.partition(".")
            return (
                f"{self._word(first)}.{self._domain(rest)}" if "." in rest else self._domain(text)
            )
        word = self._word(text)
        if "/" in text and len(text) <= MAX_ADDRESS_LENGTH:
            return f"{word}/"  # so that it is still read as a network
        return self._with_addresses(word, text)

    def _part(self, text: str) -> str:
        if text == "" or text.lower() in PATH_WORDS:
            return text
        return self._address(text) or self._pseudonym(text)

    def _hash(self, text: str, kind: str) -> bytes:
        data = text.lower().encode("utf-8", "surrogatepass")
        return blake2b(data, key=self._key, person=kind.encode()).digest()

    def _word(self, text: str) -> str:
        return f"r-{self._hash(text, 'word')[:8].hex()}"

    def _domain(self, text: str) -> str:
        return f"{self._word(text)}.example"

    def _guid(self, text: str) -> str:
        if text == _NIL:
            return text
        new = self._hex(text.replace("-", ""))
        return "-".join((new[:8], new[8:12], new[12:16], new[16:20], new[20:]))

    def _hex(self, text: str) -> str:
        size = len(text)
        if size <= 16:
            new = f"{self._shuffled(int(text, 16), 16**size, 'hex'):0{size}x}"
        else:
            new = (self._hash(text, "hex").hex() * 2)[:size].ljust(size, "0")
        return new.upper() if text.isupper() else new

    def _digits(self, text: str) -> str:
        """Replace digits without leading zeros, except a single 0."""
        size = len(text)
        if size < 4 or size > 18:
            long = str(int.from_bytes(self._hash(text, "digits")))
            return text if size < 4 else long[:size]
        least = 10 ** (size - 1)
        return str(least + self._shuffled(int(text) - least, 9 * least, "digits"))

    def _shuffled(self, number: int, size: int, kind: str) -> int:
        """Return the image of a number under a keyed permutation of ``range(size)``.

        A Feistel network permutes the next power of four; results out of range are permuted again.
        """
        half = max(1, ((size - 1).bit_length() + 1) // 2)
        mask = (1 << half) - 1
        while True:
            left, right = number >> half, number & mask
            for turn in range(8):
                data = b"%d %d %d" % (size, turn, right)
                digest = blake2b(data, key=self._key, person=kind.encode(), digest_size=8).digest()
                left, right = right, left ^ (int.from_bytes(digest) & mask)
            number = left << half | right
            if number < size:
                return number
