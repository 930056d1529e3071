// The script of the open tab: choices by a click, and the picture of Explore that is looked at closely.
//
// Gradio runs it once, with `element` (the tab's HTML), `trigger` (starts a handler) and `watch`. It updates the nodes
// in place and takes away what the server did not send; so `draw` sets everything that this script adds.

// Answers to two events may come in another order than they were made, each with its number: the newest one stays.
{
  const numberOf = html => Number(/^<!--(\d+)-->/.exec(html)?.[1] ?? -1);
  let newest = props.value;
  watch('value', () => {
    if (numberOf(props.value) < numberOf(newest)) props.value = newest;
    else newest = props.value;
  });
}

const FRESH = {zoom: null, x: 0.5, y: 0.5, map: 0, cross: null};  // zoom null: as large as the frame
const STEP = 1.25, MOST = 32;
let view = {...FRESH}, key = '', answer = '', split = 100, pixel = null, drag = null, wasDragged = false, last = null;
let timer = 0;
const fetched = {};  // class of a picture -> {address, source}, with the pixels of the photo's file
const find = selector => element.querySelector(selector);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Where the picture is in its frame, in pixels of the screen.
function frame() {
  const stage = find('.tg-stage');
  if (!stage || !stage.clientWidth) return null;
  const [width, height] = stage.dataset.size.split(' ').map(Number);
  const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  const zoom = view.zoom ?? fit;
  const start = (room, length, middle) =>
    length <= room ? (room - length) / 2 : clamp(room / 2 - middle * length, room - length, 0);
  const [across, down] = [width * zoom, height * zoom];
  const left = start(stage.clientWidth, across, view.x), top = start(stage.clientHeight, down, view.y);
  return {stage, width, height, fit, zoom, across, down, left, top};
}

function draw() {
  const stage = find('.tg-stage');
  if (stage && stage.dataset.key !== key) {
    [key, view, pixel] = [stage.dataset.key, {...FRESH}, null];
    for (const name of Object.keys(fetched)) { URL.revokeObjectURL(fetched[name].source); delete fetched[name]; }
  }
  if (stage && stage.dataset.answer !== answer) { answer = stage.dataset.answer; view.map = 0; }
  const now = frame();
  if (!now) return;
  const photo = find('.tg-photo'), overlay = find('.tg-overlay'), picture = stage.querySelector('.tg-picture');
  Object.assign(picture.style, {
    left: `${now.left}px`, top: `${now.top}px`, width: `${now.across}px`, height: `${now.down}px`,
  });
  for (const image of [photo, overlay]) {
    image.style.imageRendering = now.zoom >= 1 ? 'pixelated' : 'auto';
    show(image, image === overlay ? chosen() : image, now.across * devicePixelRatio > 1.5 * stage.dataset.shown);
  }
  title(overlay);
  const from = Math.max(now.left, 0), to = Math.min(now.left + now.across, stage.clientWidth);
  const line = from + split / 100 * (to - from);
  overlay.style.clipPath = `inset(0 ${now.left + now.across - line}px 0 0)`;
  const top = Math.max(now.top, 0), height = Math.min(now.top + now.down, stage.clientHeight) - top;
  Object.assign(find('.tg-split').style, {left: `${line}px`, top: `${top}px`, height: `${height}px`});
  const slider = find('.tg-slide input');
  slider.value = split;
  slider.setAttribute('aria-valuetext', `${split}% overlay, ${100 - split}% photo`);
  find('.tg-zoom').textContent = `${Math.round(100 * now.zoom)}%`;
  stage.classList.toggle('tg-zoomed', now.across > stage.clientWidth + 1 || now.down > stage.clientHeight + 1);
  find('[data-do=cross]').setAttribute('aria-pressed', view.cross !== null);
  const cross = find('.tg-cross');
  cross.classList.toggle('tg-on', view.cross !== null);
  if (view.cross) {
    cross.style.left = `${(view.cross[0] + 0.5) / now.width * 100}%`;
    cross.style.top = `${(view.cross[1] + 0.5) / now.height * 100}%`;
  }
  find('.tg-readout').textContent = (pixel && read(pixel).text) || 'Point at the picture to read its map.';
}

// Of several maps the frame shows one: the first, until another one's button is pressed.
const chosen = () => element.querySelectorAll('img[data-map]')[view.map] ?? find('.tg-overlay');

function title(overlay) {
  const from = chosen().closest('figure'), to = overlay.closest('figure');
  if (from === to) return;
  overlay.alt = chosen().alt;
  for (const name of ['h3', 'figcaption']) to.querySelector(name).textContent = from.querySelector(name).textContent;
}

