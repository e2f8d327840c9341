"""Apparent age, perceived gender and race, and mask of every face in a photograph."""

__version__ = "0.1.0"
