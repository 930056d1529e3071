// Files that are dropped anywhere on the page, and pictures that are pasted: one goes to Explore, several to Batch, and
// a model is loaded.
// They go through the page's own fields for files, so that the limits and the guard of uploads hold. It runs once.
{
  const veil = document.createElement('div');
  veil.id = 'tg-veil';
  veil.hidden = true;
  veil.setAttribute('role', 'region');
  veil.setAttribute('aria-label', 'Files to drop');
  veil.innerHTML = '<p>Drop pictures or a model here<br><small>one picture is explained, several go to Batch</small></p>';
  document.body.append(veil);

  const hand = async files => {
    const fold = document.querySelector('#tg-model > button');
    if (files.length === 1 && /[.](keras|h5|hdf5|model|zip)$/i.test(files[0].name)) {
      const isClosed = !document.querySelector('#tg-model-file')?.offsetParent;
      if (isClosed) fold.click();
      await give('model-file', files);
      if (isClosed) fold.click();
      return;
    }
    const [tab, field] = files.length > 1 ? ['batch', 'files'] : ['explore', 'file'];
    document.getElementById(`tg-tab-${tab}-button`).click();
    await give(field, files);
  };

  const give = async (field, files) => {
    let input = null;  // Gradio makes it when the tab or the fold is opened, and again after an upload
    while (!(input = document.querySelector(`#tg-${field} input[type=file]`)))
      await new Promise(resolve => setTimeout(resolve, 50));
    const given = new DataTransfer();
    for (const file of files) given.items.add(file);
    input.files = given.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  };

  let isOwn = false;  // a picture of the page itself is dragged
  document.addEventListener('dragstart', () => { isOwn = true; });
  document.addEventListener('dragend', () => { isOwn = false; });
  const isForUs = event => !isOwn && event.dataTransfer?.types.includes('Files')
    && !event.target.closest?.('#tg-model-file, #tg-names');  // the fields for a model and for names
  document.addEventListener('dragover', event => {
    veil.hidden = !isForUs(event);
    if (!veil.hidden) event.preventDefault();
  });
  document.addEventListener('dragleave', event => { if (!event.relatedTarget) veil.hidden = true; });
  document.addEventListener('drop', event => {
    veil.hidden = true;
    if (!isForUs(event)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.dataTransfer.files.length) hand([...event.dataTransfer.files]);
  }, true);
  document.addEventListener('paste', event => {
    const files = [...event.clipboardData?.files ?? []];
    const isText = event.target.matches?.('input, textarea') && event.clipboardData.types.includes('text/plain');
    if (!files.length || isText) return;
    event.preventDefault();
    hand(files);
  });
}
