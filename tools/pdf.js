// Turns an open page of the site into a part of the printed book: tools/pdf.py runs this.
// Every id gets the page's name before it, so that it is unique in the book; a link to another
// page becomes `${book}id`, which pdf.py turns into a jump. Returns the headings.
async ({ name, names, start, site, book }) => {
  const article = document.querySelector("article");
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  function redirect(link) {
    const to = new URL(link.getAttribute("href"), location.href);
    if (to.origin !== location.origin) return;
    const page = to.pathname.slice(1).replace(/\.html$/, "");
    if (!names.includes(page)) link.href = site + to.pathname.slice(1) + to.hash;
    else link.href = (page === name ? "#" : book) + page + to.hash.replace("#", "--");
  }

  // Nobody can unfold paper: code that only draws goes, solutions go to the end of the chapter, and
  // all else that is folded (a question's answer, lines of a derivation) stands where it was.
  function unfold() {
    const solutions = [];
    let exercise = null;
    for (const element of article.querySelectorAll(".exercise, details.solution, .tag_solution, details")) {
      if (element.matches(".exercise")) {
        exercise = element;
      } else if (element.matches("details.solution, .tag_solution")) {
        const title = exercise.querySelector(".admonition-title").textContent.trim();
        const link = make("a", { href: "#" + exercise.id, textContent: title });
        solutions.push([["Solution to ", link], [...element.querySelectorAll("details > :not(summary)")]]);
        element.remove();
      } else if (element.matches(".hide")) {
        element.remove();
      } else {
        const [summary, ...body] = element.children;
        const title = (summary.querySelector(".sd-summary-text") ?? summary).childNodes;
        element.replaceWith(make("div", { id: element.id, className: "unfolded" }, make("p", {}, ...title), ...body));
      }
    }
    if (!solutions.length) return;
    const home = article.querySelector("section");
    home.append(make("h2", { id: name + "--solutions-in-print", textContent: "Solutions" }));
    for (const [title, body] of solutions) {
      home.append(make("div", { className: "solved" }, make("p", {}, ...title), ...body));
    }
  }

  // An animation is printed as its first and its last frame and two between.
  async function film(image) {
    const data = await (await fetch(image.src)).arrayBuffer();
    const decoder = new ImageDecoder({ data, type: "image/webp" });
    await Promise.all([decoder.completed, decoder.tracks.ready]);
    const last = decoder.tracks.selectedTrack.frameCount - 1;
    const strip = make("div", { className: "film" });
    for (const share of [0, 1 / 3, 2 / 3, 1]) {
      const { image: frame } = await decoder.decode({ frameIndex: Math.round(share * last) });
      const canvas = make("canvas", { width: frame.displayWidth, height: frame.displayHeight });
      canvas.getContext("2d").drawImage(frame, 0, 0);
      frame.close();
      strip.append(make("img", { src: canvas.toDataURL(), alt: share ? "" : image.alt }));
      strip.classList.toggle("wide", canvas.width > 1.8 * canvas.height);
    }
    image.replaceWith(strip);
  }

  article.querySelectorAll("script, button, .headerlink").forEach(element => element.remove());
  article.querySelectorAll(".toggle-hidden").forEach(element => element.classList.remove("toggle-hidden"));
  article.querySelectorAll("a[href]").forEach(redirect);
  for (const element of article.querySelectorAll("[id]")) element.id = `${name}--${element.id}`;
  unfold();
  // A mark between two headings would let a page end there.
  for (const mark of [...article.querySelectorAll("section > span[id]:empty")].reverse()) {
    if (mark.nextElementSibling?.matches("h1, h2, h3, h4")) mark.nextElementSibling.prepend(mark);
  }
  for (const image of article.querySelectorAll("img[src^='data:image/webp']")) await film(image);
  article.id = name;
  const title = article.querySelector("h1").textContent.trim();
  const running = JSON.stringify(name === "index" ? "" : title);
  document.head.append(make("style", {
    textContent: `html { counter-reset: page ${start}; } @page { @top-right { content: ${running}; } }`,
  }));
  // Chromium keeps a place in the PDF for what a link on the same page leads to.
  const places = [article, ...article.querySelectorAll("[id]")].map(e => make("a", { href: "#" + e.id }));
  document.body.replaceChildren(make("main", { className: "bd-article-container" }, article),
    make("nav", { hidden: true }, ...places));
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map(image => image.decode()));
  for (const formula of document.querySelectorAll("mjx-container")) {
    const room = formula.closest(":not(mjx-container, span, a, em, strong)").getBoundingClientRect().width;
    const width = formula.firstElementChild.getBoundingClientRect().width;
    if (width > room) formula.style.fontSize = `${(100 * room) / width}%`;
  }
  return [...article.querySelectorAll("h1, h2")].map(heading => ({
    title: heading.textContent.trim(),
    id: heading.id || heading.closest("[id]").id,
    top: heading.matches("h1"),
  }));
}
