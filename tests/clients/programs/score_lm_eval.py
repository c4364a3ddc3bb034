"""lm-evaluation-harness' local-completions: log-likelihoods, and a text that is gone on with."""

import json
import sys

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

address, folder, pairs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
settings = {"model": "base", "base_url": f"{address}/completions", "tokenizer": folder}
settings |= {"tokenizer_backend": "huggingface", "num_concurrent": 2}
scoring = get_model("local-completions")(batch_size=2, max_length=512, **settings)
requests = [Instance("loglikelihood", {}, tuple(pair), number) for number, pair in enumerate(pairs)]
writing = get_model("local-completions")(tokenized_requests=False, max_length=512, **settings)
asked = ("Rice is", {"until": ["@@"], "max_gen_toks": 8, "do_sample": False})
found = {
    "scores": scoring.loglikelihood(requests, disable_tqdm=True),
    "texts": writing.generate_until([Instance("generate_until", {}, asked, 0)], disable_tqdm=True),
}
print(json.dumps(found))
