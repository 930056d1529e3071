"""The list of the web page: a field that is searched by typing, after the ARIA pattern of a combobox.

Gradio's own list opens whenever it gets the focus, and does not close when it loses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

# The text of an entry and the value that handlers get; then the heading above it, a note beside it, and whether it can
# be chosen. Those that cannot are listed on request.
Entry = tuple[str, int | str] | tuple[str, int | str, str, str, bool]


def combobox(gradio: ModuleType, choices: Sequence[Entry], value: Any, label: str, **options: Any) -> Any:
    """Create a list with a label.

    Args:
        value: of the chosen entry; with `multiple`, a list of values.
        options: `info`, a text below the label; `multiple`; and those of `gradio.HTML`.
    """
    options = {"apply_default_css": False, "container": True, "padding": True, **options}
    return gradio.HTML(value, label=label, choices=choices, html_template=_TEMPLATE, js_on_load=_SCRIPT, **options)


# Without values, so that Gradio never draws it anew, and the focus stays in it.
_TEMPLATE = """<div class="tg-combobox"><label></label><p class="tg-info"></p><div class="tg-chosen"></div>
<input type="text" role="combobox" autocomplete="off" spellcheck="false" aria-autocomplete="list" aria-expanded="false">
<div class="tg-options" role="listbox" hidden></div></div>"""

# Names of properties must not stand alone in quotes: Gradio takes these for names of events.
_SCRIPT = """
const find = one => element.querySelector(one);
const label = find('label'), input = find('input'), list = find('.tg-options'), chosen = find('.tg-chosen');
const about = find('.tg-info');
let typed = false, all = false;
label.htmlFor = input.id = `${element.id}-input`;
list.id = `${element.id}-list`;
about.id = `${element.id}-about`;
input.setAttribute('aria-controls', list.id);
input.setAttribute('aria-describedby', about.id);

const isChosen = value => props.multiple ? props.value.includes(value) : props.value === value;
const textOf = value => props.choices.find(entry => entry[1] === value)?.[0] ?? value;
const created = (tag, parent, text, attributes) => {
  const one = document.createElement(tag);
  one.textContent = text;
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  return parent.appendChild(one);
};
const offered = () => [...list.querySelectorAll('[role=option]:not([aria-disabled])')];

function point(option) {
  list.querySelector('.tg-active')?.classList.remove('tg-active');
  input.removeAttribute('aria-activedescendant');
  if (!option) return;
  option.classList.add('tg-active');
  if (option === offered()[0]) list.scrollTop = 0;  // with its heading
  else option.scrollIntoView({block: 'nearest'});
  input.setAttribute('aria-activedescendant', option.id);
}

function fill() {
  const words = typed ? input.value.toLowerCase().split(' ').filter(Boolean) : [];
  const top = list.scrollTop;
  list.replaceChildren();
  let parent = list, heading = '', hidden = 0;
  props.choices.forEach(([text, value, group = '', note = '', isOffered = true], number) => {
    const searched = `${group} ${text} ${note}`.toLowerCase();
    if (!words.every(word => searched.includes(word))) return;
    if (!isOffered && !all) { hidden += 1; return; }
    if (group !== heading) parent = group ? created('div', list, '', {role: 'group', 'aria-label': group}) : list;
    heading = group;
    const option = created('div', parent, text, {
      role: 'option', id: `${list.id}-${number}`, 'aria-selected': isChosen(value),
    });
    if (note) created('small', option, note, {});
    if (!isOffered) option.setAttribute('aria-disabled', true);
    option.choose = () => choose(value);
  });
  if (hidden) {
    const more = created('div', list, `Show all: ${hidden} more that cannot be chosen`, {
      role: 'option', id: `${list.id}-all`, 'aria-selected': false,
    });
    more.choose = () => { all = true; fill(); };
  }
  if (!list.firstChild) created('div', list, 'No entry has these words', {role: 'option', 'aria-disabled': true});
  list.scrollTop = top;
}

function open() {
  list.hidden = false;
  input.setAttribute('aria-expanded', true);
  fill();
  list.style.left = 0;
  list.style.left = `${Math.min(0, document.body.clientWidth - list.getBoundingClientRect().right)}px`;
  list.scrollIntoView({block: 'nearest'});
  point(typed ? offered()[0] : list.querySelector('[aria-selected=true]'));
}

function close() {
  list.hidden = true;
  input.setAttribute('aria-expanded', false);
  typed = all = false;
  point(null);
  input.value = props.multiple ? '' : textOf(props.value);
}

