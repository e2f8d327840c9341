"""Writes the public-domain NASA portrait that scikit-image ships as an image file: python portrait.py OUT.png"""

import sys
from pathlib import Path

import skimage.data

from oamface.atomic import make_folder
from oamface.images import write_image

out = Path(sys.argv[1])
make_folder(out.parent)
write_image(out, skimage.data.astronaut())
