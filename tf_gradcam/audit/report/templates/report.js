(() => {
  "use strict";
  const all = (selector) => [...document.querySelectorAll(selector)];

  // Cells of the confusion matrix open their panel without a jump of the page; without this script :target does it.
  const links = new Map(all('a[href^="#cell-"]').map((link) => [link.hash.slice(1), link]));
  const show = (key, isAsked) => {
    for (const panel of all(".panel.is-shown")) panel.classList.remove("is-shown");
    for (const link of links.values()) link.removeAttribute("aria-current");
    const panel = links.has(key) && document.getElementById(key);
    if (!panel) return;
    panel.classList.add("is-shown");
    links.get(key).setAttribute("aria-current", "true");
    if (isAsked) {
      panel.focus({ preventScroll: true });
      if (panel.getBoundingClientRect().top > innerHeight - 160) panel.scrollIntoView({ block: "nearest" });
    }
  };
  document.documentElement.classList.add("is-scripted");
  for (const [key, link] of links) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      history.replaceState(null, "", "#" + key);
      show(key, true);
    });
  }
  addEventListener("hashchange", () => { if (links.has(location.hash.slice(1))) show(location.hash.slice(1), true); });
  const first = location.hash.slice(1);
  const panel = document.querySelector(".panel");
  if (panel) show(links.has(first) ? first : panel.id, false);

  // Arrow keys walk the matrix.
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const matrix = document.querySelector(".matrix");
  if (matrix) matrix.addEventListener("keydown", (event) => {
    const step = steps[event.key], link = event.target.closest("a");
    if (!step || !link) return;
    event.preventDefault();
    let [, row, column] = link.hash.split("-").map(Number);
    const size = matrix.tBodies[0].rows.length;
    for (row += step[0], column += step[1]; row >= 0 && column >= 0 && row < size && column < size; row += step[0], column += step[1]) {
      const next = links.get(`cell-${row}-${column}`);
      if (next) return next.focus();
    }
  });

  // A tap shows a picture without its heat, as the pointer does.
  document.addEventListener("click", (event) => {
    const picture = event.target.closest && event.target.closest("svg.pic");
    if (picture && matchMedia("(hover: none)").matches) picture.classList.toggle("is-plain");
  });

  const filter = document.getElementById("filter");
  if (filter) {
    const classes = all(".class").map((card) => [card, card.querySelector("h3").textContent.toLowerCase()]);
    filter.closest(".filter").hidden = false;
    filter.addEventListener("input", () => {
      for (const [card, name] of classes) card.hidden = !name.includes(filter.value.toLowerCase());
    });
  }

  // On paper everything is open.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
})();
