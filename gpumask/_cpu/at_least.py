"""Which values reach a level."""


def at_least(array, level, absolute):
    return (array >= level) | (array <= -level) if absolute else array >= level
