"""Turns the texts of command line options into values, with messages that name the option."""

from collections.abc import Sequence

import typer


def sizes(text: str) -> tuple[int, ...]:
    """Return the units of hidden layers."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(
            f"{text!r}: give positive whole numbers, for example 16 or 16,16", param_hint="--hidden"
        )
    return tuple(int(part) for part in parts)


def kinds(text: str) -> str | tuple[str, ...]:
    """Return the kinds of weights, one for all layers or one for each."""
    kinds = tuple(one_of(part.strip(), ("integer", "continuous"), "--weights") for part in text.split(","))
    return kinds if len(kinds) > 1 else kinds[0]


def bound(text: str, option: str, more: tuple[str, ...] = (), *, fractions: bool = False) -> float | str:
    """Return the bound of a domain, or its name."""
    if text in ("binary", "ternary", *more):
        return text
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if fractions and 0 < number <= 127:
        return int(number) if number.is_integer() else number
    if not (1 <= number <= 127 and number.is_integer()):
        names = ", ".join(("binary", "ternary", *more))
        raise typer.BadParameter(f"{text!r}: give a whole number from 1 to 127, or {names}", param_hint=option)
    return int(number)


def number_or_auto(text: str, option: str) -> float | str:
    """Return a number, or auto."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give a number, or auto", param_hint=option) from None


def share_or_folds(text: str) -> float | int | str:
    """Return a share of the samples, a number of folds, or auto."""
    if text == "auto":
        return text
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if 0 < number < 1:
        return number
    if number >= 2 and number.is_integer():
        return int(number)
    raise typer.BadParameter(
        f"{text!r}: give a share between 0 and 1 to hold out, a number of folds, at least 2, or auto",
        param_hint="--validation",
    )


def price(value: float | str, option: str) -> float | str:
    """Return a price that is not negative, or auto."""
    if not isinstance(value, str) and not 0 <= value <= 1e9:
        raise typer.BadParameter(f"{value:g}: give a number from 0 to 1e9", param_hint=option)
    return value


def radius(value: float, option: str) -> float:
    """Return a radius of perturbations."""
    if not 0 <= value <= 1:
        raise typer.BadParameter(
            f"{value:g}: give a number from 0 to 1, the range of a scaled feature in training", param_hint=option
        )
    return value


def one_of(value: str, allowed: Sequence[str], option: str) -> str:
    """Return the value if it is allowed."""
    if value not in allowed:
        raise typer.BadParameter(f"{value!r}: choose one of {', '.join(allowed)}", param_hint=option)
    return value
