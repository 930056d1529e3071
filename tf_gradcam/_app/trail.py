"""The history of a window: its last explanations as links, and the script that keeps its address.

Each link is an address (`address.py`). One way leads to all of them: a click, Back, Forward, Reload and a link from
somebody else ask the server for the query.
"""

from __future__ import annotations

import base64
from html import escape

from tf_gradcam._app.html import name_html
from tf_gradcam._app.session import HistoryEntry, Session
from tf_gradcam.image.thumbnails import thumbnail

# `known` is the query of what is shown. An answer to a question makes an entry in the browser's history; a change of
# the look alone, and an address that was asked for, do not. The session is handed on only while the page is left, so
# that a copy of the window has a session of its own.
SCRIPT = """
const look = ['opacity', 'threshold', 'colours'];
const kept = 'tf-gradcam session';
const nav = () => element.querySelector('nav');
const own = query => [...new URLSearchParams(query)].filter(([name]) => !name.startsWith('__') && name !== 'token');
const question = query => String(new URLSearchParams(own(query).filter(([name]) => !look.includes(name))));
const address = query => {
  const foreign = [...new URLSearchParams(location.search)].filter(([name]) => name.startsWith('__'));
  const whole = [query.replace(/^[?]/, ''), String(new URLSearchParams(foreign))].filter(Boolean).join('&');
  return location.pathname + (whole ? '?' + whole : '');
};
let known = nav()?.dataset.query ?? '', asked = 0, is_back = false;
const ask = (query, session = '') => {
  asked += 1;
  is_back = true;
  trigger('select', {query, session, number: asked});
};
watch('value', () => {
  const now = nav()?.dataset;
  if (!now || Number(now.asked) !== asked) return;  // of before the address was asked for
  if (now.query !== known || is_back) {
    const is_same = is_back || question(now.query) === question(known);
    history[is_same ? 'replaceState' : 'pushState'](null, '', address(now.query));
    known = now.query;
  }
  is_back = false;
});
element.addEventListener('click', event => {
  const link = event.target.closest('a');
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, '', address(link.getAttribute('href')));
  ask(link.getAttribute('href'));
});
addEventListener('popstate', () => ask(location.search));
addEventListener('pagehide', () => sessionStorage.setItem(kept, nav()?.dataset.session ?? ''));
addEventListener('pageshow', event => event.persisted && location.reload());
const before = sessionStorage.getItem(kept) ?? '';
sessionStorage.removeItem(kept);
if (before || own(location.search).length) ask(location.search, before);
"""


def trail_html(session: Session) -> str:
    """Show the history of a session, the newest first, with what the script needs."""
    entries, now = session.history, session.query(session.picture, session.question)
    links = "".join(_link(session, query, entry, query == now) for query, entry in reversed(entries.items()))
    hidden = "" if len(entries) > 1 else " hidden"
    query = session.query(session.picture, session.question, session.look, session.tab)
    return (
        f'<nav class="tg-trail" aria-label="History" data-query="{escape(query)}" data-session="{session.token}" '
        f'data-asked="{session.asked}"{hidden}><h3>History</h3><ul>{links}</ul></nav>'
    )


def _link(session: Session, query: str, entry: HistoryEntry, is_shown: bool) -> str:
    answer = entry.answer
    names = list(answer.explanations)
    label = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    source = base64.b64encode(thumbnail(entry.thumbnail, max(entry.thumbnail.shape))).decode("ascii")
    target = session.query(answer.picture, answer.question, session.look)
    words = f"{label}, {answer.question.method} at {answer.first.layer_name}"
    current = ' aria-current="true"' if is_shown else ""
    return (
        f'<li><a href="?{escape(target)}" title="{escape(f"{answer.picture.name}: {words}")}"{current}>'
        f'<img src="data:image/jpeg;base64,{source}" alt=""><span>{escape(label)}</span>'
        f"<small>{escape(answer.question.method)}, {name_html(answer.first.layer_name)}</small></a></li>"
    )
