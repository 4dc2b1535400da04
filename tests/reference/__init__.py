"""The paper's program in the plainest PyTorch: what the fast code must agree with, and what it is compared with."""
