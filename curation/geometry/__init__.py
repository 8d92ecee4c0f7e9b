"""Geometric verification: whether two images show the same picture, and how one lies in the other."""

from curation.geometry.features import FEATURES_VERSION, Features, extract
from curation.geometry.matching import MATCHING_VERSION, Match, match, verify_images

__all__ = ["FEATURES_VERSION", "MATCHING_VERSION", "Features", "Match", "extract", "match", "verify_images"]
