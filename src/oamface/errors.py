"""The exceptions of oamface, all of them OamfaceErrors. Messages say what was wrong and what to do next."""


class OamfaceError(Exception):
    """Base of every error that oamface raises on purpose."""


class ImageError(OamfaceError, ValueError):
    """An image that cannot be read, is too large, or is not an array of pixels."""


class FileError(OamfaceError):
    """A file or folder that cannot be written; what was there before still is."""


class FaceError(OamfaceError, ValueError):
    """Boxes or landmarks that do not describe a face."""


class OptionError(OamfaceError, ValueError):
    """An argument that is out of its range."""


class DeviceError(OptionError):
    """A device that this installation or machine does not have."""


class TaskError(OamfaceError, AttributeError):
    """A task's result that was not requested."""


class LabelError(OamfaceError, ValueError):
    """A class, age or task outside the label space, or a data set's label that has no class in it."""


class DataError(OamfaceError):
    """A data set that is not in its published layout, or cannot be read."""


class StoreError(OamfaceError):
    """A prepared data set that is incomplete, holds something else, or cannot be written."""


class RecipeError(OamfaceError, ValueError):
    """A training recipe with an unknown key or a value out of range."""


class TrainError(OamfaceError):
    """A training run that cannot start or go on."""


class ResultError(OamfaceError):
    """Predictions or results of a benchmark that are damaged, lack something, or cannot be compared."""


class SynthError(OamfaceError):
    """People, scenes or sets of synthetic images that cannot be made as requested."""


class VideoError(OamfaceError):
    """A video, camera or stream that cannot be read."""


class ServeError(OamfaceError):
    """A service that cannot start."""


class ModelError(OamfaceError):
    """A model file that is missing, damaged or not one of oamface's."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM: what was done is kept, then the program ends. No Exception, so that no handler swallows it."""
