"""Draws masks and other occluders over a face from its five landmarks, each with its exact occlusion mask."""

from oamface.occlusion.styles import HELD_OUT, MASK_POSITIONS, STYLES, Occluded, Style, occlude

__all__ = ["HELD_OUT", "MASK_POSITIONS", "STYLES", "Occluded", "Style", "occlude"]
