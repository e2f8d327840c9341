"""Masks and other things drawn over a face from its five landmarks, each with the exact coverage map.

`draw` covers one face; `STYLES` names what it can draw and what only evaluation may use.
"""

from oamface.occlusion.draw import HELD_OUT, STYLES, WEARS, Occluded, Style, draw

__all__ = ["HELD_OUT", "STYLES", "WEARS", "Occluded", "Style", "draw"]
