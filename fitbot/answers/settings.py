"""How a finished adapter is asked and served; recorded with the run and carried by its export."""

from dataclasses import dataclass

# How long, in turns of a loop, a thread of llama.cpp's waits for another before it sleeps: about 10
# microseconds. A token has a thousand such waits: sleeping at once makes it take 1.5 times as long,
# and spinning for long takes cores from whoever else is there.
LLAMA_SPINS = "1000"


@dataclass
class AnswerSettings:
    """How answers are generated.

    Args:
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_p: Sample among the likeliest tokens that together hold this probability, in (0, 1].
        do_sample: Sample, instead of always taking the likeliest token.
        max_new_tokens: Tokens of one answer at most.
        adaptive_below_gib: With less free GPU memory than this, answers get half of
            max_new_tokens, but at least 512.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    do_sample: bool = True
    max_new_tokens: int = 1024
    adaptive_below_gib: float = 10.0


@dataclass
class ServeSettings:
    """Where the HTTP endpoint listens.

    Args:
        host: Address to bind.
        port: TCP port.
        endpoint: Path of the plain question-and-answer endpoint.
        max_request_length: Characters of one question at most.
    """

    host: str = "0.0.0.0"
    port: int = 8000
    endpoint: str = "/predict/"
    max_request_length: int = 1024
