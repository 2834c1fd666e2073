"""Person detectors: the embedded network of our own, and published ones that another library builds."""

from vitruvian.models.detectors.nano import NANO_DETECTOR, DetectorConfig, NanoDetector, build_detector

__all__ = ["NANO_DETECTOR", "DetectorConfig", "NanoDetector", "build_detector"]