function choose(value) {
  if (props.multiple) {
    const others = props.value.filter(one => one !== value);
    props.value = isChosen(value) ? others : [...others, value];
    const number = offered().indexOf(list.querySelector('.tg-active'));
    show();
    if (!list.hidden) point(offered()[number]);
  } else {
    props.value = value;
    close();
    input.select();
  }
  trigger('input');
}

// What the control shows, also after a handler has changed it.
function show() {
  label.textContent = props.label;
  about.textContent = props.info ?? '';
  if (list.hidden) close();
  else open();
  if (!props.multiple) return;
  input.placeholder = 'Add by its name';
  chosen.replaceChildren();
  for (const value of props.choices.map(entry => entry[1]).filter(isChosen)) {
    const button = created('button', chosen, value, {type: 'button', 'aria-label': `remove ${value}`});
    button.addEventListener('click', () => { choose(value); input.focus(); });
  }
}

input.addEventListener('focus', () => input.select());
input.addEventListener('blur', close);
input.addEventListener('mousedown', event => {  // a click selects the whole text, also a second one
  if (list.hidden && document.activeElement === input) event.preventDefault();
});
input.addEventListener('click', () => { input.focus(); if (list.hidden) { input.select(); open(); } });
input.addEventListener('input', () => { typed = true; open(); });
input.addEventListener('keydown', event => {
  const options = list.hidden ? [] : offered(), active = list.querySelector('.tg-active');
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (step && list.hidden) open();
  else if (step) point(options.at((options.indexOf(active) + step + (active || step > 0 ? 0 : 1)) % options.length));
  else if (event.key === 'Enter' && active) active.choose();
  else if (event.key === 'Escape' && !list.hidden) close();
  else return;
  event.preventDefault();
});
list.addEventListener('mousedown', event => event.preventDefault());  // the focus stays in the field
list.addEventListener('click', event => event.target.closest('[role=option]:not([aria-disabled])')?.choose());
watch('value label choices info'.split(' '), show);
show();
"""

CSS = """
.block:has(> div > .html-container .tg-combobox), .block:has(> .html-container .tg-combobox) { padding: 8px 12px; }
.tg-combobox { position: relative; }
.tg-combobox label { display: block; font-size: .85rem; color: var(--block-title-text-color); margin-bottom: 4px; }
.tg-info { margin: 0 0 6px; font-size: .75rem; color: var(--block-info-text-color); } .tg-info:empty { display: none; }
.tg-combobox input { width: 100%; padding: 8px 28px 8px 10px; font-size: .9rem; text-overflow: ellipsis;
  color: var(--body-text-color); border: 1px solid var(--border-color-primary); border-radius: 6px;
  background: var(--input-background-fill); cursor: pointer; }
@media (max-width: 560px) { .tg-combobox input { padding: 8px 22px 8px 8px; font-size: .82rem; }
  .block:has(> div > .html-container .tg-combobox), .block:has(> .html-container .tg-combobox) { padding: 8px; } }
.tg-combobox::after { content: ''; position: absolute; right: 12px; bottom: 15px; width: 7px; height: 7px;
  border: solid var(--body-text-color); border-width: 0 2px 2px 0; transform: rotate(45deg); pointer-events: none; }
.tg-combobox input:focus { outline: 3px solid #2b6cb0; outline-offset: 0; cursor: text; }
.tg-options { position: absolute; z-index: 50; top: calc(100% + 4px); min-width: max(100%, 280px);
  max-height: 320px; overflow-y: auto; padding: 4px 0; font-size: .88rem; color: var(--body-text-color);
  border-radius: 6px; background: var(--background-fill-primary); border: 1px solid var(--border-color-primary);
  box-shadow: 0 6px 18px rgb(0 0 0 / 30%); }
.tg-options [role=group]::before { content: attr(aria-label); display: block; padding: 6px 10px 2px; font-size: .75rem;
  font-weight: 700; }
.tg-options [role=option] { padding: 5px 10px; cursor: pointer; overflow-wrap: anywhere; }
.tg-options [role=option]:hover { background: var(--background-fill-secondary); }
.tg-options [aria-selected=true] { font-weight: 700; }
.tg-options .tg-active { background: #1d4ed8 !important; color: #fff; }
.tg-options [role=group] [role=option] { padding-left: 22px; } .tg-options small { display: block; font-weight: 400; }
.tg-options [aria-disabled] { cursor: default; font-style: italic; }
.tg-chosen { display: flex; flex-wrap: wrap; gap: 6px; } .tg-chosen:not(:empty) { margin-bottom: 8px; }
.tg-chosen button { padding: 2px 8px; font-size: .82rem; border: 1px solid var(--border-color-primary);
  border-radius: 6px; color: var(--body-text-color); background: var(--button-secondary-background-fill); }
.tg-chosen button::after { content: ' \\00d7'; }
"""
