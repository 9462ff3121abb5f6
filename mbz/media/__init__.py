"""Images, sound and video as bytes in an order that suits a network of patches.

`scans.py` and `sounds.py` are the orders, each with its inverse; `files.py` reads files;
`reading.py` puts both together.
"""
