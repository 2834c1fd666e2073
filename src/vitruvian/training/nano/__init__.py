"""The embedded nano networks: one small trunk and four heads, trained jointly on synthetic people.

`vitruvian finetune --task nano -o RUN` renders the pictures, trains and writes the weight files.
"""
