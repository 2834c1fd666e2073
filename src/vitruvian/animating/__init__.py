"""A person from a picture moves as a video's persons do: what is wanted, what fits, the road from files to a file."""
