"""A server of models: programs of LibreTranslate speak to it, and a page shows what is inside.

Read `server.py` first, then `batching.py`: how requests of many clients become batches, and `work.py`: what is done with them.
"""
