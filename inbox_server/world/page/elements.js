/** Elements of the page. Whatever comes from others enters as text, here and nowhere else. */

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children. A string among the children becomes text, whatever is written in it. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, '');
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function button(text, press, attributes = {}) {
  const made = element('button', { type: 'button', ...attributes }, text);
  made.addEventListener('click', press);
  return made;
}

/** Only one of the page's sections is shown. */
export function showSection(id) {
  for (const each of ['starting', 'unbuilt', 'welcome', 'talk']) byId(each).hidden = each !== id;
}

/** A sentence above everything, and perhaps what to do about it. Nothing takes it away again. */
export function showBanner(text, ...more) {
  byId('banner').hidden = false;
  byId('banner').replaceChildren(element('p', {}, text), ...more);
}
