"""Figures of known accelerators, from their makers' data sheets and from what their drivers report. Data, not logic.

Matrix rates are dense and with float32 accumulation, which is how torch multiplies: half of the number that the sheets
of GeForce cards print first. float32 is without tensor cores (torch leaves TF32 off by default).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vitruvian.hardware.values import Rates

EMULATED_RATE = 0.6
"""Of the float32 rate, assumed for a type that a device emulates: a V100 was reported at 9.6 TFLOP/s in bfloat16 beside
14.0 in float32 (15.7 on its sheet); a T4 at about half of float32."""


class Sheet(NamedTuple):
    """One accelerator. 0 TFLOP/s: the type is emulated."""

    machine: str
    driver_name: str
    """What its driver calls it, less a leading "NVIDIA", as a regular expression; empty: shared with other devices."""
    capability: tuple[int, int] | None
    memory_mib: int
    """As nvidia-smi reports it."""
    float32_tflops: float
    bfloat16_tflops: float
    float16_tflops: float
    bandwidth_gb_s: float

    def rates(self) -> Rates:
        """The sheet's rates, those of emulated types filled in."""
        emulated = EMULATED_RATE * self.float32_tflops
        return Rates(
            float32_tflops=self.float32_tflops,
            bfloat16_tflops=self.bfloat16_tflops or emulated,
            float16_tflops=self.float16_tflops or emulated,
            bandwidth_gb_s=self.bandwidth_gb_s,
            source="spec sheet",
        )


# fmt: off
SHEETS = (
    #     machine             driver's name                        cap.     MiB     fp32   bf16   fp16   GB/s
    Sheet("gtx-1080",         r"GeForce GTX 1080",                 (6, 1),    8119,   8.9,   0.0,   0.0,   320),
    Sheet("titan-v",          r"TITAN V",                          (7, 0),   12066,  14.9,   0.0, 110.0,   653),
    Sheet("v100-16gb",        r"Tesla V100-(SXM2|PCIE)-16GB",      (7, 0),   16160,  15.7,   0.0, 125.0,   900),
    Sheet("v100-32gb",        r"Tesla V100-(SXM[23]|PCIE)-32GB",   (7, 0),   32510,  15.7,   0.0, 125.0,   900),
    Sheet("t4",               r"(Tesla )?T4",                      (7, 5),   15360,   8.1,   0.0,  65.0,   320),
    Sheet("rtx-2080-ti",      r"GeForce RTX 2080 Ti",              (7, 5),   11019,  13.4,   0.0,  53.8,   616),
    Sheet("rtx-3060-12gb",    r"GeForce RTX 3060",                 (8, 6),   12288,  12.7,  25.5,  25.5,   360),
    Sheet("rtx-3090",         r"GeForce RTX 3090",                 (8, 6),   24576,  35.6,  71.0,  71.0,   936),
    Sheet("rtx-4060-ti-16gb", r"GeForce RTX 4060 Ti",              (8, 9),   16380,  22.1,  44.1,  44.1,   288),
    Sheet("rtx-4090",         r"GeForce RTX 4090",                 (8, 9),   24564,  82.6, 165.2, 165.2,  1008),
    Sheet("rtx-5090",         r"GeForce RTX 5090",                 (12, 0),  32607, 104.8, 209.5, 209.5,  1792),
    Sheet("a10",              r"A10",                              (8, 6),   23028,  31.2, 125.0, 125.0,   600),
    Sheet("l40s",             r"L40S",                             (8, 9),   46068,  91.6, 362.0, 362.0,   864),
    Sheet("a100-40gb",        r"A100-(SXM4|PCIE)-40GB",            (8, 0),   40960,  19.5, 312.0, 312.0,  1555),
    Sheet("a100-80gb",        r"A100(-SXM4-80GB| 80GB PCIe)",      (8, 0),   81920,  19.5, 312.0, 312.0,  2039),
    Sheet("a800-80gb",        r"A800(-SXM4-80GB| 80GB PCIe)",      (8, 0),   81920,  19.5, 312.0, 312.0,  2039),
    Sheet("h20",              r"H20",                              (9, 0),   97871,  44.0, 148.0, 148.0,  4000),
    Sheet("h100",             r"H100 80GB HBM3",                   (9, 0),   81559,  67.0, 989.0, 989.0,  3350),
    Sheet("h800",             r"H800",                             (9, 0),   81559,  67.0, 989.0, 989.0,  3350),
    Sheet("h200",             r"H200",                             (9, 0),  143771,  67.0, 989.0, 989.0,  4800),
    Sheet("jetson-nano-4gb",  r"",                                 (5, 3),    3956,  0.24,   0.0,  0.47,    26),
    Sheet("xavier-nx",        r"",                                 (7, 2),    7771,  0.84,   0.0,   6.8,    60),
    Sheet("orin-8gb",         r"",                                 (8, 7),    7620,   1.3,  10.0,  10.0,    68),
    Sheet("m2-max",           r"Apple M2 Max",                     None,     21845,  13.6,   0.0,  13.6,   400),
)
# fmt: on


def sheet_of(driver_name: str) -> Sheet | None:
    """The sheet of a device by the name its driver gives; None for one that no sheet here describes exactly.

    Names are matched whole: an A10G, a laptop's RTX 3060 or an H100 on a PCIe card are other devices with other rates.
    """
    name = driver_name.removeprefix("NVIDIA ")
    return next((sheet for sheet in SHEETS if sheet.driver_name and re.fullmatch(sheet.driver_name, name)), None)


def rates_by_name(driver_name: str) -> Rates | None:
    """Spec-sheet rates of a device by the name its driver gives, if its sheet is here."""
    sheet = sheet_of(driver_name)
    return sheet.rates() if sheet else None
