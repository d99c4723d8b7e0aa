// The search page: MiniSearch (BM25+) over the sections that book/_ext/finder.py wrote. Nothing is stored and
// nothing is fetched, so it works from file:// too. `Finder.find(words)` is what the tests ask.
const Finder = (() => {
  "use strict";
  const porter = new Stemmer(); // Sphinx's, from language_data.js
  const small = new Set([...stopwords, ..."what why how who where when which does do did can could should would i my me you your we our us it its am were been has have had from than so too very about get mean means many much need needed relation difference between use used using".split(" ")]);

  // One spelling for both sides of the Atlantic: both the book and the question are turned into it.
  const SPELLINGS = [
    [/parametri([sz])/, "parameteri$1"], [/is(e|ed|es|er|ers|ing|ation|ations)$/, "iz$1"], [/ys(e|ed|es|er|ing)$/, "yz$1"],
    [/([a-z]{2})our(s|ed|ing|ful|able|hood)?$/, "$1or$2"], [/([a-z]{2}[tb])re(s?)$/, "$1er$2"], [/ogue(s?)$/, "og$1"],
    [/^grey/, "gray"], [/^artefact/, "artifact"], [/^licence/, "license"], [/^programme$/, "program"],
  ];
  const GREEK = { α: "alpha", β: "beta", γ: "gamma", δ: "delta", ε: "eps", η: "eta", θ: "theta", λ: "lambda", μ: "mu", σ: "sigma", τ: "tau" };
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase()
    .replace(/(?<![\p{L}\p{N}_])(\p{L})_\{?([\p{L}\p{N}])/gu, "$1$2") // x_t is xₜ
    .replace(/[α-ω]/g, (letter) => ` ${GREEK[letter] ?? letter} `).replace(/\bepsilon\b/g, "eps");
  const spread = new Map(); // term: in how many entries it stands, in whichever field
  const stem = (word) => {
    const one = SPELLINGS.reduce((text, [from, to]) => text.replace(from, to), word);
    return /^[a-z]{3,}$/.test(one) ? porter.stemWord(one) : one;
  };
  // "warm-up" is found by warm-up, warm up and warmup.
  const words = (text) => plain(text).match(/[\p{L}\p{N}]+(?:[-–'’][\p{L}\p{N}]+)*/gu)?.flatMap((word) => {
    const parts = word.replace(/['’]s?\b/g, "").split(/[-–'’]/).filter(Boolean);
    return parts.length > 1 ? [...parts, parts.join("")] : parts;
  }) ?? [];

  const FIELDS = { title: 6, names: 5, page: 1.5, text: 1, code: 0.3 };
  const KINDS = { page: 0.8, section: 1, exercise: 0.6, term: 0.25, name: 0.8 };
  const ASIDE = /^(?!notebooks)/; // pages to look something up in come after those that explain it
  const index = new MiniSearch({
    fields: Object.keys(FIELDS), idField: "url", tokenize: words,
    processTerm: stem,
  });
  const entries = new Map(SECTIONS.map((entry) => [entry.url, entry]));
  index.addAll([...entries.values()]);
  for (const entry of entries.values()) {
    const said = Object.keys(FIELDS).flatMap((field) => words(entry[field] ?? "").map(stem));
    for (const term of new Set(said)) spread.set(term, (spread.get(term) ?? 0) + 1);
  }
  const known = (term) => spread.has(term);
  // MiniSearch asks how rare a word is in a field: "image" is, in titles. This asks for the whole book.
  const rarity = (term) => Math.log(entries.size / (spread.get(term) ?? 1)) / Math.log(entries.size);

  const weight = ({ kind, url, title }) =>
    KINDS[kind] * (ASIDE.test(url) && kind !== "term" ? 0.5 : 1) * (/^(Exercises|Summary)$/.test(title) ? 0.4 : 1);
  // A question that says a section's name, whole, means that section: the more so the less else it says.
  const line = (text) => ` ${words(text).map(stem).join(" ")} `;
  const called = new Map([...entries.values()].filter(({ names }) => names)
    .map(({ url, names }) => [url, names.split("; ").map(line)]));
  const named = (url, question) => Math.max(0, ...(called.get(url) ?? [])
    .filter((name) => question.includes(name)).map((name) => name.length / question.length));

  const asked = (question) => {
    const all = words(question), rest = all.filter((word) => !small.has(word));
    return rest.length ? rest : all;
  };
  const find = (question) => index.search(asked(question).join(" "), {
    tokenize: (text) => text.split(" ").filter(Boolean),
    processTerm: stem,
    boost: FIELDS,
    boostTerm: rarity,
    boostDocument: (url) => weight(entries.get(url)) * (1 + named(url, line(asked(question).join(" ")))),
    prefix: (term, i, terms) => i === terms.length - 1 && term.length > 2 && !known(term),
    fuzzy: (term) => (term.length > 3 && !known(term) ? 0.25 : false), // only what the book never writes
    maxFuzzy: 2,
    bm25: { k: 1.2, b: 0.4, d: 0.5 },
    weights: { fuzzy: 0.6, prefix: 0.7 },
  }).map(({ id, terms }) => ({ ...entries.get(id), terms }));

  // ---------------------------------------------------------------- what is shown
  const HITS = 20, LENGTH = 260;
  const marked = (text, terms) => {
    const box = document.createElement("span");
    for (const piece of text.split(/([\p{L}\p{M}\p{N}]+(?:[-–][\p{L}\p{M}\p{N}]+)*)/u)) {
      const hit = words(piece).some((word) => terms.has(stem(word)));
      if (hit) box.append(Object.assign(document.createElement("mark"), { textContent: piece }));
      else box.append(piece);
    }
    return box;
  };
  // The sentence that has most of the words, and the one after it while there is room.
  const excerpt = (text = "", terms) => {
    const sentences = text.split("\n").flatMap((line) => line.split(/(?<=[.!?]["”)]?)\s+(?=[\p{Lu}"“])/u));
    const hits = (sentence) => (sentence.length > 40) / 2 // a longer one says more
      + new Set(words(sentence).map(stem).filter((term) => terms.has(term))).size;
    const best = sentences.reduce((top, s, i) => (hits(s) > hits(sentences[top]) ? i : top), 0);
    let shown = sentences[best] ?? "";
    const next = sentences[best + 1];
    if (next && shown.length + next.length < LENGTH) shown += ` ${next}`;
    return shown.length <= 1.5 * LENGTH ? shown : `${shown.slice(0, 1.5 * LENGTH).replace(/\s+\S*$/, "")} …`;
  };
  const root = document.documentElement.dataset.content_root ?? "./";
  const shown = ({ url, title, number, page, text, terms }) => {
    const item = document.createElement("li"), link = document.createElement("a"), wanted = new Set(terms);
    link.href = root + url;
    link.append(number ? `${number}. ` : "", marked(title, wanted));
    item.append(link);
    if (page) item.append(Object.assign(document.createElement("span"), { className: "where", textContent: page }));
    const said = Object.assign(document.createElement("p"), { className: "context" });
    said.append(marked(excerpt(text, wanted), wanted));
    item.append(said);
    return item;
  };
  const show = (question) => {
    const out = document.getElementById("search-results");
    const hits = question.trim() ? find(question) : [];
    const line = Object.assign(document.createElement("p"), { role: "status" });
    if (question.trim()) line.textContent = hits.length ? `${hits.length} places, the likeliest first.`
      : "Nothing. Try fewer words, or the usual name of what you look for.";
    const list = document.createElement("ol");
    list.append(...hits.slice(0, HITS).map(shown));
    out.replaceChildren(line, list);
  };

  const start = () => {
    const question = new URLSearchParams(location.search).get("q") ?? "";
    for (const field of document.querySelectorAll("form.bd-search input[name=q]")) {
      field.value = question;
      field.addEventListener("input", () => show(field.value));
    }
    show(question);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
  return { find };
})();
window.Finder = Finder;
