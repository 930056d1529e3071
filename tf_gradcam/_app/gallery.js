// The pictures of a batch: sorted, filtered, opened by a click, an Enter or the arrow keys of the strip.
// Gradio runs it once, with `element` (the HTML of the tab), `trigger` (starts a handler) and `watch`.
{
  let chosen = {};  // in the lists, as long as the same batch is shown
  const sift = () => {
    const gallery = element.querySelector('.tg-gallery');
    const list = gallery?.querySelector('.tg-cards');
    const {order = '', label = '', state = ''} = chosen;
    const cards = [...list?.children ?? []];
    cards.forEach((card, number) => { card.dataset.place ??= number; });
    const byName = new Intl.Collator(undefined, {numeric: true}).compare;
    const compare = ({dataset: one}, {dataset: other}) => {
      if (order === 'name') return byName(one.name, other.name);
      if (order && one.number !== '' && other.number !== '')
        return order === '-' ? other.number - one.number : one.number - other.number;
      return order ? (one.number === '') - (other.number === '') : 0;
    };
    cards.sort((one, other) => compare(one, other) || one.dataset.place - other.dataset.place);
    let count = 0;
    for (const card of cards) {
      const {classes, state: own} = card.dataset;
      card.hidden = !!(label && !JSON.parse(classes).includes(label)) || !!(state && own !== state);
      count += !card.hidden;
      list.append(card);
    }
    const status = gallery?.querySelector('[role=status]');
    if (status) status.textContent = `${count} of ${cards.length} shown`;
  };
  element.addEventListener('change', event => {
    const list = event.target.closest('[data-sieve]');
    if (!list) return;
    chosen[list.dataset.sieve] = list.value;
    sift();
  });
  let opened = null;  // keeps the keyboard's focus when the HTML around it is replaced
  element.addEventListener('click', event => {
    opened = event.target.closest('[data-open]')?.dataset.open ?? null;
    if (opened !== null) trigger('submit', {open: Number(opened)});
  });
  element.addEventListener('keydown', event => {
    const thumbs = [...event.target.closest('.tg-strip')?.children ?? []];
    const place = thumbs.indexOf(event.target), end = thumbs.length - 1;
    const next = {ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: end}[event.key];
    if (place < 0 || next === undefined) return;
    event.preventDefault();
    if (next < 0 || next > end || next === place) return;
    thumbs[next].focus();
    thumbs[next].click();
  });
  watch('value', () => {
    const gallery = element.querySelector('.tg-gallery');
    if (gallery) {
      if (chosen.batch !== gallery.dataset.batch) chosen = {batch: gallery.dataset.batch};
      for (const list of gallery.querySelectorAll('[data-sieve]')) list.value = chosen[list.dataset.sieve] ?? '';
      sift();
    }
    for (const strip of element.querySelectorAll('.tg-strip')) {
      const current = strip.querySelector('[aria-current]');
      if (current) strip.scrollLeft = current.offsetLeft - (strip.clientWidth - current.offsetWidth) / 2;
    }
    if (opened === null || document.activeElement !== document.body) return;
    const place = element.querySelector(`[data-open="${opened}"]`) ?? document.getElementById('tg-tab-explore-button');
    place?.focus({preventScroll: true});
  });
}
