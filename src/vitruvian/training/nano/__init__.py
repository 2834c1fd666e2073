"""The embedded nano networks: one small trunk and four heads, trained jointly on synthetic people.

`python -m vitruvian.training.nano RUN` renders the pictures, trains, evaluates and writes the weight files.
"""
