"""The style sheet and the script of the web page, without outside resources."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tf_gradcam._app import combobox, gallery

FONTS = ("system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
MONO = ("ui-monospace", "Consolas", "monospace")

# Screen readers read out changes of the status; Gradio has no argument for that.
SCRIPT = (
    """() => {
  const status = document.querySelector('#tg-status');
  if (status) { status.setAttribute('role', 'status'); status.setAttribute('aria-live', 'polite'); }
  document.documentElement.lang = 'en';
  const address = new URL(location.href);  // the cookie holds from here on: no token on screens and in histories
  if (address.searchParams.has('token')) {
    address.searchParams.delete('token');
    history.replaceState(history.state, '', address);
  }
  // Gradio names each field for files alike, lets no key scroll the code, and gives an empty one a name without a
  // role. It makes them when they are shown.
  const name = () => {
    document.querySelector('.empty[aria-label]:not([role])')?.setAttribute('role', 'img');
    const code = document.querySelector('#tg-lines .cm-scroller:not([role])');
    if (code) { code.tabIndex = 0; code.setAttribute('role', 'region'); code.setAttribute('aria-label', 'Python'); }
    for (const button of document.querySelectorAll('button.upload-container')) {
      const label = button.closest('.block')?.querySelector('label')?.innerText.trim();
      const text = `${label}: ${button.innerText.replace(/\\s+/g, ' ').trim()}`;
      if (label && button.getAttribute('aria-label') !== text) button.setAttribute('aria-label', text);
    }
  };
  name();
  if (innerWidth <= 860) document.querySelector('#tg-look > button')?.click();
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
"""
    + gallery.DROP_SCRIPT
    + "}"
)

CSS = (
    """
.gradio-container { max-width: 1500px !important; --body-text-color-subdued: #475569; }
.dark .gradio-container, .gradio-container.dark { --body-text-color-subdued: #cbd5e1; }
.gradio-container button[role=tab][aria-selected=true] { color: #1d4ed8 !important; }
.dark .gradio-container button[role=tab][aria-selected=true] { color: #93c5fd !important; }
#tg-samples button { white-space: nowrap; overflow: hidden; }
body .fillable { padding-inline: clamp(16px, 4vw, 32px) !important; }
.gradio-container .html-container { padding: 0 !important; }
#tg-head { gap: 2px !important; } .tg-label { margin: 0; font-size: .85rem; } .tg-ready { margin: 0; }
.tg-model { margin: 0; font-size: .9rem; }
#tg-head h1 { font-size: 1.5rem; font-weight: 700; margin: 0 14px 0 0; }
#tg-head h1, #tg-head h1 + p { display: inline; }
#tg-head p { margin: .2rem 0 0; color: var(--body-text-color); }
#tg-model { margin-top: 8px; } #tg-model, #tg-look { overflow: visible !important; }
#tg-model-parts { display: grid !important; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; }
#tg-main { display: grid !important; grid-template-columns: 320px minmax(0, 1fr);
  grid-template-areas: "pick out" "set out"; grid-template-rows: auto 1fr; gap: 16px; align-items: start; }
#tg-pick, #tg-set { gap: 10px !important; }
#tg-pick { grid-area: pick; } #tg-set { grid-area: set; } #tg-out { grid-area: out; min-width: 0; }
#tg-main > .column { min-width: 0 !important; width: 100%; }
@media (max-width: 860px) {
  #tg-main { grid-template-columns: minmax(0, 1fr); grid-template-areas: "pick" "set" "out"; grid-template-rows: none; }
  #tg-set { display: grid !important; grid-template-columns: repeat(2, minmax(0, 1fr)); align-items: end; }
  #tg-look, #tg-set > .form { grid-column: 1 / -1; } #tg-set .tg-info { display: none; } }
#tg-samples { display: grid !important; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px; }
#tg-samples button { min-width: 0; padding: 4px; flex-direction: column; font-size: .72rem; font-weight: 500;
  gap: 3px; }
#tg-samples button img { width: 100%; max-width: 64px; height: auto; aspect-ratio: 1; border-radius: 4px; margin: 0; }
#tg-bar-row { align-items: center; flex-wrap: nowrap; min-height: 44px; }
#tg-bar-row:not(:has(progress)) #tg-stop { visibility: hidden; }
.tg-unseen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
#tg-main > .column > :has(h2.tg-unseen) { position: absolute; }
.tg-hint { margin: 0 0 8px; } #tg-judge { align-self: start; width: auto; padding: 6px 12px; }
#tg-tab-explore { padding: 0 !important; border: 0 !important; }
#tg-stop { flex: 0 0 auto; min-width: 90px; transition: none; }
.tg-grid { display: grid; gap: 12px; }
.tg-three { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.tg-two { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.tg-many { grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); }
@media (max-width: 560px) { .tab-container button { padding: 0 4px !important; }
  #tg-samples button { font-size: .62rem; } .tg-three { grid-template-columns: minmax(0, 1fr); } }
.tg-figure { margin: 0; min-width: 0; } .tg-figure h3 { margin: 0 0 4px; font-size: .9rem; font-weight: 600; }
.tg-figure img { width: 100%; height: auto; display: block; border-radius: 4px;
  border: 1px solid var(--border-color-primary); }
.tg-picture { position: relative; line-height: 0; } .tg-picture[data-pick] { cursor: crosshair; }
.tg-picture > * { line-height: normal; }
.tg-point { position: absolute; width: 16px; height: 16px; margin: -8px 0 0 -8px; border-radius: 50%;
  border: 2px solid #fff; box-shadow: 0 0 0 2px #111, inset 0 0 0 1px #111; pointer-events: none; }
.tg-box { position: absolute; padding: 0; margin: 0; background: transparent; border: 1px solid #fff;
  outline: 1px solid #111; cursor: pointer; text-align: left; overflow: visible; }
.tg-box span { position: absolute; top: 0; left: 0; padding: 0 4px; font-size: .68rem; white-space: nowrap;
  color: #fff; background: #111; }
.tg-box.tg-own { border-width: 3px; } .tg-box.tg-own span { font-weight: 700; }
.tg-box:hover, .tg-box:focus-visible { z-index: 1; border-color: #fbbf24; border-width: 3px; }
.tg-cover { position: absolute; inset: 0; background: none; border: 0; cursor: pointer; border-radius: 4px; }
.tg-cover:hover { outline: 3px solid #2b6cb0; }
.tg-choose { padding: 0; border: 0; background: none; font: inherit; color: inherit; cursor: pointer; text-align: left;
  text-decoration: underline dotted; text-underline-offset: 3px; }
tr[data-pick] { cursor: pointer; } tr[data-pick]:hover th { background: var(--background-fill-secondary); }
.tg-choose:hover, tr[data-pick]:hover .tg-choose { text-decoration-style: solid; }
.tg-color { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 8px;
  border: 1px solid var(--body-text-color); vertical-align: -1px; }
.tg-figure figcaption { font-size: .8rem; margin-top: 4px; overflow-wrap: anywhere; color: var(--body-text-color); }
.tg-empty { border: 1px dashed var(--border-color-primary); border-radius: 4px; padding: 8px; }
.tg-scale { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; margin: 12px 0 4px; font-size: .8rem; }
.tg-bar { position: relative; width: 220px; height: 12px; border-radius: 3px; overflow: hidden;
  border: 1px solid var(--border-color-primary); }
.tg-cut { position: absolute; top: 0; bottom: 0;
  background: repeating-linear-gradient(45deg, #fff 0 3px, #94a3b8 3px 4px); }
.tg-headline { font-weight: 600; margin: 0 0 8px; }
.tg-notice { padding: 8px 12px; border-radius: 6px; margin: 0 0 10px; border-left: 4px solid; overflow-wrap: anywhere; }
.tg-note { background: #fff4d6; color: #4a3500; border-color: #b7791f; }
.tg-sure { background: #e2f5e6; color: #14421f; border-color: #2f855a; }
.tg-error { background: #fde4e4; color: #6b0f0f; border-color: #c53030; }
.tg-progress { display: flex; align-items: center; gap: 10px; }
.tg-progress progress { width: 220px; height: 14px; appearance: none; border: 0; border-radius: 7px;
  overflow: hidden; background: #cbd5e1; }
.tg-progress progress::-webkit-progress-bar { background: #cbd5e1; }
.tg-progress progress::-webkit-progress-value { background: #1d4ed8; transition: width .2s; }
.tg-progress progress::-moz-progress-bar { background: #1d4ed8; }
.tg-progress progress:indeterminate { background: repeating-linear-gradient(45deg, #cbd5e1 0 8px, #93c5fd 8px 16px); }
.tg-progress progress:indeterminate::-webkit-progress-bar { background: transparent; }
.tg-top { width: 100%; border-collapse: collapse; font-size: .88rem; margin: 18px 0; }
.tg-top caption { text-align: left; font-weight: 600; padding-bottom: 4px; }
.tg-top th { text-align: left; font-weight: 400; padding: 3px 10px 3px 0; width: 34%; overflow-wrap: anywhere; }
.tg-top td { padding: 3px 0; } .tg-cell { background: var(--background-fill-secondary); }
.tg-fill { display: block; height: 14px; background: #2b6cb0; border-radius: 2px; }
.tg-explained th { font-weight: 700; } .tg-mark { font-size: .72rem; font-weight: 400; opacity: .9; }
.tg-number { text-align: right; font-variant-numeric: tabular-nums; width: 70px; }
.tg-links { display: flex; flex-wrap: wrap; gap: 8px; margin: 12px 0; }
.tg-link { padding: 6px 12px; border: 1px solid var(--border-color-primary); border-radius: 6px; font-size: .85rem;
  background: var(--button-secondary-background-fill); color: var(--body-text-color) !important;
  text-decoration: none; }
.tg-link:hover { text-decoration: underline; }
.tg-link:focus-visible, .tg-sieve select:focus-visible, .gradio-container button:focus-visible {
  outline: 3px solid #2b6cb0 !important; outline-offset: 2px; }
.tg-trail ul { display: flex; gap: 8px; overflow-x: auto; list-style: none; margin: 4px 0 0; padding: 3px; }
.tg-trail h3 { font-size: .9rem; font-weight: 600; margin: 12px 0 0; } .tg-trail li { flex: 0 0 96px; margin: 0; }
.tg-trail a { display: block; color: var(--body-text-color); text-decoration: none; border-radius: 4px; }
.tg-trail img { width: 96px; height: 72px; object-fit: cover; border-radius: 4px; display: block; margin: 0 0 6px; }
.tg-trail span, .tg-trail small { display: block; font-size: .75rem; line-height: 1.25; overflow-wrap: anywhere; }
.tg-trail a[aria-current] img { outline: 3px solid #2b6cb0; } .tg-trail a:hover { text-decoration: underline; }
body:not(.dark) #tg-lines .cm-line span { color: #1e3a5f; } /* Gradio's colours are too pale on white */
#tg-lines .icon-button { min-width: 24px; min-height: 24px; }
.tg-bar, .tg-cut, .tg-cell, .tg-fill, .tg-color, .tg-notice {
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print { #tg-pick, #tg-set, #tg-bar-row, .tab-container, .tg-links, .tg-tools, .tg-readout, footer {
  display: none !important; }
  #tg-main { display: block !important; } .tg-figure, .tg-top { break-inside: avoid; } }
.tg-closely { display: grid; grid-template-columns: minmax(0, 1fr) minmax(260px, 36%); gap: 16px; align-items: start; }
@media (max-width: 1100px) { .tg-closely { grid-template-columns: minmax(0, 1fr); } }
.tg-stage { position: relative; overflow: hidden; width: 100%; min-height: 200px; max-height: min(54vh, 640px);
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); border-radius: 4px;
  touch-action: pan-y; user-select: none; }
.tg-stage.tg-zoomed { touch-action: none; cursor: grab; }
.tg-stage .tg-picture { position: absolute; left: 0; top: 0; width: 100%; height: 100%; }
.tg-stage img { position: absolute; left: 0; top: 0; width: 100%; height: 100%; max-width: none; border: 0;
  border-radius: 0; }
.tg-stage:focus-visible { outline: 3px solid #2b6cb0; outline-offset: 2px; }
.tg-split { position: absolute; width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 0 1px #111; cursor: ew-resize; touch-action: none; }
.tg-split::after { content: ""; position: absolute; top: 0; bottom: 0; left: -9px; right: -9px; }
.tg-cross { display: none; position: absolute; width: 0; height: 0; pointer-events: none; }
.tg-cross.tg-on { display: block; }
.tg-cross::before, .tg-cross::after { content: ""; position: absolute; background: #fff; box-shadow: 0 0 0 1px #111; }
.tg-cross::before { left: -14px; top: -1px; width: 28px; height: 2px; }
.tg-cross::after { left: -1px; top: -14px; width: 2px; height: 28px; }
.tg-tools { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin-top: 8px; font-size: .85rem; }
.tg-slide { display: flex; flex: 1 1 100%; gap: 8px; align-items: center; }
.tg-slide input { flex: 1; min-width: 60px; accent-color: #2b6cb0; }
.tg-tools button, .tg-look { min-width: 34px; min-height: 30px; padding: 2px 9px; font-size: .85rem; cursor: pointer;
  color: var(--body-text-color); background: var(--button-secondary-background-fill);
  border: 1px solid var(--border-color-primary); border-radius: 6px; }
.tg-tools [aria-pressed=true] { color: #fff; background: #1d4ed8; }
.tg-zoom { min-width: 3.2em; text-align: right; font-variant-numeric: tabular-nums; }
.tg-readout { margin: 6px 0 2px; font-size: .85rem; font-variant-numeric: tabular-nums; }
.tg-look { margin-top: 4px; }
.tg-two img { max-height: 240px; object-fit: contain; object-position: left top; border: 0; }
.tg-closely .tg-top th { width: 46%; }
"""
    + combobox.CSS
    + gallery.CSS
)


def theme(gradio: ModuleType) -> Any:
    """Return Gradio's theme with fonts of the system, because its own ones come from another server."""
    plain = gradio.themes.Default(primary_hue="blue", neutral_hue="slate", font=list(FONTS), font_mono=list(MONO))
    return plain.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
    )
