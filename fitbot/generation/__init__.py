"""Conversations → tokens: engines that answer."""
