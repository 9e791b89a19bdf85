"""The one error for input that the project can't use."""


class DataError(Exception):
    """Bad input, told to the person who gave it.

    The message names the file, the place in it and the remedy. A script prints it as
    `error: <message>` and exits with status 1, without a traceback.
    """