// Show a picture, with the pixels of its file once they are needed and have arrived.
async function show(image, own, isNeeded) {
  const name = image.className, address = own.dataset.more, got = fetched[name];
  const isGot = got !== undefined && got.address === address;
  const source = isGot && got.source ? got.source : own.src;
  if (image.src !== source) image.src = source;
  if (!address || !isNeeded || isGot) return;
  if (got?.source) URL.revokeObjectURL(got.source);
  const mine = fetched[name] = {address, source: ''};
  await new Promise(done => setTimeout(done, 300));  // no fetch for each step of a slider
  if (fetched[name] !== mine) return;
  const response = await fetch(address);
  const content = response.ok ? await response.blob() : null;
  if (!content || fetched[name] !== mine) return;
  mine.source = URL.createObjectURL(content);
  draw();
}

// The value and the cell of the map at a pixel of the photo.
let decoded = {text: null};
function map() {
  const text = chosen().dataset.map;
  if (decoded.text !== text) {
    const {axes, values} = JSON.parse(text);
    const data = new DataView(Uint8Array.from(atob(values), letter => letter.charCodeAt(0)).buffer);
    decoded = {text, axes, at: index => data.getInt16(2 * index, true) / 32767};
  }
  return decoded;
}

function along(axis, share) {
  const place = share * axis.side, position = clamp((place - axis.start) / axis.scale, 0, axis.cells - 1);
  const below = Math.floor(position);
  const isSeen = place >= axis.first && place <= axis.last;
  const above = Math.min(below + 1, axis.cells - 1);
  return {below, above, part: position - below, nearest: Math.floor(position + 0.5), isSeen};
}

function read([x, y]) {
  const now = frame(), {axes: [rows, columns], at} = map();
  const down = along(rows, (y + 0.5) / now.height), across = along(columns, (x + 0.5) / now.width);
  const line = row =>
    at(row * columns.cells + across.below) * (1 - across.part) + at(row * columns.cells + across.above) * across.part;
  const isSeen = down.isSeen && across.isSeen;
  const value = isSeen ? line(down.below) * (1 - down.part) + line(down.above) * down.part : 0;
  const cell = `cell (row ${down.nearest}, column ${across.nearest}) of ${rows.cells} x ${columns.cells}`;
  const text = `x ${x}, y ${y} · map ${value.toFixed(3)} · ${isSeen ? cell : 'outside of what the layer sees'}`;
  return {text, row: down.nearest, column: across.nearest};
}

// The pixel of the photo at a place of the screen, null beside the picture.
function pixelAt(event) {
  const now = frame();
  if (!now) return null;
  const box = now.stage.getBoundingClientRect();
  const x = Math.floor((event.clientX - box.left - now.stage.clientLeft - now.left) / now.zoom);
  const y = Math.floor((event.clientY - box.top - now.stage.clientTop - now.top) / now.zoom);
  return x >= 0 && y >= 0 && x < now.width && y < now.height ? [x, y] : null;
}

// Zoom, and keep the place at (x, y) of the frame where it is; by default its middle.
function zoomTo(zoom, x, y) {
  const now = frame();
  x ??= now.stage.clientWidth / 2;
  y ??= now.stage.clientHeight / 2;
  const [across, down] = [(x - now.left) / now.across, (y - now.top) / now.down];
  const target = clamp(zoom, Math.min(now.fit, 1), Math.max(now.fit, MOST));
  view.zoom = Math.abs(target / now.fit - 1) < 0.01 ? null : target;
  view.x = across + (now.stage.clientWidth / 2 - x) / (now.width * target);
  view.y = down + (now.stage.clientHeight / 2 - y) / (now.height * target);
  draw();
}

function moveTo(left, top) {
  const now = frame();
  view.x = (now.stage.clientWidth / 2 - left) / now.across;
  view.y = (now.stage.clientHeight / 2 - top) / now.down;
  const settled = frame();  // within the borders
  view.x = (now.stage.clientWidth / 2 - settled.left) / now.across;
  view.y = (now.stage.clientHeight / 2 - settled.top) / now.down;
  draw();
}

const actions = {
  in: now => zoomTo(now.zoom * STEP),
  out: now => zoomTo(now.zoom / STEP),
  fit: now => zoomTo(now.fit),
  pixels: () => zoomTo(1),
  cross: now => {
    view.cross = view.cross ? null : pixel ?? [Math.floor(now.width / 2), Math.floor(now.height / 2)];
    now.stage.focus({preventScroll: true});
    if (view.cross) say(view.cross);
    draw();
  },
};

// Screen readers read the last of a row of moves, not each.
function say(at) {
  pixel = at;
  clearTimeout(timer);
  timer = setTimeout(() => { if (find('.tg-said')) find('.tg-said').textContent = read(at).text; }, 400);
}

