"""What the tables of comparisons have in common: runs of one name but for their seed, and a mean with its deviation over seeds."""

import math
import re


def group(run):
    """The name that runs of all seeds share."""
    return re.sub(r"-seed\d+$", "", run)


def shown(values, digits=3):
    mean = sum(values) / len(values)
    sd = math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"
