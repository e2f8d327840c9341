"""UTKFace (Zhang et al., 2017): aligned crops named [age]_[gender]_[race]_[date]. Non-commercial research use."""

from oamface.datasets.archive import Source
from oamface.datasets.index import Catalogue, Entry, own_split, stem
from oamface.images import is_image
from oamface.labels import AGES, GENDERS, UTKFACE_RACES, WITHOUT_MASK, Label


def read(source: Source) -> Catalogue:
    """Every image with a whole name; broken names are refused. Ages above 100 count as 100.

    The set says nothing of masks; it is older than their everyday use, so its faces count as bare.
    """
    catalogue = Catalogue("utkface")
    for name in filter(is_image, source.names):
        parts = stem(name).strip().split("_")  # one published name ends in a space
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
            catalogue.refused[name] = "the name is not [age]_[gender]_[race]_[date]"
            continue
        age, gender, race = (int(part) for part in parts[:3])
        if gender >= len(GENDERS) or race >= len(UTKFACE_RACES) or age > 120:
            catalogue.refused[name] = f"age {age}, gender {gender}, race {race} is outside the published codes"
            continue
        years = min(age, AGES[-1])
        label = Label((years, years), frozenset({GENDERS[gender]}), UTKFACE_RACES[race], WITHOUT_MASK)
        catalogue.entries.append(Entry(name, own_split(name), label))
    return catalogue
