"""Inputs and outputs: find and read pictures, write results, remember what is done. Knows no task or network."""
