"""The embedded person detector, trained on synthetic people.

`python -m vitruvian.training.detector RUN` renders the pictures, trains and writes the weight file.
"""
