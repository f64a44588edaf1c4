"""Injective flows: M as the image of a decoder of a base of the right topology."""

from .base_distributions import BaseDistribution as BaseDistribution
from .base_distributions import ImageDistribution as ImageDistribution
from .base_distributions import SpectralDistribution as SpectralDistribution
from .certificate import EmbeddingCertificate as EmbeddingCertificate
from .decoder import Decoder as Decoder
from .decoder import SpectralDecoder as SpectralDecoder
from .image_manifold import ImageManifold as ImageManifold
from .injective_flow import InjectiveFlow as InjectiveFlow
from .injectivity_proof import InjectivityProof as InjectivityProof
from .injectivity_proof import prove_injective as prove_injective
from .marginal_likelihood import MarginalLikelihood as MarginalLikelihood
from .marginal_likelihood import Penalty as Penalty
from .residual import ResidualDecoder as ResidualDecoder
from .von_mises_mixture import VonMisesMixture as VonMisesMixture
