"""Injective flows: M as the image of a decoder of a base of the right topology, laws included."""

from .cells import Injectivity as Injectivity
from .cells import prove_injective as prove_injective
from .certificate import Certificate as Certificate
from .decoder import Decoder as Decoder
from .decoder import SpectralDecoder as SpectralDecoder
from .evidence import Evidence as Evidence
from .evidence import Penalty as Penalty
from .flow import InjectiveFlow as InjectiveFlow
from .image import Image as Image
from .law import BaseLaw as BaseLaw
from .law import ImageLaw as ImageLaw
from .law import SpectralLaw as SpectralLaw
from .mixture_law import VonMisesLaw as VonMisesLaw
from .residual import ResidualDecoder as ResidualDecoder
