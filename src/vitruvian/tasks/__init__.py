"""Tasks: what lies between a picture and a result except the network. Import from the files of this room."""
