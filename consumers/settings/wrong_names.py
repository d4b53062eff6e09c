"""Names that are no settings, with the one that was probably meant. No text shows a value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from consumers.settings.catalogue import ANY_NAME, NAMED_GROUPS, catalogue, variable_of
from consumers.settings.model import ENV_FILE_VARIABLE, PREFIX, Settings
from schemas.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


CONFIG_VARIABLE = f"{PREFIX}CONFIG"
NOT_SETTINGS = (CONFIG_VARIABLE, ENV_FILE_VARIABLE, f"{PREFIX}REDACT_KEY")
"""Variables with our prefix that are read elsewhere."""
RENAMED = {
    "CROWDSEC__PEOPLES_SHARE": "CROWDSEC__MANUAL_SHARE",
    "CROWDSEC__ASK_BEYOND_REPLICA": "CROWDSEC__LOOK_UP_BEYOND_REPLICA",
    "LOGS__PATIENCE": "LOGS__RETRY_LIMIT",
    "SENTINEL__JUDGED": "SENTINEL__UPLOAD_MALICIOUS",
    "SENTINEL__VALID": "SENTINEL__VALID_FOR",
}
"""Former names of settings. They are refused with the new name, never ignored."""


def unknown_variables(names: Iterable[str]) -> Iterator[str]:
    """Yield a line for each variable with our prefix whose group does not exist."""
    single = {setting.path[0].upper() for setting in catalogue() if len(setting.path) == 1}
    single.remove("OWN_TABLES")  # the columns of a table nest below it
    for variable in names:
        name = variable.upper()
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        group, *below = name.removeprefix(PREFIX).split("__")
        if group not in _groups() or (group in single and below):
            hint = _variable_meant(name.removeprefix(PREFIX))
            all_groups = ", ".join(f"{PREFIX}{known}" for known in sorted(_groups()))
            yield f"{variable}: no such setting{hint or f'; settings start with {all_groups}'}"


def unknown_keys(from_file: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key at the top of a TOML file that does not exist."""
    for key in from_file:
        if key not in Settings.model_fields:
            yield f"{_toml_key([key])}: no such setting in the TOML file{_key_meant([key])}"


def problem_lines(error: ValidationError, from_file: Mapping[str, Any]) -> list[str]:
    """Return a line for each wrong setting, under the name of its variable; wrong names first.

    A wrong name in *from_file*, the TOML file, is shown as in TOML.
    """
    problems = error.errors(include_input=False, include_context=False, include_url=False)
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    return [_problem_line(problem, from_file) for problem in problems]


def _problem_line(problem: ErrorDetails, from_file: Mapping[str, Any]) -> str:
    path = [part for part in problem["loc"] if isinstance(part, str)]
    name = "__".join(path).upper()
    if problem["type"] == "extra_forbidden" or _lacks_name(path, problem):
        return _unknown(path, name, from_file)
    return f"{PREFIX}{name}: {problem['msg'].removeprefix('Value error, ')}"


def _lacks_name(path: list[str], problem: ErrorDetails) -> bool:
    """Return True for a setting of a feed, such as its password, without the feed's name."""
    group = NAMED_GROUPS.get(path[0])
    fields = group.model_fields if group is not None and problem["type"] == "model_type" else {}
    return len(path) == 2 and path[1] in fields


def _unknown(path: list[str], name: str, from_file: Mapping[str, Any]) -> str:
    bare = name.removeprefix(PREFIX)
    if bare in RENAMED:
        return f"{PREFIX}{bare}: was renamed; set {PREFIX}{RENAMED[bare]} instead"
    if _has(from_file, path):
        return f"{_toml_key(path)}: no such setting in the TOML file{_key_meant(path)}"
    if len(path) == 1 and bare == name:  # a line of the file of variables, without the prefix
        return f"{name}: no such setting in the file of variables{_variable_meant(name)}"
    return f"{PREFIX}{bare}: no such setting{_variable_meant(bare)}"


def _has(data: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def _variable_meant(name: str) -> str:
    meant = _meant(name)
    if meant is None:
        return ""
    return f"; did you mean {variable_of(meant)}{'' if _is_complete(meant) else '__…'}?"


def _key_meant(path: list[str]) -> str:
    meant = _meant("__".join(path).upper().removeprefix(PREFIX))
    if meant is None:
        return ""
    label = path[1] if len(path) > 2 else ""
    keys = (label if part == label.upper() else part for part in meant)
    return f"; did you mean {'.'.join(keys)}?"


def _toml_key(path: list[str]) -> str:
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in path)


def _meant(name: str) -> tuple[str, ...] | None:
    """Return the path of the setting, or of the group, that *name* without prefix means."""
    label = _label(name)
    given = name.replace(label, ANY_NAME, 1) if label else name
    known = {"__".join(setting.path).upper(): setting.path for setting in catalogue()}
    if "__" not in given:
        known |= {group: (group.lower(),) for group in _groups()}
    found = _in_same_group(given, list(known)) or closest(given, known)
    if found is not None:
        return tuple(label or part if part == ANY_NAME else part for part in known[found])
    group = closest(given.split("__")[0], _groups())
    return None if group is None or group in given.split("__") else (group.lower(),)


def _in_same_group(given: str, known: list[str]) -> str | None:
    """Compare within the group alone, if that is right: its name would make all alike."""
    group = given.rpartition("__")[0]
    prefix = f"{group}__"
    rest = {name.removeprefix(prefix): name for name in known if name.startswith(prefix)}
    found = closest(given.removeprefix(prefix), rest) if group else None
    return None if found is None else rest[found]


def _label(name: str) -> str:
    """Return the name of the feed, list or MMDB file in the name of a setting, empty if none."""
    parts = name.split("__")
    if len(parts) == 3 and closest(parts[0], NAMED_GROUPS):
        return parts[1]
    for setting in catalogue():
        if ANY_NAME in setting.path:
            group, _, key = (re.escape(part.upper()) for part in setting.path)
            found = re.fullmatch(rf"{group}_+([^_].*?)_+{key}", name)
            if found is not None:
                return found[1]
    return ""


def _groups() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


def _is_complete(path: tuple[str, ...]) -> bool:
    return len(path) > 1 or any(setting.path == path for setting in catalogue())
