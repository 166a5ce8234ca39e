"""Prometheus metrics. Counters and histograms only, bounded labels, every child made before it is needed.

prometheus_client decides at import whether it works across processes, from a variable that BentoML sets in its workers; so
nothing in this room imports it at the top of a module.
"""

from service.metrics.exposition import exported_names, exposition
from service.metrics.service_metrics import STAGES, ServiceMetrics, Stage

__all__ = ["STAGES", "ServiceMetrics", "Stage", "exported_names", "exposition"]
