// The excerpts on the search page are plain text: formulas become a few readable signs, or an ellipsis.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return; // every page but the search page
  const signs = {
    alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", eta: "η", theta: "θ", lambda: "λ",
    mu: "μ", sigma: "σ", tau: "τ", phi: "φ", sim: "~", to: "→", in: "∈", le: "≤", ge: "≥",
    times: "×", cdot: "·", approx: "≈", ldots: "…", dots: "…", text: "", mathrm: "",
    mathbf: "",
  };
  const over = { hat: "\u0302", bar: "\u0304", tilde: "\u0303" }; // they follow their letter
  const readable = (formula) => {
    const text = formula
      .replace(/\\(hat|bar|tilde)\s*\{?\\?([a-zA-Z]+)\}?/g, (_, mark, letter) =>
        (signs[letter] ?? letter) + over[mark])
      .replace(/\\([a-zA-Z]+)/g, (whole, name) => signs[name] ?? whole)
      .replace(/\\[,;! ]/g, " ")
      .replace(/[{}]/g, "");
    return text.includes("\\") || text.length > 60 ? "…" : text.replace(/\s+/g, " ").trim();
  };
  const toText = Search.htmlToText;
  Search.htmlToText = (html, anchor) =>
    toText(html, anchor)
      .replace(/\\\[[\s\S]*?\\\]/g, "…")
      .replace(/\\\(([\s\S]*?)\\\)/g, (whole, formula) => readable(formula));
});
