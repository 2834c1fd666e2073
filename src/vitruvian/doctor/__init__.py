"""Is this machine fit to compute on: what it has, and the embedded networks in every precision against known truth."""

from vitruvian.doctor.examination import run_doctor
from vitruvian.doctor.report import DeviceCheck, DoctorReport, NetworkCheck

__all__ = ["DeviceCheck", "DoctorReport", "NetworkCheck", "run_doctor"]
