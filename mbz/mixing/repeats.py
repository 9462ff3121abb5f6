"""How often bytes repeat those before them, which `detect.py` looks at."""

from mbz.mixing.compiled import function


@function
def count(sample, places, found):
    """Adds to each found[j] how many bytes, if in `places`, equal the one at that distance.

    They are those from the length of `found` on, and distances are that length for j = 0, one less
    for j = 1, and so on. All bytes are taken one after the other, so that the sums of all distances
    go through vectors.
    """
    longest = found.size
    for i in range(places.size):
        if places[i]:
            here, before = sample[longest + i], sample[i : i + longest]
            for j in range(longest):
                found[j] += before[j] == here
