"""Did the generator copy its training images?"""

from kgan.auditing.audit import audit
from kgan.auditing.neighbours import neighbour_ratios
from kgan.auditing.statistics import exceedance_pvalue

__all__ = ["audit", "exceedance_pvalue", "neighbour_ratios"]
