"""How good a detector is, and where not: truth, matching, slices, errors, report, comparison."""
