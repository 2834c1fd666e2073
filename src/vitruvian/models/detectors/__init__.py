"""Person detectors of our own."""

from vitruvian.models.detectors.nano import NANO_DETECTOR, DetectorConfig, NanoDetector, build_detector

__all__ = ["NANO_DETECTOR", "DetectorConfig", "NanoDetector", "build_detector"]
