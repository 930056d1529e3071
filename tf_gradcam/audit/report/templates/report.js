(() => {
  "use strict";
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const by = (id) => document.getElementById(id);
  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  document.documentElement.classList.add("is-scripted");

  // The rows of the table, as `listing.py` writes them.
  const data = JSON.parse(by("rows").textContent);
  const rows = data.rows.map(([row, file, kind, predicted, probability, remark, truth, next, why, note, width, height, heat, is, given], place) => ({
    row, file, place, width, height, heat, is, given,
    kind: data.texts[kind], predicted: data.texts[predicted], probability: data.texts[probability], remark: data.texts[remark],
    truth: data.texts[truth], next: data.texts[next], why: data.texts[why], note: data.texts[note],
  }));
  const byRow = new Map(rows.map((one) => [one.row, one]));

  const tag = (name, className, ...children) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };
  const drawn = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const words = (one) => `${one.file}. ` + (one.kind === "failed" ? one.why : `Predicted: ${one.predicted} ${one.probability}` +
    (one.remark ? `. ${one.remark.replace("✗ ", "")} ${one.truth}`.trimEnd() : ""));

  // The picture of a row from the folder beside the page; the one inside the page where that is missing.
  const picture = (one, kept, hasHeat = true) => {
    const svg = drawn("svg", { class: "pic", role: "img", "aria-label": words(one), "data-row": one.row,
      viewBox: one.width ? `0 0 ${one.width} ${one.height}` : kept.getAttribute("viewBox") });
    const uses = kept ? all("use", kept).map((use) => use.cloneNode()) : [];
    const size = { width: "100%", height: "100%", preserveAspectRatio: "none" };
    const layers = one.width ? [drawn("image", { ...size, href: `${data.folder}/${one.row}.jpg` })] : uses.slice(0, 1);
    if (one.width) layers[0].addEventListener("error", () => {
      if (!uses.length) return svg.replaceWith(tag("div", "pic none", "no picture"));
      svg.setAttribute("viewBox", kept.getAttribute("viewBox"));
      svg.replaceChildren(...(hasHeat ? uses : uses.slice(0, 1)));
    });
    if (hasHeat && kept) layers.push(...uses.slice(1).map((use) => {
      const image = by(use.getAttribute("href").slice(1)).cloneNode();
      image.removeAttribute("id");
      for (const [key, value] of Object.entries({ ...size, class: "heat" })) image.setAttribute(key, value);
      return image;
    }));
    else if (hasHeat && one.heat) layers.push(drawn("image", { ...size, class: "heat", href: `${data.folder}/${one.row}.webp` }));
    svg.append(...layers);
    return svg;
  };
  const caption = (one) => {
    const lines = [];
    if (one.kind === "failed") lines.push(tag("p", "truth", "failed"));
    else {
      const value = tag("span", "", tag("b", "", one.probability), one.kind === "right" ? " ✓" : "");
      lines.push(tag("p", "said", tag("span", "name", one.predicted), " ", value));
    }
    if (one.remark) lines.push(tag("p", one.truth || one.remark[0] === "✗" ? "truth" : "next", one.remark, ...(one.truth ? [" ", tag("span", "name", one.truth)] : [])));
    if (one.next) lines.push(tag("p", "next name", one.next));
    lines.push(tag("p", "file", tag("bdi", "", one.file)));
    return tag("figcaption", "", ...lines);
  };
  const card = (one) => tag("figure", "card", one.width ? opens(picture(one)) : tag("div", "pic none", "no picture"), caption(one));

  // A picture opens large, with its heatmap beside it. Arrow keys go on to the next of the same gallery.
  const dialog = document.querySelector("dialog");
  let shown = null;
  const opens = (svg) => {
    svg.setAttribute("role", "button");
    svg.setAttribute("aria-haspopup", "dialog");
    svg.setAttribute("tabindex", "0");
    return svg;
  };
  const neighbours = (svg) => all("svg[data-row]", svg.closest(".cards, .cluster"));
  const enlarge = (svg) => {
    shown = svg;
    const kept = svg.querySelector("use") ? svg : null, inside = svg.closest(".card");
    const one = byRow.get(Number(svg.dataset.row)) || { row: svg.dataset.row, file: svg.getAttribute("aria-label"), kind: "" };
    const photo = picture(one, kept, false), overlay = picture(one, kept);
    by("large").replaceChildren(...(overlay.querySelector(".heat") ? [overlay, photo] : [photo]));
    const lines = inside ? inside.querySelector("figcaption").cloneNode(true) : caption(one);
    const title = lines.querySelector(".said");
    by("large-title").replaceChildren(...(title ? title.childNodes : [one.file]));
    if (title) title.remove();
    const facts = [["Heatmap", one.why], ["Note", one.note]].filter(([, text]) => text);
    by("facts").replaceChildren(...lines.childNodes, ...facts.map(([name, text]) => tag("p", "next", `${name}: ${text}`)));
    const list = neighbours(svg), at = list.indexOf(svg);
    by("place").textContent = `${at + 1} of ${svg.closest("#list") ? chosen.filter((row) => row.width).length.toLocaleString("en") : list.length}`;
    by("before").disabled = !at;
    by("after").disabled = at === list.length - 1 && !(svg.closest("#list") && reach < chosen.length);
    if (!dialog.open) dialog.showModal();
    if (document.activeElement.disabled) by("close").focus();  // a disabled button would lose the focus
  };
  const step = (by) => {
    let list = neighbours(shown);
    const at = list.indexOf(shown) + by;
    if (at === list.length && shown.closest("#list")) { more(); list = neighbours(shown); }
    if (list[at]) enlarge(list[at]);
  };
  all(".card svg[data-row], .cluster svg[data-row]").forEach(opens);
  document.addEventListener("click", (event) => {
    const svg = event.target.closest && event.target.closest("svg[data-row][tabindex]");
    if (svg) enlarge(svg);
  });
  document.addEventListener("keydown", (event) => {
    const svg = event.target.closest && event.target.closest("svg[data-row][tabindex]");
    if (svg && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); enlarge(svg); }
  });
  document.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (steps && dialog.open) { event.preventDefault(); step(steps); }
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { shown.scrollIntoView({ block: "nearest" }); shown.focus({ preventScroll: true }); });
  by("before").addEventListener("click", () => step(-1));
  by("after").addEventListener("click", () => step(1));
  by("close").addEventListener("click", () => dialog.close());

  // The list of all images, a screen at a time.
  const CARDS = 36;
  let chosen = [], reach = 0, more = () => {}, choose = () => {};
  if (by("all")) {
    const fields = Object.fromEntries(["sort", "true", "given", "kind", "why", "file"].map((id) => [id, by(id)]));
    const option = (select, value, text) => select.append(new Option(text, value));
    for (const name of Object.keys(data.numbers)) {
      option(fields.sort, `${name} -1`, `${name}, highest first`);
      option(fields.sort, `${name} 1`, `${name}, lowest first`);
    }
    option(fields.sort, "file", "name of the file");
    const offer = (id, values) => {
      for (const [value, text] of values) option(fields[id], value, text);
      fields[id].closest(".field").hidden = values.length < 2 && id !== "why" || !values.length;
    };
    const classes = (key) => [...new Set(rows.flatMap((one) => one[key]))].sort((a, b) => a - b).map((place) => [place, data.names[place]]);
    offer("true", classes("is"));
    offer("given", classes("given"));
    const kinds = new Set(rows.map((one) => one.kind));
    offer("kind", [["right", "right"], ["wrong", "wrong"], ["", "unknown"], ["failed", "failed"]].filter(([kind]) => kinds.has(kind))
      .map(([kind, text]) => [kind || "unknown", text]));
    offer("why", [...new Set(rows.map((one) => one.why))].filter(Boolean).sort().map((text) => [text, text]));
    more = () => {
      by("list").append(...chosen.slice(reach, reach + CARDS).map(card));
      reach = Math.min(reach + CARDS, chosen.length);
      by("more").closest("p").hidden = reach === chosen.length;
      by("more").textContent = `Show ${Math.min(CARDS, chosen.length - reach)} more`;
    };
    choose = () => {
      const text = fields.file.value.toLowerCase();
      chosen = rows.filter((one) =>
        (!fields.true.value || one.is.includes(Number(fields.true.value))) &&
        (!fields.given.value || one.given.includes(Number(fields.given.value))) &&
        (!fields.kind.value || (one.kind || "unknown") === fields.kind.value) &&
        (!fields.why.value || one.why === fields.why.value) &&
        one.file.toLowerCase().includes(text));
      const [, name, sign] = fields.sort.value.match(/^(.*) (-?1)$/) || [];
      if (fields.sort.value === "file") chosen.sort((a, b) => a.file < b.file ? -1 : a.file > b.file ? 1 : 0);
      else if (name) {
        const numbers = data.numbers[name], value = (one) => numbers[one.place] ?? sign * Infinity;
        chosen.sort((a, b) => sign * (value(a) - value(b)) || a.place - b.place);
      }
      const left = data.total > rows.length ? `, the worst of ${data.total.toLocaleString("en")}; the Parquet files hold the others` : "";
      by("found").textContent = `${chosen.length.toLocaleString("en")} of ${count(rows.length, "image")}${left}.`;
      by("list").replaceChildren();
      reach = 0;
      more();
    };
    for (const field of Object.values(fields)) field.addEventListener("input", choose);
    by("more").addEventListener("click", more);
    choose();
  }

  // A cell of the confusion matrix shows some of its images beside it, and all of them in the list.
  const links = all("a[data-true]"), panel = by("panel");
  const showCell = (link, isAsked) => {
    const [truth, given] = [link.dataset.true, link.dataset.given].map(Number);
    const found = rows.filter((one) => one.is[0] === truth && one.given[0] === given).sort((a, b) => a.place - b.place);
    for (const other of links) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    const name = (place) => tag("span", "name", data.names[place]);
    panel.querySelector("h3").replaceChildren("True: ", name(truth), ". Predicted: ", name(given), ". ", tag("small", "", count(found.length, "image")));
    panel.querySelector(".cards").replaceChildren(...found.slice(0, 12).map(card));
    const button = panel.querySelector("button");
    button.textContent = `Show ${found.length === 1 ? "it" : `all ${found.length.toLocaleString("en")}`} in the list`;
    button.onclick = () => {
      for (const id of ["kind", "why", "file"]) by(id).value = "";
      by("true").value = truth;
      by("given").value = given;
      choose();
      by("all").scrollIntoView();
    };
    panel.hidden = false;
    if (isAsked) {
      panel.focus({ preventScroll: true });
      if (panel.getBoundingClientRect().top > innerHeight - 160) panel.scrollIntoView({ block: "nearest" });
    }
  };
  for (const link of links) link.addEventListener("click", (event) => {
    event.preventDefault();
    showCell(link, true);
  });
  const first = document.querySelector(".miss a, .pairs a") || links[0];
  if (first) showCell(first, false);

  // Arrow keys walk the matrix.
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const matrix = document.querySelector(".matrix");
  if (matrix) matrix.addEventListener("keydown", (event) => {
    const step = steps[event.key], link = event.target.closest("a");
    if (!step || !link) return;
    event.preventDefault();
    let row = Number(link.dataset.true), column = Number(link.dataset.given);
    const size = matrix.tBodies[0].rows.length;
    for (row += step[0], column += step[1]; row >= 0 && column >= 0 && row < size && column < size; row += step[0], column += step[1]) {
      const next = links.find((one) => Number(one.dataset.true) === row && Number(one.dataset.given) === column);
      if (next) return next.focus();
    }
  });

  const filter = by("filter");
  if (filter) {
    const classes = all(".class").map((one) => [one, one.querySelector("h3").textContent.toLowerCase()]);
    filter.closest(".filter").hidden = false;
    filter.addEventListener("input", () => {
      for (const [one, name] of classes) one.hidden = !name.includes(filter.value.toLowerCase());
    });
  }
})();
