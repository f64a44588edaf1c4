"""Published systems as baselines, small and with the interface of the models.

:class:`PublishedFlow` is for comparison with :class:`~topogen.InjectiveFlow`, and
:class:`EnergyImplicit` with :class:`~topogen.NeuralImplicit`.
"""

from .energy_implicit import EnergyImplicit as EnergyImplicit
from .energy_implicit import EnergyOptions as EnergyOptions
from .injective import OBJECTIVES as OBJECTIVES
from .injective import HeldOutScore as HeldOutScore
from .injective import PublishedFlow as PublishedFlow
from .injective import check_weight as check_weight
from .injective import least_weight as least_weight
from .langevin import uncorrected_langevin as uncorrected_langevin
from .options import DescentOptions as DescentOptions
from .options import NetworkOptions as NetworkOptions
from .options import VolumeOptions as VolumeOptions
