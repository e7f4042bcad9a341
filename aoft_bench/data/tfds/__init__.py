"""TensorFlow Datasets: the originals of VTAB-1k, downloaded and prepared in another process.

builders, labels, official: the table of builders, the label maps, the examples of the official splits. process starts
the preparing process, whose code is child; source reads examples in it, download and fetch get files.
"""