// Move the crosshair to the next cell, or by a pixel of the photo.
function moveCross(right, down, isByPixel) {
  const now = frame(), {row, column} = read(view.cross), [rows, columns] = map().axes;
  const next = (axis, cell, step, side, at) => {
    if (!step) return at;
    if (isByPixel) return clamp(at + step, 0, side - 1);
    const centre = axis.start + clamp(cell + step, 0, axis.cells - 1) * axis.scale;
    return clamp(Math.floor(centre / axis.side * side), 0, side - 1);
  };
  const [x, y] = view.cross;
  view.cross = [next(columns, column, right, now.width, x), next(rows, row, down, now.height, y)];
  const [left, top] = [(view.cross[0] + 0.5) * now.zoom, (view.cross[1] + 0.5) * now.zoom];
  const isSeen = left + now.left >= 0 && left + now.left <= now.stage.clientWidth
    && top + now.top >= 0 && top + now.top <= now.stage.clientHeight;
  say(view.cross);
  if (isSeen) draw(); else moveTo(now.stage.clientWidth / 2 - left, now.stage.clientHeight / 2 - top);
}

const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const KEYS = {'+': 'in', '=': 'in', '-': 'out', '0': 'fit', '1': 'pixels', c: 'cross', C: 'cross'};

element.addEventListener('keydown', event => {
  const now = frame();
  if (!now || event.target !== now.stage || event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = ARROWS[event.key], name = event.key === 'Escape' && view.cross ? 'cross' : KEYS[event.key];
  if (name) actions[name](now);
  else if (arrow && view.cross) moveCross(...arrow, event.shiftKey);
  else if (arrow && now.stage.classList.contains('tg-zoomed')) moveTo(now.left - 60 * arrow[0], now.top - 60 * arrow[1]);
  else if (event.key === 'Enter' && view.cross && find('.tg-picture[data-pick]')) pick(find('.tg-picture'), view.cross);
  else return;
  event.preventDefault();
});

element.addEventListener('wheel', event => {
  const now = frame();
  if (!now || !now.stage.contains(event.target)) return;
  if (!event.ctrlKey && !event.metaKey && document.activeElement !== now.stage) return;  // the page scrolls
  event.preventDefault();
  const box = now.stage.getBoundingClientRect();
  zoomTo(now.zoom * 1.0015 ** -event.deltaY, event.clientX - box.left, event.clientY - box.top);
}, {passive: false});

element.addEventListener('input', event => {
  if (!event.target.closest('.tg-slide')) return;
  split = Number(event.target.value);
  draw();
});

element.addEventListener('pointerdown', event => {
  const now = frame();
  wasDragged = false;
  if (!now || event.button || !now.stage.contains(event.target)) return;
  const isLine = event.target.closest('.tg-split') !== null;
  drag = {x: event.clientX, y: event.clientY, left: now.left, top: now.top, isLine, isMoving: isLine};
  if (isLine) event.target.setPointerCapture(event.pointerId);
});

element.addEventListener('pointermove', event => {
  const now = frame();
  if (!now) return;
  const [right, down] = drag ? [event.clientX - drag.x, event.clientY - drag.y] : [0, 0];
  if (drag && !drag.isMoving && Math.hypot(right, down) > 4 && now.stage.classList.contains('tg-zoomed')) {
    drag.isMoving = true;
    now.stage.setPointerCapture(event.pointerId);
  }
  if (drag?.isLine) {
    const box = now.stage.getBoundingClientRect();
    const from = Math.max(now.left, 0), to = Math.min(now.left + now.across, now.stage.clientWidth);
    split = Math.round(clamp((event.clientX - box.left - from) / (to - from), 0, 1) * 100);
    draw();
  } else if (drag?.isMoving) {
    moveTo(drag.left + right, drag.top + down);
  } else {
    const at = now.stage.contains(event.target) ? pixelAt(event) : null;
    if (!at && !pixel) return;
    pixel = at ?? view.cross;
    draw();
  }
});

for (const name of ['pointerup', 'pointercancel']) {
  element.addEventListener(name, () => { wasDragged = drag?.isMoving ?? false; drag = null; });
}

// Choose what a button, a row, or a pixel of the picture stands for.
function pick(one, at) {
  const now = frame(), [x, y] = at && now ? [(at[0] + 0.5) / now.width, (at[1] + 0.5) / now.height] : [0, 0];
  trigger(one.dataset.pick === 'place' ? 'click' : 'select', {pick: one.dataset.pick, x, y});
}

element.addEventListener('click', event => {
  if (wasDragged) { wasDragged = false; return; }
  const action = event.target.closest('[data-do]'), look = event.target.closest('[data-look]');
  if (action) { actions[action.dataset.do](frame()); return; }
  if (look) {
    const images = [...element.querySelectorAll('img[data-map]')];
    view.map = images.indexOf(look.closest('figure').querySelector('img[data-map]'));
    draw();
    find('.tg-stage').focus();
    return;
  }
  const one = event.target.closest('[data-pick]');
  if (!one || !element.contains(one)) return;
  last = one.tagName === 'BUTTON' ? `.${one.className.split(' ')[0]}[data-pick="${one.dataset.pick}"]` : null;
  pick(one, pixelAt(event));
});

// The keyboard's focus stays where it was.
watch('value', () => {
  draw();
  if (last && document.activeElement === document.body) (find(last) ?? find('.tg-stage, button'))?.focus({preventScroll: true});
});
new ResizeObserver(draw).observe(element);
draw();
