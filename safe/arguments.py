"""Command lines: a parser whose errors are one line, and types of flags."""

import argparse
import difflib
from contextlib import suppress

from util import readable, shorten


def did_you_mean(word, known):
    """ "; did you mean X?" for the nearest of the known words, else an empty string."""
    nearest = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, whose errors are one line, with the nearest flag for an unknown one. Shows the text as it is.

    elsewhere: {flag of another program: what there is in its place}.
    """

    def __init__(self, *args, elsewhere=(), **kwargs):
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
        self.exit(2, f"error: {readable(message)} (--help lists the arguments)\n")


def argument_type(parse):
    """An argparse type from a function that reads a text, and whose ValueErrors say what is wrong with it."""

    def read(text):
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(error) from None

    return read


def number(low, high, kind=float):
    """An argparse type: a number from low to high, of that kind."""

    def read(text):
        with suppress(ValueError):
            value = kind(text)
            if low <= value <= high:  # not of NaN
                return value
        words = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{shorten(readable(text))} is not {words} from {low:,.10g} to {high:,.10g}")

    return read


def whole(low, high):
    """An argparse type: a whole number from low to high."""
    return number(low, high, int)


# A type for each kind of number. Beyond the bounds nothing useful happens, or memory ends
positive_int = whole(1, 10**6)  # frames, clips, samples, classes, workers, ...
positive_float = number(1e-30, 1e30)  # float32 holds these
nonnegative_float = number(0, 1e30)
fraction = number(1e-30, 1)
fps = number(1, 1000)
seed = whole(0, 2**32 - 1)


def number_list(text):
    """An argparse type: "1,0.5" for these two, none below 0."""
    return [nonnegative_float(part) for part in text.split(",")]


def seed_list(text):
    """An argparse type: "3" for seeds 1, 2, 3, or "4,7" for these two; at most 100, each once."""
    if "," not in text:
        return list(range(1, whole(1, 100)(text) + 1))
    seeds = [seed(part) for part in text.split(",")]
    if len(set(seeds)) < len(seeds) or len(seeds) > 100:
        raise argparse.ArgumentTypeError(f"{shorten(text)}: at most 100 seeds, each of them once")
    return seeds
