"""One circuit over the steps of training."""


def history(*args):
    pass
