"""UTKFace (Zhang et al., 2017): aligned crops named [age]_[gender]_[race]_[date]. Non-commercial research use."""

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, split_by_checksum, stem
from oamface.images import is_image
from oamface.labels import AGES, GENDERS, WITHOUT_MASK, Label

RACE_CODES = (
    frozenset({"White"}),
    frozenset({"Black"}),
    frozenset({"East Asian", "Southeast Asian"}),
    frozenset({"Indian"}),
    frozenset({"Latino", "Middle Eastern"}),
)


def read(archive: Archive) -> Index:
    """Every image whose name has all four parts; others are skipped. Ages above 100 count as 100.

    UTKFace does not label masks; it predates their everyday use, so its faces count as having none.
    """
    index = Index("utkface")
    for name in filter(is_image, archive.names):
        codes = stem(name).strip().split("_")  # one published name ends in a space
        if len(codes) != 4 or not all(code.isascii() and code.isdigit() for code in codes):
            index.skipped[name] = "the name is not [age]_[gender]_[race]_[date]"
            continue
        age, gender, race = (int(code) for code in codes[:3])
        if gender >= len(GENDERS) or race >= len(RACE_CODES) or age > 120:
            index.skipped[name] = f"age {age}, gender {gender}, race {race} is outside the published codes"
            continue
        years = min(age, AGES[-1])
        label = Label((years, years), frozenset({GENDERS[gender]}), RACE_CODES[race], WITHOUT_MASK)
        index.records.append(Record(name, split_by_checksum(name), label))
    return index
