"""The shared code of the low-light detection pipeline; the scripts beside it are its commands."""
