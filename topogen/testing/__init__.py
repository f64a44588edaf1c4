"""Laws of every Manifold, Chart, Atlas and ManifoldDistribution; for users' own classes too."""

from .atlases import check_atlas as check_atlas
from .charts import check_chart as check_chart
from .distributions import check_distribution as check_distribution
from .laws import LawViolation as LawViolation
from .manifolds import check_manifold as check_manifold
