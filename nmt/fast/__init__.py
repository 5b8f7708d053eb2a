"""What replaces plain torch on a GPU: packed rows instead of padding, and one kernel for what took many.

Each file has a function in plain torch, which says what is computed, and hands tensors on a GPU to the kernel of the same name
in `nmt.fast.triton`. Without Triton the plain function runs there too. Start with `attention.py`.
"""
