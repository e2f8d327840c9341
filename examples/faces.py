"""The library in ten lines: python faces.py PHOTO..."""

import sys

from oamface import Analyzer, OamfaceError

analyzer = Analyzer(tasks=["age", "mask"])  # leave out what you have no business knowing
for path in sys.argv[1:]:
    try:
        image = analyzer.analyze(path)
    except OamfaceError as error:
        print(error)
        continue
    for face in image.faces:
        print(path, f"{face.age.low:.0f} to {face.age.high:.0f} years, mask: {face.mask.label}, box {face.box}")
