"""What replaces plain torch on a given machine; each file says what it replaces, and agrees with it by a test.

`update`: what a training repeats, on a GPU one CUDA graph. `attention` to `loss`: packed rows instead of padding, each in plain
torch, which says what is computed, and for a GPU as the kernel of the same name in `triton`. `search`: beam search by the
kernels of a CPU, or without leaving a GPU.
"""
