"""Injective flows: M as the image of a decoder of a base of the right topology, laws included."""

from .base_distributions import BaseLaw as BaseLaw
from .base_distributions import ImageLaw as ImageLaw
from .base_distributions import SpectralLaw as SpectralLaw
from .certificate import Certificate as Certificate
from .decoder import Decoder as Decoder
from .decoder import SpectralDecoder as SpectralDecoder
from .image_manifold import Image as Image
from .injective_flow import InjectiveFlow as InjectiveFlow
from .injectivity_proof import Injectivity as Injectivity
from .injectivity_proof import prove_injective as prove_injective
from .marginal_likelihood import Evidence as Evidence
from .marginal_likelihood import Penalty as Penalty
from .residual import ResidualDecoder as ResidualDecoder
from .von_mises_mixture import VonMisesLaw as VonMisesLaw
