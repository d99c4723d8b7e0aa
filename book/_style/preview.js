// A reference to a formula, a figure, a theorem or an exercise shows it: while the mouse rests on the link or on the
// card, or the link has the keyboard's focus. Escape puts it away. What is shown is in previews.js (preview.py).
(() => {
  "use strict";
  const NAME = /^#(eq|fig|prf|ex)-/, here = document.currentScript.src, card = document.createElement("div");
  Object.assign(card, { id: "preview", className: "preview", hidden: true });
  card.setAttribute("role", "tooltip");
  let shown = null, timer = 0, loaded = null;

  const all = () => loaded ??= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: new URL("previews.js", here).href });
    script.onload = () => resolve(window.PREVIEWS);
    script.onerror = reject;
    document.head.append(script);
  });

  const hide = () => {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    card.hidden = true;
  };

  // Below the link if there is room, else above it; never beyond the sides of the window.
  const place = (link) => {
    const line = link.getClientRects()[0], { width, height } = card.getBoundingClientRect();
    const top = line.bottom + height + 8 < innerHeight || line.top < height + 8 ? line.bottom + 6 : line.top - height - 6;
    const left = Math.max(8, Math.min(line.left, document.documentElement.clientWidth - width - 8));
    Object.assign(card.style, { left: `${left + scrollX}px`, top: `${top + scrollY}px` });
  };

  const show = async (link) => {
    if (shown === link) return;
    hide();
    shown = link;
    const html = (await all())[decodeURIComponent(link.hash.slice(1))], formulas = /\\[([]/.test(html);
    if (!html || shown !== link || (formulas && !window.MathJax?.typesetPromise)) return;
    window.MathJax?.typesetClear?.([card]);
    card.innerHTML = html.replaceAll('src="_images/', `src="${new URL("../_images/", here).href}`);
    card.hidden = false;
    card.style.visibility = "hidden";  // until its size is known
    if (formulas) await MathJax.typesetPromise([card]);
    if (shown !== link) return;
    place(link);
    card.style.visibility = "";
    link.setAttribute("aria-describedby", card.id);
  };

  const later = (act, pause) => { clearTimeout(timer); timer = setTimeout(act, pause); };
  const mouse = (act) => (event) => { if (event.pointerType === "mouse") act(); };
  const watch = () => {
    document.body.append(card);
    card.addEventListener("pointerenter", () => clearTimeout(timer));
    card.addEventListener("pointerleave", () => later(hide, 200));
    for (const link of document.querySelectorAll(".bd-article a.reference.internal")) {
      if (!NAME.test(link.hash)) continue;
      link.addEventListener("pointerenter", mouse(() => later(() => show(link), 250)));
      link.addEventListener("pointerleave", mouse(() => later(hide, 200)));
      link.addEventListener("focus", () => { if (link.matches(":focus-visible")) show(link); });
      link.addEventListener("blur", hide);
      link.addEventListener("click", hide);
    }
    addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", watch);
  else watch();
})();
