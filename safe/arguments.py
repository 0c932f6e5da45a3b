"""Command lines: a parser whose errors are one line, and types of flags."""

import argparse
import difflib

from util import shorten


def did_you_mean(word, known):
    """ "; did you mean X?" for the nearest of the known words, else an empty string."""
    nearest = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, whose errors are one line, with the nearest flag for an unknown one. Shows the text as it is."""

    def __init__(self, *args, elsewhere=(), **kwargs):
        """elsewhere: {flag of another program: what there is in its place}."""
        self.elsewhere = dict(elsewhere)
        kwargs = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False} | kwargs
        super().__init__(*args, **kwargs)

    def parse_args(self, args=None, namespace=None):
        args, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].split("=")[0]
            if flag in self.elsewhere:
                self.error(f"{flag}: {self.elsewhere[flag]}")
            self.error(f"unknown argument {flag}{did_you_mean(flag, self._option_string_actions)}")
        return args

    def error(self, message):
        self.exit(2, f"error: {message} (--help lists the arguments)\n")


def argument_type(parse):
    """An argparse type from a function that reads a text, and whose ValueErrors say what is wrong with it."""

    def read(text):
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(error) from None

    return read


def _number(kind, allowed, limits=""):
    def parse(text):
        value = kind(text)
        if not (allowed(value) and abs(value) < float("inf")):
            raise argparse.ArgumentTypeError(f"{shorten(text)} is out of range{limits}")
        return value

    parse.__name__ = kind.__name__  # argparse names it in its messages
    return parse


positive_int = _number(int, lambda value: value >= 1)


def up_to(most, kind=int):
    """An argparse type: a number from 1 to `most`."""
    return _number(kind, lambda value: 1 <= value <= most, f", 1 to {most:,}")


positive_float = _number(float, lambda value: value > 0)


nonnegative_float = _number(float, lambda value: value >= 0)


fraction = _number(float, lambda value: 0 < value <= 1)


seed = _number(int, lambda value: 0 <= value < 2**32)


def number_list(text):
    """An argparse type: "1,0.5" for these two, none below 0."""
    return [nonnegative_float(part) for part in text.split(",")]


def seed_list(text):
    """An argparse type: "3" for seeds 1, 2, 3, or "4,7" for these two; at most 100, each once."""
    if "," not in text:
        return list(range(1, _number(int, lambda value: 1 <= value <= 100)(text) + 1))
    seeds = [seed(part) for part in text.split(",")]
    if len(set(seeds)) < len(seeds) or len(seeds) > 100:
        raise argparse.ArgumentTypeError(f"{shorten(text)}: at most 100 seeds, each of them once")
    return seeds
