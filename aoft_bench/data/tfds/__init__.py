"""TensorFlow Datasets: the originals of VTAB-1k, downloaded and prepared in a process of their own.

`builders` what there is, `labels` the label maps, `official` which examples the splits hold; `process` starts the
preparing process, `child`, in which `source` reads, `fetch` and `download` download. Only the last three import TFDS.
"""
