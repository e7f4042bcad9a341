"""Choosing hyper-parameters on val200: tuning records, which setting wins, and the files of conf/hparams/tuned."""
