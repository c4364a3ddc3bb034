"""GuideLLM, which measures how fast a server answers."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

target, tokenizer = sys.argv[1].removesuffix("/v1"), sys.argv[2]
question = json.dumps({"prompt": "say one two three", "output_tokens_count": 3})
with tempfile.TemporaryDirectory() as folder:
    questions, report = Path(folder, "questions.jsonl"), Path(folder, "report.json")
    questions.write_text(f"{question}\n" * 3)
    subprocess.run(
        [
            *(Path(sys.executable).with_name("guidellm"), "run", "--disable-console"),
            *("--backend", f"kind=openai_http,target={target}"),
            *("--profile", "kind=synchronous"),
            *("--constraint", "kind=max_requests,count=3"),
            *("--data", f"kind=json_file,path={questions}"),
            *("--tokenizer", f"kind=huggingface_auto,model={tokenizer}"),
            *("--output", f"kind=json,path={report}"),
        ],
        check=True,
    )
    (measured,) = json.loads(report.read_text())["benchmarks"]
found = {ended: requests or [] for ended, requests in measured["requests"].items()}
print(
    json.dumps(
        {
            "answers": [one["output"] for one in found.pop("successful")],
            "others": [one for requests in found.values() for one in requests],
        }
    )
)
