"""The one error for input that the project can't use."""

_MOST_SHOWN = 20


class DataError(Exception):
    """Bad input, told to the person who gave it.

    The message names the file, the place in it and the remedy. A script prints it as
    `error: <message>` and exits with status 1, without a traceback.
    """


def join_errors(errors, rest=""):
    """Returns one DataError that tells of several, so that all can be mended in one go.

    Args:
        errors: at least one DataError; the first 20 are shown and the others counted.
        rest: a sentence about what is not wrong, or what to do next.
    """
    lines = [str(error) for error in errors[:_MOST_SHOWN]]
    if len(errors) > _MOST_SHOWN:
        lines.append(f"... and {len(errors) - _MOST_SHOWN} more like these.")
    return DataError("\n".join([*lines, rest] if rest else lines))


def name_some(names, most=5):
    """Returns the first names, divided by commas, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
