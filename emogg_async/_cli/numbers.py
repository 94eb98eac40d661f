"""Ranges of numbers, which click calls `float range` and `integer range` to users."""

import click

__all__ = ["Number", "WholeNumber"]


class Number(click.FloatRange):
    """A number in a range."""

    name = "number"


class WholeNumber(click.IntRange):
    """A whole number in a range."""

    name = "whole number"
