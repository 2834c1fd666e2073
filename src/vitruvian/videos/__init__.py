"""Videos and cameras over the road: a stream of frames in, a drawn video and a line per frame out."""
