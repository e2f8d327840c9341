from oamface.occlusion import STYLES
from oamface.occlusion.contact_sheet import contact_sheet, plain_face


def test_contact_sheet_has_a_row_for_every_style() -> None:
    sheet = contact_sheet([plain_face()])
    assert sheet.shape[0] % len(STYLES) == 0
    rows = sheet.reshape(len(STYLES), -1, *sheet.shape[1:])
    assert len({row.tobytes() for row in rows}) == len(STYLES)


def test_contact_sheet_uses_faces_in_turn() -> None:
    image, landmarks = plain_face()
    assert (contact_sheet([(image, landmarks)]) != contact_sheet([(image, landmarks), (255 - image, landmarks)])).any()
