"""What replaces plain torch on a given machine; each file says what it replaces, and agrees with it by a test.

`cpu`: models as search and training run them on a CPU, by the compiled code of `kernels`. `gpu`: packed rows instead of
padding, each in plain torch, which says what is computed, and as the kernel of the same name in `triton`.
"""
