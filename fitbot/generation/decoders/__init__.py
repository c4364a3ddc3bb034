"""Token ids → logits of many requests at once: in PyTorch, by CUDA graphs, by llama.cpp."""
