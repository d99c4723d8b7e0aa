// What scrolls sideways can be scrolled by keyboard: while it is wider than its frame, it is a stop
// of the tab key. (The theme does so for code and for figures.)
const SCROLLS = ".bd-article :is(table, div.math, mjx-container[display='true'])";

function reach() {
  for (const element of document.querySelectorAll(SCROLLS)) {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  }
}

addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  reach();
});
addEventListener("resize", reach);
addEventListener("toggle", reach, true); // an answer that unfolds
