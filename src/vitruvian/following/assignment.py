"""The best pairing of two lists: the assignment problem, exactly.

Inputs -> outputs: a matrix of gains -> pairs whose gains have the largest sum. Shortest augmenting paths (Jonker and
Volgenant 1987), one vectorised step a row scanned: some 0.1 ms for 5 x 5, 12 ms for 100 x 100. Own code, because a
whole library of scientific routines would be installed for this one function.
"""

# Shape suffixes: R rows, C columns.

from __future__ import annotations

import numpy as np


def best_pairs(gain_RC: np.ndarray, least: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (both int64, rows ascending) of the one-to-one pairing with the largest sum of gains.

    Pairs that gain nothing or less than `least` are not made, so rows and columns may stay alone.
    """
    rows, columns = np.nonzero((gain_RC > 0) & (gain_RC >= least))
    none = np.zeros(0, np.int64)
    if len(rows) == 0:
        return none, none
    # Rows and columns that may not pair with anything only cost time.
    used_R, used_C = np.unique(rows), np.unique(columns)
    gain_rc = np.zeros((len(used_R), len(used_C)))
    gain_rc[np.searchsorted(used_R, rows), np.searchsorted(used_C, columns)] = gain_RC[rows, columns]
    flipped = gain_rc.shape[0] > gain_rc.shape[1]
    column_r = _assigned(-gain_rc.T if flipped else -gain_rc)
    r, c = np.arange(len(column_r)), column_r
    r, c = (c, r) if flipped else (r, c)
    made = gain_rc[r, c] > 0
    row, column = used_R[r[made]], used_C[c[made]]
    order = np.argsort(row, kind="stable")
    return row[order], column[order]


def _assigned(cost_rc: np.ndarray) -> np.ndarray:
    """The column of every row with the smallest sum of costs; no more rows than columns."""
    rows, columns = cost_rc.shape
    price_r, price_c = np.zeros(rows), np.zeros(columns)
    row_of_c, column_of_r = np.full(columns, -1), np.full(rows, -1)
    for start in range(rows):
        distance_c, from_c = np.full(columns, np.inf), np.full(columns, -1)
        done_c, done_r = np.zeros(columns, bool), np.zeros(rows, bool)
        row, reached = start, 0.0
        while True:
            done_r[row] = True
            through_c = reached + cost_rc[row] - price_r[row] - price_c
            better_c = ~done_c & (through_c < distance_c)
            distance_c[better_c], from_c[better_c] = through_c[better_c], row
            column = int(np.where(done_c, np.inf, distance_c).argmin())
            reached = distance_c[column]
            done_c[column] = True
            if row_of_c[column] < 0:
                break
            row = int(row_of_c[column])
        other_r = np.flatnonzero(done_r & (np.arange(rows) != start))
        price_r[other_r] += reached - distance_c[column_of_r[other_r]]
        price_r[start] += reached
        price_c[done_c] += distance_c[done_c] - reached
        while column >= 0:
            row = int(from_c[column])
            row_of_c[column] = row
            column_of_r[row], column = column, int(column_of_r[row])
    return column_of_r
