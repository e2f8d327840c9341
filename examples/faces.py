"""The library in ten lines: python faces.py IMAGE..."""

import sys

from oamface import Analyzer, Failure

analyzer = Analyzer(tasks=["age", "mask"])  # leave out what you have no business knowing
for result in analyzer.analyze_batch(sys.argv[1:]):
    if isinstance(result, Failure):
        print(result.error)
        continue
    for face in result:
        print(result.source, f"{face.age.low:.0f} to {face.age.high:.0f} years, mask: {face.mask.label}, {face.box}")
