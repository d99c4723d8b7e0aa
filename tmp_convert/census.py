"""What the notebooks hold: python tmp_convert/census.py [REV] (without REV: the files as they are)."""
import json, re, subprocess, sys
from collections import Counter
from pathlib import Path
ROOT = Path(__file__).resolve().parent.parent
rev = sys.argv[1] if len(sys.argv) > 1 else None
C = Counter(); formulas = Counter(); inline = Counter()
for p in sorted((ROOT/"notebooks").glob("*.ipynb")):
    raw = p.read_text() if rev is None else subprocess.run(["git","show",f"{rev}:notebooks/{p.name}"],cwd=ROOT,capture_output=True,text=True,check=True).stdout
    for c in json.loads(raw)["cells"]:
        s = "".join(c["source"]); tags = c["metadata"].get("tags", [])
        fig = c["metadata"].get("mystnb",{}).get("figure")
        cap = fig["caption"] if fig else ""
        if c["cell_type"] == "markdown" or cap:
            s2 = s if c["cell_type"] == "markdown" else cap
            s2 = re.sub(r"^> ?", "", s2, flags=re.M)
            disp = re.findall(r"\$\$(.*?)\$\$", s2, flags=re.S)
            for d in disp: formulas[re.sub(r"\s+", "", re.sub(r"\\tag\{[^}]*\}", "", d))] += 1
            rest = re.sub(r"\$\$.*?\$\$", "", s2, flags=re.S)
            rest = re.sub(r"\[[^\]]*\]\([\w.]*#sec-[\w-]+\)", "", rest)  # titles in references
            rest = re.sub(r"```.*?```", "", rest, flags=re.S) if "{" not in rest else rest
            for d in re.findall(r"(?<!\\)\$([^$]+)\$", rest): inline[re.sub(r"\s+", "", d)] += 1
        if c["cell_type"] == "markdown":
            C["exercises"] += len(re.findall(r"\{exercise\}|^### Exercise ", s, flags=re.M))
            C["paper solutions"] += len(re.findall(r"\{solution\}|<summary><b>Solution", s))
            C["theorems, lemmas, algorithms"] += len(re.findall(r"\{prf:(?:theorem|lemma|algorithm)\}|^> \*\*(?:Theorem|Lemma|Algorithm) [\d.]+\. ", s, flags=re.M))
            C["proofs"] += len(re.findall(r"\{prf:proof\}|\*\*Proof\.\*\*", s))
            C["boxes"] += len(re.findall(r"\{(?:admonition|note|warning|margin)\}|^> \*\*(?!Theorem|Lemma|Algorithm)[^*]+\*\*$|^## Summary\n\n> ", s, flags=re.M))
            C["numbered equations"] += len(re.findall(r"\$\$ *\((?:eq-)?[\w-]+\)|\\tag\{", s))
            C["figure captions"] += len(re.findall(r"^\*\*Figure ", s, flags=re.M))
            C["targets of sections"] += len(re.findall(r'^\(sec-[\w-]+\)=|^<a id="sec-', s, flags=re.M))
            C["citations"] += len(re.findall(r"\{cite(?::t)?\}`|\]\((?:https://arxiv.org|https://doi.org|https://jmlr|https://project|https://www.cs.tor)", s))
            C["refs to equations"] += len(re.findall(r"\{eq\}`|\]\([\w.]*#eq-", s))
            C["refs to figures"] += len(re.findall(r"\{numref\}`|\]\([\w.]*#fig-", s))
            C["refs to sections"] += len(re.findall(r"\{ref\}`|\]\([\w.]*#sec-", s))
            C["refs to theorems"] += len(re.findall(r"\{prf:ref\}`|\]\([\w.]*#prf-", s))
            C["source shown"] += len(re.findall(r"\{literalinclude\}", s))
            C["headings"] += len(re.findall(r"^#{1,6} (?!Exercise \d|Exercise [A-Z])", re.sub(r"```.*?```","",s,flags=re.S), flags=re.M))
            C["words"] += len(re.sub(r"[^\w\s]", " ", s).split())
        else:
            C["code cells"] += 1
            C["figure captions"] += bool(cap)
            C["alternative texts"] += bool(c["metadata"].get("mystnb",{}).get("image",{}).get("alt"))
            C["source shown"] += "md.book.source(" in s
            for k in ("stub","solution","check","nbval-check-output","setup"): C["cells tagged "+k] += k in tags
            C["assertions in checks"] += (len(re.findall(r"assert ", s)) + len(re.findall(r"assert_close\(", s))) if "check" in tags else 0
            C["pictures stored"] += sum("image/png" in o.get("data",{}) for o in c["outputs"])
            C["animations stored"] += sum("text/html" in o.get("data",{}) for o in c["outputs"])
C["displayed formulas"] = sum(formulas.values()); C["different displayed formulas"] = len(formulas)
C["inline formulas"] = sum(inline.values()); C["different inline formulas"] = len(inline)
json.dump({"C":C,"f":formulas,"i":inline}, open(ROOT / "_build" / f"census_{rev or 'now'}.json","w"))
for k, v in sorted(C.items()): print(f"{v:6d} {k}")
