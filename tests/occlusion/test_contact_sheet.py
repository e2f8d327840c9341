from oamface.occlusion import STYLES
from oamface.occlusion.contact_sheet import contact_sheet, plain_face


def test_the_sheet_has_a_row_for_every_style() -> None:
    sheet = contact_sheet([plain_face()])
    row = sheet.shape[0] / len(STYLES)
    assert row == int(row)
    rows = sheet.reshape(len(STYLES), int(row), *sheet.shape[1:])
    assert len({part.tobytes() for part in rows}) == len(STYLES)


def test_faces_take_turns() -> None:
    image, landmarks = plain_face()
    assert (contact_sheet([(image, landmarks)]) != contact_sheet([(image, landmarks), (255 - image, landmarks)])).any()
