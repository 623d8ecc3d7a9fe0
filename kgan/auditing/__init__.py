"""Did the generator copy its training images?"""

from kgan.auditing.audit import audit
from kgan.auditing.statistics import exceedance_pvalue
from kgan.searching.neighbours import neighbour_ratios

__all__ = ["audit", "exceedance_pvalue", "neighbour_ratios"]
